"""
Keep models and measurements on disk between runs, whole or not at all.

``<root>/models/<name>/<version>/`` holds the files of a model beside a
``manifest.json`` with the size and SHA-256 of each; ``<root>/latency/`` holds
what was measured.  A model's folder appears by one rename of a complete and
synced one, so a process killed at any moment leaves nothing that looks like a
model.  Imports no TensorFlow: a start that finds its model here pays nothing.

Everything here blocks on the disk: call it before the reactor runs, or from a
thread of its own.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import platformdirs

APPLICATION = "tensorferry"
MANIFEST = "manifest.json"

_FORMAT = 1  # of the manifest
# A dot keeps these out of every listing; the lock makes one of each enough.
_LOCK, _STAGED, _SET_ASIDE = ".lock", ".staged", ".set-aside"


class CacheUnavailableError(Exception):
    """The cache folder cannot be read or written: choose another."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"the cache folder {folder} cannot be used: {reason}; "
            "set XDG_CACHE_HOME to a folder that can be written"
        )
        self.folder = folder
        self.reason = reason


class DamagedCacheError(Exception):
    """Something in the cache is not what was written there: make it again."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ModelContents:
    """What a builder hands over to be kept."""

    files: Mapping[str, bytes]  #: by plain file name
    origin: str  #: one sentence: where it comes from
    licence: str


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model in the cache whose files were found to be whole."""

    name: str
    version: str
    path: Path  #: the folder
    size: int  #: bytes of its files, the manifest aside
    origin: str
    licence: str
    created: datetime  #: UTC


@dataclass(frozen=True, slots=True)
class _Digest:
    """What a file must be."""

    size: int  #: bytes
    sha256: str


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class CacheFolder:
    """The folder under which everything is kept; made when first written to."""

    root: Path
    now: Callable[[], datetime] = _utc_now  #: for the date shown to people

    def model_folder(self, name: str, version: str) -> Path:
        """Return where *version* of *name* is kept; ValueError if a name is no plain one."""
        return self.root / "models" / _plain(name) / _plain(version)

    def latency_file(self, key: str) -> Path:
        """Return where the latencies measured under *key*, a hash, are kept."""
        return self.root / "latency" / f"{_plain(key)}.json"

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
        Return the model if it is here, ``None`` if not, having read every byte of it.

        Raises DamagedCacheError if a file is missing, cut short or changed, and
        CacheUnavailableError if the disk will not say.  Never writes.
        """
        folder = self.model_folder(name, version)
        with _unavailable(self.root):
            return self._read(name, version) if folder.exists() else None

    def publish(self, name: str, version: str, contents: ModelContents) -> CachedModel:
        """
        Write the model and return it as it is found afterwards.

        A whole model already there is kept and returned, since another process
        may be reading it; a damaged one is replaced.  Raises
        CacheUnavailableError, leaving nothing behind, and DamagedCacheError
        where the disk gives back other bytes than it was given.
        """
        target = self.model_folder(name, version)
        parent = target.parent
        with self._locked(parent):
            _clear(parent)  # what a killed process may have left
            try:
                if not self._is_whole(name, version):
                    _write_model(parent / _STAGED, name, version, contents, self.now())
                    if target.exists():
                        target.rename(parent / _SET_ASIDE)
                    (parent / _STAGED).rename(target)
                    _sync(parent)
            finally:
                _clear(parent)
            return self._read(name, version)

    def ensure(
        self,
        name: str,
        version: str,
        build: Callable[[], ModelContents],
        on_progress: Callable[[str], None],
    ) -> CachedModel:
        """
        Return the model, calling *build* if it is absent or damaged.

        Damage and, after a build, where the model is kept are told through
        *on_progress*, a line each.  That the folder can be written is tried before
        *build*, which may take long.  Raises CacheUnavailableError, and
        whatever *build* raises.
        """
        try:
            model = self.find(name, version)
        except DamagedCacheError as damage:
            on_progress(f"{damage}; making it again")
            model = None
        if model is not None:
            return model
        with self._locked(self.model_folder(name, version).parent):
            pass
        model = self.publish(name, version, build())
        on_progress(f"{name}/{version} is kept in {model.path} ({model.size / 1e6:.1f} MB)")
        return model

    def _read(self, name: str, version: str) -> CachedModel:
        folder = self.model_folder(name, version)
        model, digests = _read_manifest(folder)
        if (model.name, model.version) != (name, version):
            raise DamagedCacheError(folder, f"{MANIFEST} is that of {model.name}/{model.version}")
        for file_name, digest in digests.items():
            _check_file(folder, file_name, digest)
        return model

    def _is_whole(self, name: str, version: str) -> bool:
        try:
            return self.find(name, version) is not None
        except DamagedCacheError:
            return False

    @contextmanager
    def _locked(self, parent: Path) -> Iterator[None]:
        """
        Make *parent* and hold it against other processes and threads.

        The lock is a file of its own, opened for writing: network file systems
        refuse an exclusive lock on anything else.  Closing it lets go.
        """
        with _unavailable(self.root):
            parent.mkdir(parents=True, exist_ok=True)
            with (parent / _LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield


def user_cache_folder() -> CacheFolder:
    """
    Return the user's own cache folder, which XDG_CACHE_HOME may move.

    Raises CacheUnavailableError for a user who has no home folder.
    """
    try:
        root = platformdirs.user_cache_path(APPLICATION)
    except RuntimeError:  # how later releases of platformdirs say that there is no home folder
        root = Path("~/.cache", APPLICATION)
    if not root.is_absolute():
        raise CacheUnavailableError(root, "no home folder is known")
    return CacheFolder(root)


def read_json(path: Path) -> object:
    """
    Return what the JSON file at *path* holds, ``None`` if there is no such file.

    Raises DamagedCacheError if it is no JSON, CacheUnavailableError if it
    cannot be read.
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
    Write *value* as JSON so that a reader sees the old file or the new one.

    Makes the folder if need be.  The last of several writers wins.  Raises
    CacheUnavailableError, leaving the old file; ValueError or TypeError for a
    value that JSON cannot hold, NaN among them.
    """
    data = _json_bytes(value)
    staged = path.with_name(f".{path.name}.{uuid4().hex}")
    with _unavailable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_synced(staged, data)
            staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)
        _sync(path.parent)


@contextmanager
def _unavailable(folder: Path) -> Iterator[None]:
    """Turn an error of the operating system into one that names *folder*."""
    try:
        yield
    except OSError as error:
        raise CacheUnavailableError(folder, error.strerror or str(error)) from error


def _plain(name: str) -> str:
    """Return *name* if it is one step of a path that stays where it is put."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} cannot be the name of a file in the cache")
    return name


def _visible_folders(folder: Path) -> list[Path]:
    """Return the folders in *folder* that no dot hides; none if it is absent."""
    try:
        return [path for path in folder.iterdir() if path.name[0] != "." and path.is_dir()]
    except FileNotFoundError:
        return []


def _write_model(
    folder: Path, name: str, version: str, contents: ModelContents, created: datetime
) -> None:
    """Write every file and then the manifest into a new *folder*, and sync them."""
    folder.mkdir()
    for file_name, data in contents.files.items():
        _write_synced(folder / _plain(file_name), data)
    manifest = {
        "format": _FORMAT,
        "name": name,
        "version": version,
        "origin": contents.origin,
        "licence": contents.licence,
        "created": created.isoformat(timespec="seconds"),
        "files": {
            file_name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for file_name, data in contents.files.items()
        },
    }
    _write_synced(folder / MANIFEST, _json_bytes(manifest))
    _sync(folder)


def _read_manifest(folder: Path) -> tuple[CachedModel, dict[str, _Digest]]:
    """Return what the manifest in *folder* says of the model and of each file."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["format"] != _FORMAT:
            raise ValueError(f"format {manifest['format']!r}, not {_FORMAT}")  # noqa: TRY301 - one damage as any other
        digests = {
            _plain(name): _Digest(int(entry["size"]), str(entry["sha256"]))
            for name, entry in manifest["files"].items()
        }
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


def _check_file(folder: Path, name: str, expected: _Digest) -> None:
    """Raise DamagedCacheError unless the file is as it was written."""
    try:
        with (folder / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != expected.size:
                raise DamagedCacheError(
                    folder, f"{name} has {size} bytes, {expected.size} were written"
                )
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DamagedCacheError(folder, f"{name} is missing") from error
    if sha256 != expected.sha256:
        raise DamagedCacheError(folder, f"{name} has SHA-256 {sha256}, not {expected.sha256}")


def _clear(parent: Path) -> None:
    """Remove unfinished and set-aside folders; only under the lock of *parent*."""
    for name in (_STAGED, _SET_ASIDE):
        path = parent / name
        if path.is_dir():
            shutil.rmtree(path)
        else:  # a damaged "folder" that was set aside may be a file
            path.unlink(missing_ok=True)


def _json_bytes(value: object) -> bytes:
    return json.dumps(value, indent=2, allow_nan=False).encode() + b"\n"


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make the names in *folder* survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
