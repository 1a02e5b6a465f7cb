"""
Make JPEG files of photographs, in the sizes that clients post.

The photographs come with scikit-image, of the extra `test`.  A large image is a mosaic of them
in about their own size, since one that was blown up has less to decode than a camera's.
"""

from io import BytesIO
from pathlib import Path

import skimage
from PIL import Image, ImageOps

_NAMES = ("coffee.png", "rocket.jpg", "motorcycle_left.png", "astronaut.png", "chelsea.png")
_QUALITY = 90  #: JPEG's, as cameras and web pages have it
_TILES = 3  #: along each side of a mosaic


def small_photos(width: int, height: int) -> list[bytes]:
    """Return five photographs, each cut to this shape and resized."""
    return [_jpeg(ImageOps.fit(photo, (width, height))) for photo in _photographs()]


def large_photos(width: int, height: int) -> list[bytes]:
    """Return five mosaics of nine photographs, which begin with another one each."""
    tiles = [ImageOps.fit(each, (width // _TILES, height // _TILES)) for each in _photographs()]
    return [_jpeg(_mosaic(tiles[first:] + tiles[:first])) for first in range(len(tiles))]


def _photographs() -> list[Image.Image]:
    folder = Path(skimage.__file__).parent / "data"
    return [Image.open(folder / name).convert("RGB") for name in _NAMES]


def _mosaic(tiles: list[Image.Image]) -> Image.Image:
    width, height = tiles[0].size
    whole = Image.new("RGB", (_TILES * width, _TILES * height))
    for place in range(_TILES * _TILES):
        row, column = divmod(place, _TILES)
        whole.paste(tiles[place % len(tiles)], (column * width, row * height))
    return whole


def _jpeg(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
