"""
Read ``manifest.json``, which lists the files of a model with their sizes and hashes.

``"files": {"relative/path": {"size": N, "sha256": "..."}}``: the size is in bytes, the hash has 64
hexadecimal digits.  The other keys of a manifest are left to the reader.

Functions block on the disk unless stated otherwise.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


class ManifestError(ValueError):
    """A manifest does not have the format of one; the message is one line without the path."""


class FileDiffersError(Exception):
    """A file is not as the manifest lists it; the message names the file, in one line."""


class NoLongerNeeded(Exception):
    """The hash of a file was not computed to its end, because the caller no longer needs it."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """The size and the hash of a file, as a manifest lists them."""

    size: int  #: bytes
    sha256: str  #: hexadecimal, lower case


def digest_of(data: bytes) -> FileDigest:
    """Return the size and the hash of *data*; does not block."""
    return FileDigest(len(data), hashlib.sha256(data).hexdigest())


def read_manifest(folder: Path) -> dict[str, Any]:
    """
    Return all keys of the manifest in *folder*; only its JSON is checked.

    Raises OSError if it cannot be read, and `ManifestError` if it is not a JSON object.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ManifestError(str(error)) from error
    if not isinstance(manifest, dict):
        raise ManifestError("not a JSON object")
    return manifest


def listed_files(manifest: Mapping[str, Any]) -> dict[str, FileDigest]:
    """
    Return the digest of each file that *manifest* lists, by its relative path; does not block.

    A path has ``/`` between its segments.  Raises `ManifestError` for a path that is absolute, has
    an empty segment or one with a leading dot (as ``..`` has), a backslash or a NUL, and for a size
    or a hash that is none.
    """
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise ManifestError("'files' is no JSON object")
    return {_checked_path(path): _digest(path, entry) for path, entry in files.items()}


def as_listed(files: Mapping[str, FileDigest]) -> dict[str, dict[str, object]]:
    """Return *files* as the value of the key ``files`` of a manifest; does not block."""
    return {path: {"size": file.size, "sha256": file.sha256} for path, file in files.items()}


def check_size(path: str, size: int, expected: FileDigest) -> None:
    """
    Raise `FileDiffersError` unless *size*, that of the file at *path* in bytes, is as *expected*.

    Does not block.
    """
    if size != expected.size:
        raise FileDiffersError(f"{shown_path(path)} has {size} bytes, {expected.size} were written")


class _NeededFile:
    """A file that `hashlib.file_digest` reads for as long as *needed* returns true."""

    def __init__(self, file: BufferedReader, needed: Callable[[], bool]) -> None:
        self._file = file
        self._needed = needed

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray) -> int:
        """Read into *buffer*; return the number of bytes.  Raises `NoLongerNeeded`."""
        if not self._needed():
            raise NoLongerNeeded
        return self._file.readinto(buffer)


def check_file(
    folder: Path, path: str, expected: FileDigest, needed: Callable[[], bool] = lambda: True
) -> None:
    """
    Raise `FileDiffersError` unless the file at *path* in *folder* has the *expected* size and hash.

    Reads the whole file if the size fits.  Raises OSError if the file is missing or cannot be read,
    and `NoLongerNeeded` once *needed*, which is called between parts of the file, returns false.
    """
    with (folder / path).open("rb") as file:
        check_size(path, os.fstat(file.fileno()).st_size, expected)
        sha256 = hashlib.file_digest(_NeededFile(file, needed), "sha256").hexdigest()
    if sha256 != expected.sha256:
        raise FileDiffersError(f"{shown_path(path)} has SHA-256 {sha256}, not {expected.sha256}")


def size_difference(folder: Path, sizes: Mapping[str, int]) -> tuple[str, str]:
    """
    Return how *sizes* differ from the manifest in *folder*, and a file that it does not list.

    *sizes* are the bytes of all files in *folder*, by relative path.  Each of the two is one line,
    empty if there is nothing to state.  Raises OSError if the manifest cannot be read.
    """

    def compare(listed: Mapping[str, FileDigest]) -> None:
        for path, expected in listed.items():
            if path not in sizes:
                raise FileDiffersError(f"{shown_path(path)} is missing")
            check_size(path, sizes[path], expected)

    difference, listed = _difference(folder, compare)
    return difference, "" if difference else min(sizes.keys() - listed - {MANIFEST}, default="")


def hash_difference(folder: Path, needed: Callable[[], bool]) -> str:
    """
    Return how the files in *folder* differ from its manifest, in one line; empty if they do not.

    Reads all files that it lists.  Raises OSError if one of them cannot be read, and
    `NoLongerNeeded` as `check_file` does.
    """

    def compare(listed: Mapping[str, FileDigest]) -> None:
        for path, expected in listed.items():
            check_file(folder, path, expected, needed)

    difference, _ = _difference(folder, compare)
    return difference


def _difference(
    folder: Path, compare: Callable[[Mapping[str, FileDigest]], None]
) -> tuple[str, Set[str]]:
    """Return the difference that *compare* raises, and the paths that the manifest lists."""
    try:
        listed = listed_files(read_manifest(folder))
        compare(listed)
    except ManifestError as error:
        return f"{MANIFEST} cannot be read: {error}", frozenset()
    except FileDiffersError as error:
        return f"differs from {MANIFEST}: {error}", frozenset()
    return "", listed.keys()


def _checked_path(path: str) -> str:
    segments = path.split("/")
    if "\\" in path or "\0" in path or any(name == "" or name[0] == "." for name in segments):
        raise ManifestError(f"{path!r} cannot be the path of a file in a model")
    return path


def _digest(path: str, entry: object) -> FileDigest:
    match entry:
        case {"size": int(size), "sha256": str(sha256)} if (
            not isinstance(size, bool) and size >= 0 and re.fullmatch(r"[0-9a-fA-F]{64}", sha256)
        ):
            return FileDigest(size, sha256.lower())
    raise ManifestError(f"{path!r} has no size in bytes or no SHA-256")


def shown_path(path: str) -> str:
    """Return *path* for a line of text, with escapes if it is not printable; does not block."""
    return path if path.isprintable() else ascii(path)
