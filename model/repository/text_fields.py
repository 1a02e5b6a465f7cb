"""
Read the fields of a message in text format: which fields it may have, and their values.

A table states each field.  An error is a `ModelError` of one line with the file and the line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

from model.errors import ModelError
from model.repository.text_format import (
    Field,
    Message,
    TextFormatError,
    Value,
    Word,
    parse_text,
)
from model.repository.toml_keys import check

#: A file that is larger is no configuration.
MAX_FILE_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class One:
    """A field with one value."""

    expected: str  #: follows the word "expected" in an error message
    read: Callable[[Value], object]
    """Convert the value; raise ValueError if it is wrong."""


@dataclass(frozen=True, slots=True)
class Inner:
    """A field with a message that has *fields*; it is read as a mapping, or a list of several."""

    fields: "Fields"
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Several:
    """A field with any number of values, as a list."""

    each: One


@dataclass(frozen=True, slots=True)
class Ignored:
    """A field that has no effect."""

    reason: str  #: why, as the end of a sentence; empty if it need not be mentioned


FieldKind: TypeAlias = One | Inner | Several | Ignored
Fields: TypeAlias = Mapping[str, FieldKind]


@dataclass(slots=True)
class TextFile:
    """A file in text format."""

    path: Path
    message: Message
    #: Whether a field that is in no table is a note, and not an error.
    allows_unknown: bool = False
    _notes: list[tuple[int, str]] = field(default_factory=list)

    def read(self, fields: Fields) -> dict[str, Any]:
        """Return the values of the message, by the names of *fields*; raises `ModelError`."""
        return self._read(self.message, fields, "")

    def _read(self, message: Message, fields: Fields, prefix: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for each in message.fields:
            name, kind = each.name, fields.get(each.name)
            full = prefix + name
            if kind is None:
                self._unknown(each, full, fields)
            elif isinstance(kind, Ignored):
                if kind.reason:
                    self._note(each.line, f"{full} is ignored: {kind.reason}")
            elif isinstance(kind, Several) or (isinstance(kind, Inner) and kind.repeated):
                values.setdefault(name, []).append(self._value(each, kind, full))
            elif name in values:
                raise self.error(each.line, f"{full} is given twice")
            else:
                values[name] = self._value(each, kind, full)
        return values

    def _value(self, each: Field, kind: One | Several | Inner, full: str) -> object:
        if isinstance(kind, Inner):
            if not isinstance(each.value, Message):
                raise self.error(each.line, f"{full}: expected {{...}}, got {shown(each.value)}")
            inner = self._read(each.value, kind.fields, f"{full}.")
            return {**inner, LINE: each.line} if kind.repeated else inner
        one = kind.each if isinstance(kind, Several) else kind
        try:
            return one.read(each.value)
        except (ValueError, OverflowError):
            raise self.error(
                each.line, f"{full}: expected {one.expected}, got {shown(each.value)}"
            ) from None

    def _unknown(self, each: Field, full: str, fields: Fields) -> None:
        close = get_close_matches(each.name, fields, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        if not self.allows_unknown:
            raise self.error(each.line, f"no such field: {full}{hint}")
        self._note(each.line, f"{full} is ignored: no such field is read{hint}")

    def _note(self, line: int, text: str) -> None:
        self._notes.append((line, f"{self.path}:{line}: {text}"))

    def notes(self, begin: int = 1, end: float = inf) -> tuple[str, ...]:
        """Return what `read` has ignored from the line *begin* to the one before *end*."""
        chosen = (text for line, text in self._notes if begin <= line < end)
        return tuple(dict.fromkeys(chosen))  # the elements of a list have one note

    def error(self, line: int, problem: str) -> ModelError:
        """Return the error for a *problem* in a *line*."""
        return ModelError(f"{self.path}:{line}: {problem}")

    def line_of(self, name: str) -> int:
        """Return the line of the field *name* of the message; 1 if there is none."""
        return next((each.line for each in self.message.fields if each.name == name), 1)


#: The key of the line in the mapping of a repeated `Inner`.
LINE = "line of the field"


def read_text_file(path: Path, *, allows_unknown: bool = False) -> TextFile:
    """
    Return the file at *path*; *allows_unknown* is as in `TextFile`.

    Raises `ModelError`, with the path and the line, if it cannot be read or is not in text format.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ModelError(f"{path}: has more than {MAX_FILE_BYTES} bytes")
    try:
        return TextFile(path, parse_text(data.decode("utf-8-sig")), allows_unknown)
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text: byte {error.start}") from error
    except TextFormatError as error:
        raise ModelError(f"{path}:{error}") from error


def shown(value: Value) -> str:
    """Return *value* as an error message shows it."""
    if isinstance(value, Message):
        return "{...}"
    if isinstance(value, bytes):
        return repr(value.decode("utf-8", "replace")[:80])
    return value[:80] if isinstance(value, Word) else repr(value)


def whole(at_least: int, at_most: int = 2**63 - 1) -> One:
    """Return a field with a whole number within the bounds, both included."""

    def read(value: Value) -> int:
        check(type(value) is int and at_least <= value <= at_most)
        return int(value)  # type: ignore[arg-type]  # it is an int

    upper = "" if at_most == 2**63 - 1 else f" to {at_most}"
    bounds = f"from {at_least}{upper}" if upper else f"of at least {at_least}"
    return One(f"a whole number {bounds}", read)


def _read_text(value: Value) -> str:
    check(type(value) is bytes)
    text = value.decode()  # type: ignore[union-attr]  # it is bytes; UnicodeDecodeError is a ValueError
    check(text.isprintable())
    return text


#: A string of printable characters.
TEXT = One("a string in quotes", _read_text)


def refined(expected: str, before: One, read: Callable[[Any], object]) -> One:
    """Return a field whose value is read by *before*, and then by *read*."""
    return One(expected, lambda value: read(before.read(value)))
