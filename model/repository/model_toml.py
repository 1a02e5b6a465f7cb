"""
Read ``model.toml``: the settings of a model that its own files do not contain.

Pure except for reading the file.  An absent key has the value None.  The server takes a value from
the command line, else from this file, else from the model.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.images.facts import ImageFacts
from model.images.header import MAX_SIDE_PIXELS
from model.images.normalisation import ColourOrder
from model.images.preprocessing import Resample

MODEL_TOML = "model.toml"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The contents of a ``model.toml``."""

    name: str | None = None  #: one segment of the path of a URL; so is the version
    version: str | None = None
    signature: str | None = None  #: used for images, and for requests that name no signature
    input: str | None = None  #: name of a tensor or a SavedModel's input; unchecked
    output: str | None = None  #: the same, for the output with the scores
    labels: Path | None = None  #: path of the file of labels, which may be missing
    top_k: int | None = None  #: labels in a response, if the request gives no number
    #: the table ``[feeds]``: the values of placeholders by name, the same in every run
    feeds: Mapping[str, bool | float] = field(default_factory=dict)
    preprocessing: ImageFacts = field(default_factory=ImageFacts)


def read_model_toml(folder: Path) -> ModelFacts:
    """
    Return the contents of the ``model.toml`` in *folder*; empty `ModelFacts` if there is none.

    Raises `ModelError`, one line with file and key, for a file that cannot be read or is not TOML,
    an unknown key, and a value that does not fit its key.
    """
    path = folder / MODEL_TOML
    if not os.path.lexists(path):
        return ModelFacts()
    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text: byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not TOML: {error}") from error
    values = _values(path, "", table, _KEYS)
    if "labels" in values:
        values["labels"] = folder / values["labels"]
    images = _values(path, "preprocessing.", values.pop("preprocessing", {}), _IMAGE_KEYS)
    return ModelFacts(**values, preprocessing=ImageFacts(**images))


@dataclass(frozen=True, slots=True)
class _Key:
    """The values that a key accepts."""

    expected: str  #: follows the word "expected" in an error message
    read: Callable[[Any], object]
    """Convert the value in the file; raise ValueError or OverflowError if it is wrong."""


def _values(
    path: Path, prefix: str, table: Mapping[str, object], keys: Mapping[str, _Key]
) -> dict[str, Any]:
    """
    Return *table* with each value converted as *keys* states for its key.

    Raises `ModelError` for an unknown key and for a wrong value; the message names the file *path*,
    and the key with *prefix* before it.
    """
    values = {}
    for name, raw in table.items():
        if name not in keys:
            close = get_close_matches(name, _FULL_NAMES, n=1)
            hint = f"; did you mean {_FULL_NAMES[close[0]]}?" if close else ""
            raise ModelError(f"{path}: no such key: {prefix + name!r}{hint}")
        try:
            values[name] = keys[name].read(raw)
        except (ValueError, OverflowError):
            shown = str(raw).lower() if isinstance(raw, bool) else repr(raw)
            raise ModelError(
                f"{path}: {prefix}{name}: expected {keys[name].expected}, got {shown}"
            ) from None
    return values


def _check(fits: object) -> None:
    if not fits:
        raise ValueError


def _feeds(raw: Any) -> dict[str, bool | float]:
    _check(type(raw) is dict)
    return {name: raw[name] if type(raw[name]) is bool else _number(raw[name]) for name in raw}


def _exactly(kind: type) -> Callable[[Any], object]:
    """
    Return a function that returns its argument if its type is *kind*, else raises ValueError.

    A value of a subclass is refused: true is not a whole number.
    """

    def read(raw: Any) -> object:
        _check(type(raw) is kind)
        return raw

    return read


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or not raw.strip() or not raw.isprintable():
        raise ValueError
    return raw


def _segment(raw: Any) -> str:
    _check(re.fullmatch(r"[A-Za-z0-9._-]+", text := _text(raw)) and text not in (".", ".."))
    return text


def _version(raw: Any) -> str:
    return str(raw) if type(raw) is int and raw >= 0 else _segment(raw)


def _path_within(raw: Any) -> Path:
    path = Path(_text(raw))
    _check(path.parts and not path.is_absolute() and ".." not in path.parts)
    return path


def _whole_number(at_most: int | None = None) -> Callable[[Any], int]:
    def read(raw: Any) -> int:
        _check(type(raw) is int and raw >= 1 and (at_most is None or raw <= at_most))
        return int(raw)

    return read


def _number(raw: Any) -> float:
    _check(type(raw) in (int, float) and isfinite(raw))
    return float(raw)


def _crop(raw: Any) -> float:
    _check(0 < (crop := _number(raw)) <= 1)
    return crop


def _each_channel(raw: Any) -> tuple[float, float, float]:
    first, second, third = raw if isinstance(raw, list) else [raw] * 3
    return _number(first), _number(second), _number(third)


def _scale(raw: Any) -> tuple[float, float, float]:
    _check(all(scale := _each_channel(raw)))
    return scale


def _choice(kind: type[Resample | ColourOrder]) -> _Key:
    return _Key(" or ".join(kind), lambda raw: kind(_text(raw)))


_SEGMENT = "letters, digits, '.', '_' and '-'"
_SIDE = _Key(f"a whole number from 1 to {MAX_SIDE_PIXELS}", _whole_number(MAX_SIDE_PIXELS))

_KEYS = {
    "name": _Key(f"a name of {_SEGMENT}", _segment),
    "version": _Key(f"a whole number, or a name of {_SEGMENT}", _version),
    "signature": _Key("the name of a signature", _text),
    "input": _Key("the name of a tensor or an input", _text),
    "output": _Key("the name of a tensor or an output", _text),
    "labels": _Key("the path of a file in this folder, relative and without '..'", _path_within),
    "top_k": _Key("a whole number of at least 1", _whole_number()),
    "feeds": _Key("a table of names, each with a number, true or false", _feeds),
    "preprocessing": _Key("a table", _exactly(dict)),
}
_IMAGE_KEYS = {
    "height": _SIDE,
    "width": _SIDE,
    "crop": _Key("a number over 0 and up to 1", _crop),
    "resample": _choice(Resample),
    "colour_order": _choice(ColourOrder),
    "mean": _Key("a number, or a list of three", _each_channel),
    "scale": _Key("a number other than 0, or a list of three", _scale),
    "scaled_jpeg_decode": _Key("true or false", _exactly(bool)),
}
#: The full name of each key, so that a hint finds keys of the other table too.
_FULL_NAMES = {name: name for name in _KEYS} | {
    name: f"preprocessing.{name}" for name in _IMAGE_KEYS
}
