"""Expand names on a command line to image files, and read these."""

from collections.abc import Iterable, Iterator
from errno import EISDIR
from pathlib import Path

#: The suffixes of images in a folder, in upper or lower case.
SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".webp")


def files_of(names: Iterable[str]) -> Iterator[str]:
    """Yield *names*; a folder with images is replaced by its images, sorted by name."""
    for name in names:
        try:
            images = _images_in(Path(name))
        except (OSError, ValueError):
            images = []  # a file, or a name for which `content_of` raises the error
        yield from images or [name]


def content_of(name: str) -> bytes:
    """Return the content of the file *name*; raises `OSError`, also for a folder without images."""
    path = Path(name)
    if path.is_dir() and not _images_in(path):
        raise IsADirectoryError(EISDIR, f"a folder without images ({', '.join(SUFFIXES)})")
    return path.read_bytes()


def _images_in(folder: Path) -> list[str]:
    """Return the images in *folder*, without hidden ones and those in subfolders."""
    return [
        str(path)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
