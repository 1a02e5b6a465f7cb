"""Make the images for trial runs of a model: always the same ones, in several sizes."""

from collections.abc import Iterator, Mapping
from functools import cache
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.images.layout import ChannelAxis, ImageLayout

#: In order of trial: the first format that a model takes is used.
FORMATS = ("JPEG", "PNG", "BMP", "GIF")

#: Width and height, pixels.  They differ, so that a result that depends on them is detected.
_SIZES = ((32, 24), (96, 128), (224, 224), (320, 200), (75, 301))

#: The darkest and the brightest level of each image.  They differ, so that a result that depends on
#: extremes, mean or contrast of the batch is detected.
_LEVELS = ((0, 255), (20, 90), (150, 250), (100, 140), (60, 230))


class _Probes(Mapping[str, tuple[bytes, ...]]):
    """The same images in each format, encoded on access: most models need only JPEG."""

    def __getitem__(self, kind: str) -> tuple[bytes, ...]:
        return tuple(_encoded(each, kind) for each in _images())

    def __iter__(self) -> Iterator[str]:
        return iter(FORMATS)

    def __len__(self) -> int:
        return len(FORMATS)


def probe_images() -> Mapping[str, tuple[bytes, ...]]:
    """Return the same images as files in each format of `FORMATS`, by the name of the format."""
    return _Probes()


@cache
def _images() -> tuple[Image.Image, ...]:
    return tuple(
        Image.fromarray(_pixels(height, width, number))
        for number, (width, height) in enumerate(_SIZES)
    )


def probe_pixels(
    layout: ImageLayout, dtype: npt.DTypeLike
) -> dict[str, tuple[npt.NDArray[np.generic], ...]]:
    """
    Return five images as arrays, under the key "pixels".

    They look like the `probe_images`.  Each array is one row of *layout*, with the dtype *dtype*
    and values from 0 to 255.
    """
    size = layout.height or 1, layout.width or 1
    images = (_pixels(*size, seed)[..., : layout.channels].astype(dtype) for seed in range(5))
    if layout.axis is ChannelAxis.FIRST:
        images = (each.transpose(2, 0, 1) for each in images)
    elif layout.axis is ChannelAxis.NONE:
        images = (each[..., 0] for each in images)
    return {"pixels": tuple(images)}


def _pixels(height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """Return an image of waves with noise, uint8 [height, width, 3]; *seed* determines it."""
    y, x, colour = np.ogrid[:height, :width, :3]
    waves = 0.5 + 0.35 * np.sin(x / (5 + seed % 7) + 2 * colour) * np.cos(y / 9 + seed + colour)
    noise = np.random.default_rng(seed).normal(0, 0.05, (height, width, 3))
    darkest, brightest = _LEVELS[seed]
    levels = darkest + (brightest - darkest) * np.clip(waves + noise, 0, 1)
    pixels: npt.NDArray[np.uint8] = levels.astype(np.uint8)
    return pixels


def _encoded(image: Image.Image, kind: str) -> bytes:
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()
