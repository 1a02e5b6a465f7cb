"""
Read ``model.toml``: the settings of a model that its own files do not contain.

Pure except for reading the file.  An absent key has the value None.  The server takes a value from
the command line, else from this file, else from the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.images.facts import ImageFacts
from model.images.header import MAX_SIDE_PIXELS
from model.images.normalisation import ColourOrder
from model.images.preprocessing import Resample
from model.repository.toml_keys import (
    NAME_CHARACTERS,
    Key,
    check,
    exactly,
    number,
    read_keys,
    read_toml,
    segment,
    text,
    whole_number,
)

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
    values = read_keys(path, "", read_toml(path), _KEYS, _FULL_NAMES)
    if "labels" in values:
        values["labels"] = folder / values["labels"]
    table = values.pop("preprocessing", {})
    images = read_keys(path, "preprocessing.", table, _IMAGE_KEYS, _FULL_NAMES)
    return ModelFacts(**values, preprocessing=ImageFacts(**images))


def _feeds(raw: Any) -> dict[str, bool | float]:
    check(type(raw) is dict)
    return {name: raw[name] if type(raw[name]) is bool else number(raw[name]) for name in raw}


def _version(raw: Any) -> str:
    return str(raw) if type(raw) is int and raw >= 0 else segment(raw)


def _path_within(raw: Any) -> Path:
    path = Path(text(raw))
    check(path.parts and not path.is_absolute() and ".." not in path.parts)
    return path


def _crop(raw: Any) -> float:
    check(0 < (crop := number(raw)) <= 1)
    return crop


def _each_channel(raw: Any) -> tuple[float, float, float]:
    first, second, third = raw if isinstance(raw, list) else [raw] * 3
    return number(first), number(second), number(third)


def _scale(raw: Any) -> tuple[float, float, float]:
    check(all(scale := _each_channel(raw)))
    return scale


def _choice(kind: type[Resample | ColourOrder]) -> Key:
    return Key(" or ".join(kind), lambda raw: kind(text(raw)))


_SIDE = Key(f"a whole number from 1 to {MAX_SIDE_PIXELS}", whole_number(MAX_SIDE_PIXELS))

_KEYS = {
    "name": Key(f"a name of {NAME_CHARACTERS}", segment),
    "version": Key(f"a whole number, or a name of {NAME_CHARACTERS}", _version),
    "signature": Key("the name of a signature", text),
    "input": Key("the name of a tensor or an input", text),
    "output": Key("the name of a tensor or an output", text),
    "labels": Key("the path of a file in this folder, relative and without '..'", _path_within),
    "top_k": Key("a whole number of at least 1", whole_number()),
    "feeds": Key("a table of names, each with a number, true or false", _feeds),
    "preprocessing": Key("a table", exactly(dict)),
}
_IMAGE_KEYS = {
    "height": _SIDE,
    "width": _SIDE,
    "crop": Key("a number over 0 and up to 1", _crop),
    "resample": _choice(Resample),
    "colour_order": _choice(ColourOrder),
    "mean": Key("a number, or a list of three", _each_channel),
    "scale": Key("a number other than 0, or a list of three", _scale),
    "scaled_jpeg_decode": Key("true or false", exactly(bool)),
}
#: The full name of each key, so that a hint finds keys of the other table too.
_FULL_NAMES = {name: name for name in _KEYS} | {
    name: f"preprocessing.{name}" for name in _IMAGE_KEYS
}
