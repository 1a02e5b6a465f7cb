"""
Read and edit ``serving.toml``: which versions of a model are served, and how.

An edit changes one key and keeps comments, order and all other keys.  Functions block on the disk.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_IMODE
from typing import TYPE_CHECKING, Any

from model.errors import ModelError
from model.repository.synced_files import replace_file
from model.repository.toml_keys import (
    NAME_CHARACTERS,
    Key,
    check,
    decoded_toml,
    number,
    parsed_toml,
    read_keys,
    read_toml,
    segment,
    whole_number,
)

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

SERVING_TOML = "serving.toml"

#: The greatest version; every JSON parser reads it as a whole number of 64 bits.
MAX_VERSION = 10**18 - 1

#: The most rows of a batch: each size up to it is run before the version takes requests.
MAX_ROWS = 4096

#: The bounds of a weight: a model with the least still has turns.
MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000


@dataclass(frozen=True, slots=True)
class ServingFacts:
    """The contents of a ``serving.toml``."""

    latest: int | None = 1  #: the newest versions that are served; None if `versions` decides
    #: the versions that are served, ascending; None, with no `latest` either: all versions
    versions: tuple[int, ...] | None = None
    labels: Mapping[str, int] = field(default_factory=dict)  #: the version of each label
    weight: float = 1.0  #: of the turns of the model, above 0
    max_batch_size: int | None = None  #: rows
    max_queue_delay: float | None = None  #: seconds


def read_serving_toml(path: Path, defaults: ServingFacts | None = None) -> ServingFacts:
    """
    Return the contents of the ``serving.toml`` at *path*; *defaults* hold where it states nothing.

    Raises `ModelError`, one line with file and key, for a file that cannot be read or is not TOML,
    an unknown key, and a value that does not fit its key.
    """
    return _facts(path, read_toml(path), defaults or ServingFacts())


def set_label(path: Path, label: str, version: int | None) -> None:
    """
    Give *label* to *version* in the ``serving.toml`` at *path*, or remove the label if it is None.

    A file that is absent is created.  The file is replaced at once even if its text stays equal.
    Raises OSError if it cannot be read or written; then it is as before.  Raises `ModelError`, and
    writes nothing, if the file is not a correct ``serving.toml`` or would not be one with the
    label.
    """

    def edit(document: "TOMLDocument") -> None:
        if version is not None:
            document.setdefault("labels", {})[label] = version
        elif label in document.get("labels", {}):
            del document["labels"][label]

    def edited(facts: ServingFacts) -> ServingFacts:
        labels = {name: facts.labels[name] for name in facts.labels if name != label}
        return replace(facts, labels=labels if version is None else {**labels, label: version})

    _edit(path, edit, edited)


def serve(path: Path, versions: Sequence[int] | None) -> None:
    """
    Make *versions* those that the ``serving.toml`` at *path* serves; None restores the default.

    A file that is absent is created.  The file is replaced at once even if its text stays equal.
    Raises OSError if it cannot be read or written; then it is as before.  Raises `ModelError`, and
    writes nothing, if the file is not a correct ``serving.toml`` or would not be one with the
    *versions*.
    """
    listed = None if versions is None else sorted(set(versions))

    def edit(document: "TOMLDocument") -> None:
        from tomlkit.items import Table  # noqa: PLC0415 - takes 40 ms, and most starts edit nothing

        if listed is None or isinstance(document.get("versions"), Table):
            document.pop("versions", None)  # a list in the place of a table would be a key of it
        if listed is not None:
            document["versions"] = listed

    def edited(facts: ServingFacts) -> ServingFacts:
        if listed is None:
            return replace(facts, latest=1, versions=None)
        return replace(facts, latest=None, versions=tuple(listed))

    _edit(path, edit, edited)


def rewrite(path: Path) -> None:
    """
    Replace the ``serving.toml`` at *path* by one with the same text: what failed is tried again.

    A file that is absent is created.  Raises the errors of `serve`.
    """
    _edit(path, lambda _: None, lambda facts: facts)


def _edit(
    path: Path,
    edit: "Callable[[TOMLDocument], None]",
    edited: Callable[[ServingFacts], ServingFacts],
) -> None:
    """
    Replace the file at *path* by one with the changes that *edit* makes.

    *edited* returns the facts of the new file for those of the old one.
    """
    import tomlkit  # noqa: PLC0415 - takes 40 ms, and most starts edit nothing

    exists = os.path.lexists(path)
    old = decoded_toml(path, path.read_bytes()) if exists else ""
    expected = edited(_facts(path, parsed_toml(path, old), ServingFacts()))
    document = tomlkit.parse(old)
    edit(document)
    new = document.as_string()
    if _facts(path, parsed_toml(path, new), ServingFacts()) != expected:
        raise ModelError(
            f"{path}: cannot be edited in this form; write all labels in one table [labels]"
        )
    mode = S_IMODE(path.stat().st_mode) if exists else None
    # An empty file may be one that an editor is about to write.
    replace_file(path, (new or "\n").encode(), mode)


def _facts(path: Path, table: Mapping[str, object], defaults: ServingFacts) -> ServingFacts:
    values = read_keys(path, "", table, _KEYS, _FULL_NAMES)
    if "versions" in values:
        values["latest"], values["versions"] = values["versions"]
    if "max_queue_delay_ms" in values:
        values["max_queue_delay"] = values.pop("max_queue_delay_ms") / 1000
    return replace(defaults, **values)


def _versions(raw: Any) -> tuple[int | None, tuple[int, ...] | None]:
    match raw:
        case "all":
            return None, None
        case list():
            return None, tuple(sorted({_version(entry) for entry in raw}))
        case {"latest": latest, **others} if not others:
            return whole_number()(latest), None
    raise ValueError


def _labels(raw: Any) -> dict[str, int]:
    check(type(raw) is dict)
    return {segment(label): _version(version) for label, version in raw.items()}


def _weight(raw: Any) -> float:
    check(MIN_WEIGHT <= (weight := number(raw)) <= MAX_WEIGHT)
    return weight


def _milliseconds(raw: Any) -> float:
    check((milliseconds := number(raw)) >= 0)
    return milliseconds


_version = whole_number(MAX_VERSION, at_least=0)

_KEYS = {
    "versions": Key("{ latest = N }, 'all' or a list of whole numbers", _versions),
    "weight": Key(f"a number from {MIN_WEIGHT} to {MAX_WEIGHT}", _weight),
    "max_batch_size": Key(f"a whole number from 1 to {MAX_ROWS}", whole_number(MAX_ROWS)),
    "max_queue_delay_ms": Key("a number of at least 0", _milliseconds),
    "labels": Key(f"a table of names of {NAME_CHARACTERS}, each with a whole number", _labels),
}
_FULL_NAMES = {name: name for name in _KEYS}
