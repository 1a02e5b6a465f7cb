"""Find the image files that names on a command line stand for, and read them."""

from collections.abc import Iterable, Iterator
from errno import EISDIR
from pathlib import Path

#: How the names of images in a folder end, in any case.
SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".webp")


def files_of(names: Iterable[str]) -> Iterator[str]:
    """Yield *names*, one by one, and for a folder that has images these in its place, by name."""
    for name in names:
        try:
            images = _images_in(Path(name))
        except (OSError, ValueError):
            images = []  # it is a file, or `content_of` raises what is wrong with it
        yield from images or [name]


def content_of(name: str) -> bytes:
    """Return what the file *name* holds; raises `OSError`, for a folder without images as well."""
    path = Path(name)
    if path.is_dir() and not _images_in(path):
        raise IsADirectoryError(EISDIR, f"a folder without images ({', '.join(SUFFIXES)})")
    return path.read_bytes()


def _images_in(folder: Path) -> list[str]:
    """Return the images in *folder*, not those in folders within, nor hidden ones."""
    return [
        str(path)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
