"""
Read the names, sizes and times of the files of one version of a model; opens no file.

A file is hidden if its name, or the name of a folder on its path, has a leading dot.  Hidden files
are no part of the version, and neither are temporary ones, with names that end in ".tmp".  Links
are followed.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from errno import ELOOP
from operator import attrgetter
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from model.repository.manifest import shown_path

#: The end of a name that a file or folder has while it is written.
TEMPORARY_END = ".tmp"


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """The files in the folder of a version, at one moment."""

    sizes: Mapping[str, int]  #: bytes, by relative path, without hidden and temporary files
    #: hash of the paths, sizes, times of change and inodes of these files, and of the paths of
    #: their folders; a read leaves it equal, and the rename of a file into the folder changes it
    stamp: str
    activity: str  #: the same with all files, so that it changes while a hidden one is written
    changed: float  #: the last change of any file or folder or its attributes, wall time in seconds
    unfinished: str  #: the reason for which the files cannot be complete, in one line; else empty


def read_files(folder: Path) -> VersionFiles:
    """
    Return the files in *folder*.

    Blocks on the disk.  Raises OSError, with the path, if the folder or a file that is not hidden
    cannot be read or vanishes in the meantime, or if a link leads to a folder that contains it.
    """
    stamp, activity = hashlib.sha256(), hashlib.sha256()
    sizes: dict[str, int] = {}
    status = folder.stat()
    changed = status.st_ctime
    unfinished = ""
    for path, entry in _entries(str(folder), "", frozenset({(status.st_dev, status.st_ino)})):
        changed = max(changed, entry.st_ctime)
        line = _line(path, entry)
        activity.update(line)
        if path.endswith(TEMPORARY_END):
            unfinished = unfinished or f"{shown_path(path)} is temporary"
        elif _is_hidden(path) or f"{TEMPORARY_END}/" in path:
            pass
        elif S_ISREG(entry.st_mode):
            sizes[path] = entry.st_size
            stamp.update(line)
        elif S_ISDIR(entry.st_mode):
            stamp.update(line)
        else:
            unfinished = unfinished or f"{shown_path(path)} is neither a file nor a folder"
    return VersionFiles(sizes, stamp.hexdigest(), activity.hexdigest(), changed, unfinished)


def _entries(
    folder: str, prefix: str, within: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, os.stat_result]]:
    """
    Yield all files and folders below *folder*, by name, each with its path from the version.

    *prefix* is the path of *folder* from the version, *within* has the identities of the folders
    on it.
    """
    with os.scandir(folder) as found:
        entries = sorted(found, key=attrgetter("name"))
    for entry in entries:
        path = prefix + entry.name
        try:
            status = entry.stat()
            yield path, status
            if S_ISDIR(status.st_mode):
                identity = status.st_dev, status.st_ino
                if identity in within:
                    raise OSError(ELOOP, os.strerror(ELOOP), entry.path)  # noqa: TRY301 - handled below like other errors
                yield from _entries(entry.path, f"{path}/", within | {identity})
        except OSError:
            if not _is_hidden(path):
                raise


def _line(path: str, status: os.stat_result) -> bytes:
    """Return all that a stamp depends on of one file or folder."""
    if S_ISDIR(status.st_mode):
        return os.fsencode(path) + b"/\0"
    numbers = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
    return os.fsencode(path) + b"\0" + numbers.encode() + b"\0"


def _is_hidden(path: str) -> bool:
    return path.startswith(".") or "/." in path
