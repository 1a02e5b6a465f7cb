"""Write files that survive a power cut, and replace a file at once; the functions block."""

import os
from pathlib import Path
from uuid import uuid4


def write_synced(path: Path, data: bytes) -> None:
    """Create the file *path* with *data* and write it to the disk; raises OSError if it exists."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Write the list of the files in *folder* to the disk, so that it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, mode: int | None = None) -> None:
    """
    Replace the file *path*, or create it; a concurrent reader sees either the old file or the new.

    The data is first in a file of another name in the same folder, which has a leading dot.  *mode*
    is the permissions of the new file; None: those of any new file.  Raises OSError; then *path*
    has its old state or the new content.
    """
    staged = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        write_synced(staged, data)
        if mode is not None:
            staged.chmod(mode)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    sync_folder(path.parent)
