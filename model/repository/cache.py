"""
Store models and measured run times on disk between starts; each is stored completely or not at all.

``<root>/models/<name>/<version>/`` holds the files of a model and a ``manifest.json`` with the size
and SHA-256 of each; ``<root>/latency/`` holds the run times.  A complete and synced folder becomes
a model's folder by one rename, so that a process that is killed at any moment stores no part of a
model.  Imports no TensorFlow, so that a start with a cached model does not wait for that import.

All functions block on the disk: call them before the reactor runs, or on a thread of their own.
"""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from model.repository.manifest import (
    MANIFEST,
    FileDiffersError,
    FileDigest,
    as_listed,
    check_file,
    digest_of,
    listed_files,
    read_manifest,
)
from model.repository.synced_files import replace_file, sync_folder, write_synced

APPLICATION = "tensorferry"

_MANIFEST_VERSION = 1
# The dot hides these names from listings; the lock allows only one writer at a time.
_LOCK, _STAGED, _SET_ASIDE = ".lock", ".staged", ".set-aside"


class CacheUnavailableError(Exception):
    """The cache folder cannot be read or written; another folder is needed."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"the cache folder {folder} cannot be used: {reason}; "
            "set XDG_CACHE_HOME to a folder that can be written"
        )
        self.folder = folder
        self.reason = reason


class DamagedCacheError(Exception):
    """A file in the cache differs from what was written; it has to be written again."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ModelContents:
    """The contents of a model, to be published in the cache."""

    files: Mapping[str, bytes]  #: by file name
    origin: str  #: the source of the model, in one sentence
    licence: str


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model in the cache whose files were undamaged when they were read."""

    name: str
    version: str
    path: Path  #: the folder
    size: int  #: bytes of the files, without the manifest
    origin: str
    licence: str
    created: datetime  #: UTC


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class CacheFolder:
    """The root folder of the cache; created at the first write."""

    root: Path
    now: Callable[[], datetime] = _utc_now  #: returns the date to store with a model

    def model_folder(self, name: str, version: str) -> Path:
        """
        Return the folder for the *version* of the model *name*.

        Raises ValueError if one of them is not a single, visible segment of a path.
        """
        return self.root / "models" / _checked_name(name) / _checked_name(version)

    def latency_file(self, key: str) -> Path:
        """Return the path of the file for the run times with the *key*, which is a hash."""
        return self.root / "latency" / f"{_checked_name(key)}.json"

    def model_names(self) -> list[tuple[str, str]]:
        """
        Return the (name, version) of each model that has a folder, sorted.

        Raises CacheUnavailableError if the folder cannot be listed.
        """
        with _unavailable(self.root):
            return sorted(
                (model.name, version.name)
                for model in _visible_folders(self.root / "models")
                for version in _visible_folders(model)
            )

    def find(self, name: str, version: str) -> CachedModel | None:
        """
        Return the *version* of the model *name*, or ``None`` if it is not in the cache.

        Checks every byte of the model, and writes nothing.  Raises DamagedCacheError if a file is
        missing, cut short or changed, and CacheUnavailableError if the disk cannot be read.
        """
        folder = self.model_folder(name, version)
        with _unavailable(self.root):
            return self._read(name, version) if folder.exists() else None

    def publish(self, name: str, version: str, contents: ModelContents) -> CachedModel:
        """
        Write *contents* as the *version* of the model *name*, read it again, and return it.

        If the cache has an undamaged model of this name and version, that model is returned and not
        replaced, because another process may be reading it; a damaged one is replaced.  Raises
        CacheUnavailableError if the cache cannot be used.  Raises DamagedCacheError, with the model
        stored, if the bytes that are read differ from those that were written.
        """
        target = self.model_folder(name, version)
        parent = target.parent
        with self._locked(parent):
            _clear(parent)  # folders of a process that was killed
            try:
                if not self._is_whole(name, version):
                    _write_model(parent / _STAGED, name, version, contents, self.now())
                    if target.exists():
                        target.rename(parent / _SET_ASIDE)
                    (parent / _STAGED).rename(target)
                    sync_folder(parent)
            finally:
                _clear(parent)
            return self._read(name, version)

    def ensure(
        self,
        name: str,
        version: str,
        build: Callable[[], ModelContents],
        on_progress: Callable[[str], object],
    ) -> CachedModel:
        """
        Return the *version* of the model *name*; if it is absent or damaged, store it first.

        The contents to store are the result of *build*.  Calls *on_progress* with a line of text if
        the model is damaged and, after a build, with a line that names the folder.  Checks before
        *build*, which may take long, that the folder can be written.  Raises the errors of
        `publish`, and any error of *build*.
        """
        try:
            model = self.find(name, version)
        except DamagedCacheError as damage:
            on_progress(f"{damage}; converting it again")
            model = None
        if model is not None:
            return model
        with self._locked(self.model_folder(name, version).parent):
            pass
        model = self.publish(name, version, build())
        on_progress(f"{name}/{version} is stored in {model.path} ({model.size / 1e6:.1f} MB)")
        return model

    def _read(self, name: str, version: str) -> CachedModel:
        folder = self.model_folder(name, version)
        model, digests = _read_model(folder)
        if (model.name, model.version) != (name, version):
            raise DamagedCacheError(folder, f"{MANIFEST} is for {model.name}/{model.version}")
        for file_name, digest in digests.items():
            try:
                check_file(folder, file_name, digest)
            except FileDiffersError as error:
                raise DamagedCacheError(folder, str(error)) from error
            except (FileNotFoundError, IsADirectoryError) as error:
                raise DamagedCacheError(folder, f"{file_name} is missing") from error
        return model

    def _is_whole(self, name: str, version: str) -> bool:
        try:
            return self.find(name, version) is not None
        except DamagedCacheError:
            return False

    @contextmanager
    def _locked(self, parent: Path) -> Iterator[None]:
        """
        Create *parent*, and lock it against other processes and threads within the ``with`` block.

        The lock is a separate file, opened for writing, since network file systems refuse an
        exclusive lock on anything else.  Closing the file releases the lock.
        """
        with _unavailable(self.root):
            parent.mkdir(parents=True, exist_ok=True)
            with (parent / _LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield


def user_cache_folder() -> CacheFolder:
    """
    Return the cache folder of the user; the environment variable XDG_CACHE_HOME may set it.

    Raises CacheUnavailableError if the user has no home folder.
    """
    try:
        root = platformdirs.user_cache_path(APPLICATION)
    except RuntimeError:  # later releases of platformdirs raise this without a home folder
        root = Path("~/.cache", APPLICATION)
    if not root.is_absolute():
        raise CacheUnavailableError(root, "no home folder is known")
    return CacheFolder(root)


def read_json(path: Path) -> object:
    """
    Return the value in the JSON file at *path*, or ``None`` if there is no such file.

    Raises DamagedCacheError if the file is not JSON, and CacheUnavailableError if it cannot be
    read.
    """
    with _unavailable(path.parent):
        try:
            value: object = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DamagedCacheError(path, str(error)) from error
        return value


def write_json_atomically(path: Path, value: object) -> None:
    """
    Write *value* as JSON to *path*; a concurrent reader sees either the old file or the new one.

    Creates the folder if it is missing.  If several processes write, the last one wins.  Raises
    CacheUnavailableError if the disk fails; then *path* has the old state or the new content.
    Raises ValueError or TypeError, and writes nothing, if *value* is not JSON, such as NaN.
    """
    data = _json_bytes(value)
    with _unavailable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)


@contextmanager
def _unavailable(folder: Path) -> Iterator[None]:
    """Replace an OSError in the ``with`` block by a CacheUnavailableError that names *folder*."""
    try:
        yield
    except OSError as error:
        raise CacheUnavailableError(folder, error.strerror or str(error)) from error


def _checked_name(name: str) -> str:
    """Return *name* if it is a single, visible segment of a path; else raise ValueError."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} cannot be the name of a file in the cache")
    return name


def _visible_folders(folder: Path) -> list[Path]:
    """Return the folders in *folder* whose names have no leading dot; [] if *folder* is absent."""
    try:
        return [path for path in folder.iterdir() if path.name[0] != "." and path.is_dir()]
    except FileNotFoundError:
        return []


def _write_model(
    folder: Path, name: str, version: str, contents: ModelContents, created: datetime
) -> None:
    """Create *folder*, write the files of *contents* into it, then the manifest, and sync them."""
    folder.mkdir()
    for file_name, data in contents.files.items():
        write_synced(folder / _checked_name(file_name), data)
    manifest = {
        "format": _MANIFEST_VERSION,
        "name": name,
        "version": version,
        "origin": contents.origin,
        "licence": contents.licence,
        "created": created.isoformat(timespec="seconds"),
        "files": as_listed({path: digest_of(data) for path, data in contents.files.items()}),
    }
    write_synced(folder / MANIFEST, _json_bytes(manifest))
    sync_folder(folder)


def _read_model(folder: Path) -> tuple[CachedModel, dict[str, FileDigest]]:
    """
    Return the model in *folder*, and the digest of each file by its name, from the manifest.

    Raises DamagedCacheError if the manifest is missing or cannot be read.
    """
    try:
        manifest = read_manifest(folder)
        if manifest["format"] != _MANIFEST_VERSION:
            raise ValueError(f"format {manifest['format']!r}, not {_MANIFEST_VERSION}")  # noqa: TRY301 - handled below like other damage
        for file_name in manifest["files"]:
            _checked_name(file_name)
        digests = listed_files(manifest)
        model = CachedModel(
            name=str(manifest["name"]),
            version=str(manifest["version"]),
            path=folder,
            size=sum(digest.size for digest in digests.values()),
            origin=str(manifest["origin"]),
            licence=str(manifest["licence"]),
            created=datetime.fromisoformat(manifest["created"]),
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedCacheError(folder, f"{MANIFEST} is missing") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedCacheError(folder, f"{MANIFEST} cannot be read: {error}") from error
    return model, digests


def _clear(parent: Path) -> None:
    """
    Remove `.staged` and `.set-aside`, the folders of an earlier write, from *parent*.

    The caller must hold the lock of *parent*.
    """
    for name in (_STAGED, _SET_ASIDE):
        path = parent / name
        if path.is_dir():
            shutil.rmtree(path)
        else:  # a damaged "folder" that was set aside may be a file
            path.unlink(missing_ok=True)


def _json_bytes(value: object) -> bytes:
    return json.dumps(value, indent=2, allow_nan=False).encode() + b"\n"
