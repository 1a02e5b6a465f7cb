"""
Read a model repository: which models and versions are on disk, and which versions are complete.

``<name>/<version>/`` holds the files of a version, ``<name>/serving.toml`` states which versions
are served; model/repository/model_places.py finds the folders.  Names that begin with "." or end in
".tmp" are ignored, and so are models with a character other than letters, digits, ".", "_" and "-",
and versions that are no whole number.

A version with a ``manifest.json`` is complete if each file that it lists is there with its size and
hash; the hashes are computed by `RepositoryReader.check`, for the versions that may be served.
Other files, such as a ``model.toml`` or a ``golden.jsonl`` that was added, are allowed.  For
these, and for all files of a version without a manifest, the version waits until they are unchanged
for `STABLE_SECONDS`, unless the folder was renamed into place, or was last changed long before the
first read.  While a file with a leading dot is written, as rsync does, the version waits, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from re import fullmatch
from threading import Lock
from typing import TypeAlias

from model.repository.manifest import (
    MANIFEST,
    NoLongerNeeded,
    hash_difference,
    shown_path,
    size_difference,
)
from model.repository.model_places import (
    ModelPlace,
    ModelPlaces,
    RepositoryUnavailable,
    names_in,
)
from model.repository.serving_files import ServingFiles
from model.repository.serving_toml import SERVING_TOML, ServingFacts
from model.repository.triton_config import CONFIG_PBTXT
from model.repository.version_files import VersionFiles, read_files

#: The time for which the files of a version without a manifest must be unchanged.
STABLE_SECONDS = 4.0
#: The first words of the reason for which such a version is incomplete.
WAITS = "waits for"
#: The reason for which a complete version is not loaded yet, before it is checked.
CHECKING = f"its files are being compared with {MANIFEST}"
#: The time since the last change after which the first read takes a version at once.
SETTLED_SECONDS = 60.0
#: The time after which a file that could not be read for its hash is read again.
HASH_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class VersionOnDisk:
    """One version of a model, as it was on disk at a read."""

    version: int
    path: Path  #: the folder, or the link to it
    #: hash of the names, sizes, times and inodes of the files; the last known one if they cannot be
    #: read, empty if they never could
    stamp: str
    size: int  #: bytes of all files, of those with the stamp
    complete: bool  #: as far as is known, if the version is not `checked`
    checked: bool = True  #: whether the hashes of its files are known, if it has a manifest
    reason: str = ""  #: the reason for which it is incomplete, in one line


@dataclass(frozen=True, slots=True)
class ModelOnDisk:
    """One model of the repository, as it was on disk at a read."""

    name: str
    versions: tuple[VersionOnDisk, ...]  #: ascending
    serving: ServingFacts  #: the last correct contents of ``serving.toml``; else the defaults
    serving_stamp: str  #: changes with each write of ``serving.toml``; empty if it is absent
    problem: str = ""  #: what is wrong with the folder or with ``serving.toml``, in one line
    notes: tuple[str, ...] = ()  #: what the files of another server state without effect


Snapshot: TypeAlias = Mapping[str, ModelOnDisk]


@dataclass(frozen=True, slots=True)
class _Hashes:
    """What the hashes of the files of a version have shown."""

    difference: str  #: from the manifest, or the error of a read; empty if there is none
    until: float = inf  #: when they are computed again, monotonic time in seconds


@dataclass(slots=True)
class _Seen:
    """What earlier reads found out about the files of a version while their stamp was equal."""

    files: VersionFiles
    since: float  #: the first read with this stamp and activity, monotonic time in seconds
    settled: bool = False  #: the files were unchanged for long enough, or renamed into place
    #: how names and sizes differ from the manifest, empty if they do not; None until compared
    difference: str | None = None
    unlisted: str = ""  #: a file that the manifest does not list
    hashes: _Hashes | None = None  #: None until they are computed


@dataclass(slots=True)
class _Model:
    """What earlier reads found out about a model."""

    last: ModelOnDisk
    serving: ServingFiles = field(default_factory=ServingFiles)
    seen: dict[str, _Seen] = field(default_factory=dict)  #: by the name of the version's folder


@dataclass(frozen=True, slots=True)
class _Read:
    """What is the same for all models in one read."""

    seconds: float  #: monotonic time
    settled_before: float  #: wall time in seconds; files that are older are settled
    renamed: frozenset[Path]
    hashes: Mapping[tuple[Path, str], _Hashes]  #: those computed since the last read
    ignored: set[str]  #: gets the names that are ignored, as paths below the root


class RepositoryReader:
    """
    Reads the repository *places* again and again, and remembers what a decision needs.

    *seconds* returns the monotonic time, *now* the wall time, both in seconds.
    """

    def __init__(
        self, places: ModelPlaces, *, seconds: Callable[[], float], now: Callable[[], float]
    ) -> None:
        self._places = places
        self._seconds = seconds
        self._now = now
        self._models: dict[str, _Model] = {}
        self._is_first = True
        self._lock = Lock()
        self._renamed: set[Path] = set()
        self._hashes: dict[tuple[Path, str], _Hashes] = {}  #: by path and stamp of the version
        self._stamps: Mapping[Path, str] = {}  #: of all versions, at the last read
        #: The names that the last read has ignored, as paths below the root; without those with a
        #: leading dot or the end ".tmp".
        self.ignored: frozenset[str] = frozenset()

    def renamed(self, path: Path) -> None:
        """
        Take the folder at *path*, a version or a whole model, as complete at the next read.

        Called when a folder was renamed into place; *path* begins as the paths of *places* do.  A
        later change of its files has to be stable again.  May be called on any thread.
        """
        with self._lock:
            self._renamed.add(path)

    def check(self, version: VersionOnDisk) -> None:
        """
        Compare the hashes of the files of *version* with its manifest, for the next read.

        Blocks for as long as it takes to read the files, or until a read finds that they have
        changed or are gone.  May be called on any thread, also while another one reads.
        """

        def needed() -> bool:
            return self._stamps.get(version.path) == version.stamp

        try:
            hashes = _Hashes(hash_difference(version.path, needed))
        except NoLongerNeeded:
            return
        except OSError as error:
            again = self._seconds() + HASH_AGAIN_SECONDS
            hashes = _Hashes(_text(version.path, error), again)
        with self._lock:
            self._hashes[version.path, version.stamp] = hashes

    def read(self) -> Snapshot:
        """
        Return what is on disk, by the names of the models.

        Blocks on the disk, and computes no hash of a file.  All calls must be on one thread.
        Raises `ModelError` if the places cannot be found, or are none although there was one at the
        last read; the next read goes on from there.
        """
        places = self._places.find()
        ignored = set(self._places.ignored)
        if self._models and not places:
            raise RepositoryUnavailable(
                f"{self._places.name}: no model is left in it; is its file system mounted?"
            )
        with self._lock:
            renamed, self._renamed = frozenset(self._renamed), set()
            hashes, self._hashes = self._hashes, {}
        oldest = self._now() - SETTLED_SECONDS if self._is_first else float("-inf")
        read = _Read(self._seconds(), oldest, renamed, hashes, ignored)
        models = {}
        for name, place in places.items():
            model = self._models.get(name) or _Model(ModelOnDisk(name, (), ServingFacts(), ""))
            if _read_model(place, model, read):
                models[name] = model
        self._models = models
        self._stamps = {it.path: it.stamp for each in models.values() for it in each.last.versions}
        self.ignored = frozenset(ignored)
        self._is_first = False
        return {name: model.last for name, model in models.items()}


def _is_version(name: str) -> bool:
    return fullmatch(r"[0-9]{1,18}", name) is not None


def _read_model(place: ModelPlace, model: _Model, read: _Read) -> bool:
    """
    Set *model* to what is at *place*; return False if its folder is gone, and the model with it.

    A folder that cannot be listed keeps its last state, with a problem.
    """
    folder = place.folder
    try:
        listed, files = names_in(folder)
    except OSError as error:
        is_gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        if is_gone and not place.stays and not folder.is_symlink():
            return False
        model.last = replace(model.last, problem=f"{folder.name}: {error.strerror}")
        return True
    names = [name for name in listed if _is_version(name)]
    read.ignored.update(f"{folder.name}/{name}" for name in set(listed) - set(names))
    folders: dict[int, str] = {}
    for name in sorted(names, key=lambda name: (int(name), len(name))):
        folders.setdefault(int(name), name)
    model.seen = {name: model.seen[name] for name in folders.values() if name in model.seen}
    serving = place.serving or model.serving.read(folder, read.seconds)
    versions = tuple(
        _read_version(version, folder / name, model.seen, read) for version, name in folders.items()
    )
    problems = [serving.problem] if serving.problem else []
    ignored = sorted(set(names) - set(folders.values()))
    problems += [
        f"{folder.name}: {name} is ignored beside {folders[int(name)]}" for name in ignored
    ]
    problems += [f"{folder.name}: {name} is no folder" for name in filter(_is_version, files)]
    if not folders:
        problems += _problem_without_version(place, files)
    model.last = ModelOnDisk(
        model.last.name,
        versions,
        serving.facts,
        serving.stamp,
        "; ".join(problems),
        serving.notes,
    )
    return True


def _problem_without_version(place: ModelPlace, files: Sequence[str]) -> list[str]:
    """Return what is wrong with a folder that has *files* and no folder of a version."""
    folder = place.folder
    own = (SERVING_TOML, CONFIG_PBTXT)
    files = [name for name in files if name not in own and not _is_version(name)]
    if files:
        first = Path(folder.parent.name, folder.name, "1")
        rest = f"and what is beside it, except {SERVING_TOML}, to {first}/"
        return [f"{folder.name}: no version folder; move {shown_path(files[0])} {rest}"]
    return [f"{folder.name}: no version folder, such as {folder.name}/1"] if place.stays else []


def _read_version(version: int, path: Path, seen: dict[str, _Seen], read: _Read) -> VersionOnDisk:
    """Return the version at *path*, and note in *seen* what its files are."""
    try:
        files = read_files(path)
    except OSError as error:
        last = seen.get(path.name)
        stamp, size = (last.files.stamp, _size(last.files)) if last else ("", 0)
        return VersionOnDisk(version, path, stamp, size, complete=False, reason=_text(path, error))
    current = _seen(seen.get(path.name), files, read.seconds)
    seen[path.name] = current
    current.settled = (
        current.settled
        or not read.renamed.isdisjoint((path, path.parent))
        or files.changed <= read.settled_before
        or read.seconds - current.since >= STABLE_SECONDS
    )
    current.hashes = read.hashes.get((path, files.stamp), current.hashes)
    if current.hashes is not None and read.seconds >= current.hashes.until:
        current.hashes = None
    reason = _reason(path, current)
    return VersionOnDisk(
        version,
        path,
        files.stamp,
        _size(files),
        complete=not reason,
        checked=bool(reason) or MANIFEST not in files.sizes or current.hashes is not None,
        reason=reason,
    )


def _seen(last: _Seen | None, files: VersionFiles, seconds: float) -> _Seen:
    """Return what is known about *files*; *last* is what was known at the last read."""
    if last is None or last.files.stamp != files.stamp:
        return _Seen(files, since=seconds)
    if last.files.activity != files.activity:
        last.since = seconds
    last.files = files
    return last


def _reason(path: Path, seen: _Seen) -> str:
    """Return the reason for which the version at *path* is incomplete; empty if it is complete."""
    if not seen.files.sizes:
        return seen.files.unfinished or "holds no files"
    if seen.files.unfinished:
        return seen.files.unfinished
    waits_for = "its files"
    if MANIFEST in seen.files.sizes:
        if seen.difference is None:
            try:
                seen.difference, seen.unlisted = size_difference(path, seen.files.sizes)
            except OSError as error:
                return _text(path, error)
        if difference := seen.difference or (seen.hashes.difference if seen.hashes else ""):
            return difference
        if not seen.unlisted:
            return ""
        waits_for = f"{shown_path(seen.unlisted)}, which {MANIFEST} does not list,"
    return "" if seen.settled else f"{WAITS} {waits_for} to be unchanged for {STABLE_SECONDS:g} s"


def _size(files: VersionFiles) -> int:
    return sum(files.sizes.values())


def _text(path: Path, error: OSError) -> str:
    """Return *error*, which is about a file at or below *path*, in one line."""
    name = Path(error.filename or path)
    within = Path(path.parent.name, path.name)
    if name != path and name.is_relative_to(path):
        within = name.relative_to(path)
    return f"{shown_path(str(within))}: {error.strerror}"
