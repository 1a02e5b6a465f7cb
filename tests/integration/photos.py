"""
Photographs for the default model, as JPEG files, and the labels that are expected.
"""

from functools import cache
from io import BytesIO

from PIL import Image

from tests.images import encoded, photograph

#: The accepted labels of each photograph, by the name of its file in scikit-image.
KNOWN = {
    "chelsea.png": {"tiger cat", "Egyptian cat"},
    "coffee.png": {"espresso"},
    "rocket.jpg": {"missile"},
    "motorcycle_left.png": {"moped"},
}


@cache
def photo(name: str) -> Image.Image:
    """Return a photograph, decoded."""
    image = Image.open(BytesIO(photograph(name)))
    image.load()
    return image


@cache
def jpeg(name: str) -> bytes:
    """Return a photograph as a JPEG file."""
    return encoded(photo(name), "JPEG", quality=95)


def mixed(count: int) -> list[tuple[str, bytes]]:
    """Return *count* photographs as names and files: the known ones in turn."""
    names = list(KNOWN)
    return [(name, jpeg(name)) for name in (names * count)[:count]]
