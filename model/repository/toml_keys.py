"""
Read the keys of a TOML file: which keys it may have, and which values each key accepts.

An error is a `ModelError` of one line with the file and the key.  Pure except for reading the file.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from stat import S_ISFIFO
from typing import Any

from model.errors import ModelError

#: The characters of a name that `is_segment` accepts, for an error message.
NAME_CHARACTERS = "letters, digits, '.', '_' and '-'"


@dataclass(frozen=True, slots=True)
class Key:
    """The values that a key accepts."""

    expected: str  #: follows the word "expected" in an error message
    read: Callable[[Any], object]
    """Convert the value in the file; raise ValueError or OverflowError if it is wrong."""


def read_toml(path: Path) -> dict[str, Any]:
    """
    Return the table in the file at *path*; an empty one if there is no such file.

    Raises `ModelError` for a file that cannot be read or is not TOML.
    """
    if not os.path.lexists(path):
        return {}
    try:
        if S_ISFIFO(path.stat().st_mode):  # a read would wait for a writer
            raise ModelError(f"{path}: is no file")
        return parsed_toml(path, decoded_toml(path, path.read_bytes()))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error


def decoded_toml(path: Path, data: bytes) -> str:
    """Return *data*, read from *path*, as text; raises `ModelError` unless it is UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text: byte {error.start}") from error


def parsed_toml(path: Path, toml: str) -> dict[str, Any]:
    """Return the table in the text *toml*, read from *path*; raises `ModelError` for other text."""
    try:
        return tomllib.loads(toml)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not TOML: {error}") from error


def read_keys(
    path: Path,
    prefix: str,
    table: Mapping[str, object],
    keys: Mapping[str, Key],
    full_names: Mapping[str, str],
) -> dict[str, Any]:
    """
    Return *table* with each value converted as *keys* states for its key.

    Raises `ModelError` for an unknown key and for a wrong value; the message names the file *path*,
    and the key with *prefix* before it.  For an unknown key the message may suggest one of
    *full_names*, the names with their prefixes by the names without.
    """
    values = {}
    for name, raw in table.items():
        if name not in keys:
            close = get_close_matches(name, full_names, n=1)
            hint = f"; did you mean {full_names[close[0]]}?" if close else ""
            raise ModelError(f"{path}: no such key: {prefix + name!r}{hint}")
        try:
            values[name] = keys[name].read(raw)
        except (ValueError, OverflowError):
            shown = str(raw).lower() if isinstance(raw, bool) else repr(raw)
            raise ModelError(
                f"{path}: {prefix}{name}: expected {keys[name].expected}, got {shown}"
            ) from None
    return values


def check(fits: object) -> None:
    """Raise ValueError unless *fits* is true."""
    if not fits:
        raise ValueError


def exactly(kind: type) -> Callable[[Any], object]:
    """
    Return a function that returns its argument if its type is *kind*, else raises ValueError.

    A value of a subclass is refused: true is not a whole number.
    """

    def read(raw: Any) -> object:
        check(type(raw) is kind)
        return raw

    return read


def text(raw: Any) -> str:
    """Return *raw* if it is a printable string and not blank; else raise ValueError."""
    if not isinstance(raw, str) or not raw.strip() or not raw.isprintable():
        raise ValueError
    return raw


def is_segment(name: str) -> bool:
    """Return whether *name* can be one segment of the path of a URL, without escapes."""
    return re.fullmatch(r"[A-Za-z0-9._-]+", name) is not None and name not in (".", "..")


def segment(raw: Any) -> str:
    """Return *raw* if it is a string that `is_segment` accepts; else raise ValueError."""
    check(is_segment(name := text(raw)))
    return name


def whole_number(at_most: int | None = None, at_least: int = 1) -> Callable[[Any], int]:
    """Return a function that returns a whole number within the bounds, else raises ValueError."""

    def read(raw: Any) -> int:
        check(type(raw) is int and raw >= at_least and (at_most is None or raw <= at_most))
        return int(raw)

    return read


def number(raw: Any) -> float:
    """Return *raw* if it is a finite number; else raise ValueError or OverflowError."""
    check(type(raw) in (int, float) and isfinite(raw))
    return float(raw)
