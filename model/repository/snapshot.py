"""
Read a model repository: which models and versions are on disk, and which versions are complete.

``<name>/<version>/`` holds the files of a version, ``<name>/serving.toml`` states which versions
are served; model/repository/model_places.py finds the folders.  Names that begin with "." or end in
".tmp" are ignored, and so are models with a character other than letters, digits, ".", "_" and "-",
and versions that are no whole number.

A version with a ``manifest.json`` is complete if each file that it lists is there with its size and
hash.  Other files, such as a ``model.toml`` or a ``golden.jsonl`` that was added, are allowed.  For
these, and for all files of a version without a manifest, the version waits until they are unchanged
for `STABLE_SECONDS`, unless the folder was renamed into place, or was last changed long before the
first read.  While a file with a leading dot is written, as rsync does, the version waits, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from re import fullmatch
from threading import Lock
from typing import TypeAlias

from model.repository.manifest import (
    MANIFEST,
    FileDiffersError,
    ManifestError,
    check_file,
    check_size,
    listed_files,
    read_manifest,
    shown_path,
)
from model.repository.model_places import (
    ModelPlace,
    ModelPlaces,
    RepositoryUnavailable,
    folders_in,
)
from model.repository.serving_files import ServingFiles
from model.repository.serving_toml import ServingFacts
from model.repository.version_files import VersionFiles, read_files

#: The time for which the files of a version without a manifest must be unchanged.
STABLE_SECONDS = 4.0
#: The time since the last change after which the first read takes a version at once.
SETTLED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class VersionOnDisk:
    """One version of a model, as it was on disk at a read."""

    version: int
    path: Path  #: the folder, or the link to it
    #: hash of the names, sizes, times and inodes of the files; the last known one if they cannot be
    #: read, empty if they never could
    stamp: str
    size: int  #: bytes of all files, of those with the stamp
    complete: bool
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


@dataclass(slots=True)
class _Seen:
    """What earlier reads found out about the files of a version while their stamp was equal."""

    files: VersionFiles
    since: float  #: the first read with this stamp and activity, monotonic time in seconds
    settled: bool = False  #: the files were unchanged for long enough, or renamed into place
    #: how the files differ from the manifest, empty if they do not; None until they are compared
    difference: str | None = None
    unlisted: str = ""  #: a file that the manifest does not list


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

    def renamed(self, path: Path) -> None:
        """
        Take the folder at *path*, a version or a whole model, as complete at the next read.

        Called when a folder was renamed into place; *path* begins as the paths of *places* do.  A
        later change of its files has to be stable again.  May be called on any thread.
        """
        with self._lock:
            self._renamed.add(path)

    def read(self) -> Snapshot:
        """
        Return what is on disk, by the names of the models.

        Blocks on the disk, as long as it takes to hash all files that a new manifest lists.  All
        calls must be on one thread.  Raises `ModelError` if the places cannot be found, or are
        none although there was one at the last read; the next read goes on from there.
        """
        places = self._places.find()
        if self._models and not places:
            raise RepositoryUnavailable(
                f"{self._places.name}: no model is left in it; is its file system mounted?"
            )
        with self._lock:
            renamed, self._renamed = frozenset(self._renamed), set()
        oldest = self._now() - SETTLED_SECONDS if self._is_first else float("-inf")
        read = _Read(self._seconds(), oldest, renamed)
        models = {}
        for name, place in places.items():
            model = self._models.get(name) or _Model(ModelOnDisk(name, (), ServingFacts(), ""))
            if _read_model(place, model, read):
                models[name] = model
        self._models = models
        self._is_first = False
        return {name: model.last for name, model in models.items()}


def _read_model(place: ModelPlace, model: _Model, read: _Read) -> bool:
    """
    Set *model* to what is at *place*; return False if its folder is gone, and the model with it.

    A folder that cannot be listed keeps its last state, with a problem.
    """
    folder = place.folder
    try:
        names = [name for name in folders_in(folder) if fullmatch(r"[0-9]{1,18}", name)]
    except OSError as error:
        if not place.stays and isinstance(error, FileNotFoundError | NotADirectoryError):
            return False
        model.last = replace(model.last, problem=f"{folder}: {error.strerror}")
        return True
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
    if place.stays and not names:
        problems.append(f"{folder}: holds no folder of a version, such as {folder / '1'}")
    problems += [f"{folder}: {name} is ignored beside {folders[int(name)]}" for name in ignored]
    model.last = ModelOnDisk(
        model.last.name,
        versions,
        serving.facts,
        serving.stamp,
        "; ".join(problems),
        serving.notes,
    )
    return True


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
    reason = _reason(path, current)
    return VersionOnDisk(
        version, path, files.stamp, _size(files), complete=not reason, reason=reason
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
                _compare(path, seen)
            except OSError as error:
                return _text(path, error)
        if seen.difference or not seen.unlisted:
            return seen.difference or ""
        waits_for = f"{shown_path(seen.unlisted)}, which {MANIFEST} does not list,"
    return "" if seen.settled else f"waits for {waits_for} to be unchanged for {STABLE_SECONDS:g} s"


def _compare(path: Path, seen: _Seen) -> None:
    """
    Note in *seen* how the files at *path* differ from their manifest.

    Compares all sizes before it reads a file.  Raises OSError if a file cannot be read.
    """
    sizes = seen.files.sizes
    try:
        listed = listed_files(read_manifest(path))
        for name, expected in listed.items():
            if name not in sizes:
                raise FileDiffersError(f"{shown_path(name)} is missing")  # noqa: TRY301 - handled below like other differences
            check_size(name, sizes[name], expected)
        for name, expected in listed.items():
            check_file(path, name, expected)
    except ManifestError as error:
        seen.difference = f"{MANIFEST} cannot be read: {error}"
    except FileDiffersError as error:
        seen.difference = f"differs from {MANIFEST}: {error}"
    else:
        seen.difference = ""
        seen.unlisted = min(sizes.keys() - listed.keys() - {MANIFEST}, default="")


def _size(files: VersionFiles) -> int:
    return sum(files.sizes.values())


def _text(path: Path, error: OSError) -> str:
    """Return *error*, which is about a file at or below *path*, in one line."""
    name = Path(error.filename or path)
    within = name.relative_to(path) if name != path and name.is_relative_to(path) else name
    return f"{shown_path(str(within))}: {error.strerror}"
