"""Replace the folders among file names by the images in them, and read image files."""

from collections.abc import Iterable, Iterator
from errno import EISDIR
from pathlib import Path

#: The suffixes of images in a folder, in upper or lower case.
SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".webp")


def files_of(names: Iterable[str]) -> Iterator[str]:
    """Yield each of *names*, or, for a folder with images, the paths of its images, sorted."""
    for name in names:
        try:
            images = _images_in(Path(name))
        except (OSError, ValueError):
            images = []  # a file, or a name for which `content_of` raises the error
        yield from images or [name]


def content_of(name: str) -> bytes:
    """Return the bytes of the file *name*; raises `OSError` if it is unreadable or a folder."""
    path = Path(name)
    if path.is_dir() and not _images_in(path):
        raise IsADirectoryError(EISDIR, f"a folder without images ({', '.join(SUFFIXES)})")
    return path.read_bytes()


def _images_in(folder: Path) -> list[str]:
    """Return the paths of the images in *folder*, sorted; skip hidden files and subfolders."""
    return [
        str(path)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
