"""
Read the text format of protocol buffers, without a schema.

Pure.  The format is that of protobuf.dev/reference/protobuf/textformat-spec; what a field means is
left to the caller, see model/repository/text_fields.py.  Not `google.protobuf.text_format`: that
drops unknown fields without a word or stops at the first one, and needs descriptors.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

#: The most messages within each other; deeper ones could exceed the stack.
MAX_DEPTH = 100

#: The most digits of a number that is read; longer ones would take seconds.
_MAX_DIGITS = 400


class TextFormatError(Exception):
    """The text is not in the text format; the message begins with the number of the line."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"{line}: {problem}")


class Word(str):
    """A value without quotes: the name of an enum's value, or true or false."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its fields in the order of the text; a list has a field for each element."""

    fields: tuple["Field", ...]


#: The bytes of a string, a number, a word or a message.
Value: TypeAlias = bytes | int | float | Word | Message


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a field."""

    name: str  #: of an extension or an Any, with its brackets
    value: Value
    line: int  #: where the name stands, from 1


def parse_text(text: str) -> Message:
    """Return the message that *text* states; raises `TextFormatError`."""
    parser = _Parser(text)
    fields = tuple(parser.fields("", depth=0))
    return Message(fields)


_SPACE = re.compile(r"(?:[ \t\r\n\f\v]|#[^\n]*)*")
_TOKEN = re.compile(
    r"""
    (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>0[xX][0-9A-Fa-f]+
        | (?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)
    | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<sign>[-:;,{}<>\[\]])
    """,
    re.VERBOSE,
)
_EXTENSION = re.compile(r"\[[ \t]*[A-Za-z0-9_./-]+[ \t]*\]")
_ESCAPE = re.compile(
    rb"\\(?:(?P<octal>[0-7]{1,3})|[xX](?P<hex>[0-9A-Fa-f]{1,2})|u(?P<short>[0-9A-Fa-f]{4})"
    rb"|U(?P<long>[0-9A-Fa-f]{8})|(?P<one>[abfnrtv?\\'\"])|(?P<wrong>.))",
    re.DOTALL,
)
_ESCAPED = dict(zip(b"abfnrtv?\\'\"", b"\a\b\f\n\r\t\v?\\'\"", strict=True))
_ENDS = {"{": "}", "<": ">"}


class _Parser:
    """Reads tokens from the start of *text* on; `kind` and `token` are the one that is next."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = 0  # up to where the lines are counted
        self.line = 1  #: of the token
        self.kind = ""  #: the name of its group in `_TOKEN`; empty at the end of the text
        self.token = ""
        self._touches_name = False
        self.next()

    def next(self) -> None:
        """Go to the next token."""
        text, before = self._text, self._at
        start = self._at = _end(_SPACE.match(text, self._at))
        self.line += text.count("\n", self._counted, start)
        self._counted = start
        match = _TOKEN.match(text, start)
        if match is None:
            if start < len(text):
                raise self.error(f"unexpected {text[start]!r}", "")
            self.kind = self.token = ""
            return
        kind, token = match.lastgroup or "", match[0]
        touches = start == before and {kind, self.kind} <= {"name", "number"}
        if touches and self.kind == "number":
            raise self.error(f"a number is followed by {token[:40]!r}", "")
        self.kind, self.token = kind, token
        self._at = match.end()

    def error(self, expected: str, found: str | None = None) -> TextFormatError:
        """Return the error that *expected* was not found; *found* replaces the token in it."""
        if found == "":
            return TextFormatError(self.line, expected)
        shown = found or (repr(self.token[:40]) if self.kind else "the end of the text")
        return TextFormatError(self.line, f"expected {expected}, found {shown}")

    def takes(self, *signs: str) -> str:
        """Return the token and go on if it is one of *signs*; else return "" and stay."""
        if self.kind != "sign" or self.token not in signs:
            return ""
        sign = self.token
        self.next()
        return sign

    def fields(self, end: str, *, depth: int) -> Iterator[Field]:
        """Yield the fields up to the sign *end*, which is read; "" is the end of the text."""
        if depth > MAX_DEPTH:
            raise self.error(f"more than {MAX_DEPTH} messages within each other", "")
        while not (self.takes(end) if end else not self.kind):
            name, line = self._name(end), self.line
            self.next()
            has_colon = bool(self.takes(":"))
            for value in self._values(depth, has_colon=has_colon):
                yield Field(name, value, line)
            self.takes(",", ";")

    def _name(self, end: str) -> str:
        if self.kind == "name":
            return self.token
        start = self._at - len(self.token)
        if match := _EXTENSION.match(self._text, start):
            self._at = match.end()
            return re.sub(r"\s", "", match[0])
        raise self.error(f"the name of a field or {end!r}" if end else "the name of a field")

    def _values(self, depth: int, *, has_colon: bool) -> Iterator[Value]:
        if not self.takes("["):
            yield self._value(depth, has_colon=has_colon)
            return
        if self.takes("]"):
            return
        yield self._value(depth, has_colon=has_colon)
        while not self.takes("]"):
            if not self.takes(","):
                raise self.error("',' or ']'")
            yield self._value(depth, has_colon=has_colon)

    def _value(self, depth: int, *, has_colon: bool) -> Value:
        if start := self.takes("{", "<"):
            return Message(tuple(self.fields(_ENDS[start], depth=depth + 1)))
        if not has_colon:
            raise self.error("':' or '{'")
        if self.kind == "string":
            return self._string()
        negative = bool(self.takes("-"))
        token, kind = self.token, self.kind
        if kind == "number":
            number = self._number(token)
            self.next()
            return -number if negative else number
        if kind == "name" and (not negative or token.lower() in ("inf", "infinity", "nan")):
            self.next()
            return -float(token) if negative else Word(token)
        raise self.error("a value")

    def _number(self, token: str) -> int | float:
        if len(token) > _MAX_DIGITS:
            raise self.error(f"a number of {len(token)} characters", "")
        lower = token.lower()
        if lower.startswith("0x"):
            return int(lower, 16)
        if re.fullmatch(r"0[0-9]+", lower):
            try:
                return int(lower, 8)
            except ValueError:
                raise self.error("an octal number") from None
        return int(lower) if lower.isdecimal() else float(lower.removesuffix("f"))

    def _string(self) -> bytes:
        parts = []
        while self.kind == "string":
            raw = self.token[1:-1].encode("utf-8", "surrogatepass")
            parts.append(_ESCAPE.sub(self._escaped, raw))
            self.next()
        return b"".join(parts)

    def _escaped(self, match: "re.Match[bytes]") -> bytes:
        kind, digits = match.lastgroup, match[match.lastgroup or 0]
        if kind == "one":
            return bytes([_ESCAPED[digits[0]]])
        number = int(digits, 8 if kind == "octal" else 16) if kind != "wrong" else -1
        if kind in ("octal", "hex") and number <= 0xFF:
            return bytes([number])
        if kind in ("short", "long") and number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF:
            return chr(number).encode()
        shown = "\\" + repr(match[0][1:].decode("utf-8", "replace"))[1:-1]
        raise self.error(f"a string has the wrong escape {shown}", "")


def _end(match: Any) -> int:  # Any: a pattern that matches everywhere
    return int(match.end())
