"""
Turn image files into an input of pixels: uint8, decoded and resized in Python.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from model.images.decode import decode_image
from model.images.facts import ImageFacts
from model.images.input import ImageInput
from model.images.layout import ChannelAxis, ImageLayout
from model.images.normalisation import ColourOrder, Normalisation
from model.images.preprocessing import Preprocessing, Resample
from model.signature import Signature


def pixel_image_input(
    signature: Signature,
    facts: ImageFacts,
    max_pixels: int,
    layout: ImageLayout,
    numbers: Normalisation | None,
    read_jpeg: Callable[[bytes], npt.NDArray[np.uint8]] | None = None,
) -> ImageInput:
    """
    Return the image input for *signature*, which takes uint8 [rows, height, width, channels].

    *numbers* state how the model normalises the pixels; None if it takes them unchanged.  JPEG
    files are decoded by *read_jpeg*, or by Pillow if that is None.
    """
    preprocessing = Preprocessing(
        layout.height or 0,
        layout.width or 0,
        facts.crop,
        facts.resample or Resample.BILINEAR,
        facts.scaled_jpeg_decode or False,
        layout.channels,
    )
    order = facts.colour_order or ColourOrder.RGB
    colours = "grey" if layout.channels == 1 else order.upper()
    meaning = f"{layout.height} x {layout.width} {colours}, {preprocessing.resample}"
    if preprocessing.resample is Resample.TF_BILINEAR:
        meaning += " as label_image, not turned by EXIF"
    if preprocessing.crop is not None:
        meaning += f", the middle {preprocessing.crop:.3g} of the shorter side"
    if layout.axis is not ChannelAxis.LAST:
        meaning += f", {layout.axis.value}"
    if layout.padded:
        meaning += f", batches of {layout.rows} that are filled with zeros"
    if numbers is not None:
        meaning += (
            f", as (pixel - {_format_numbers(numbers.mean)}) * {_format_numbers(numbers.scale)}"
        )
    decode = partial(
        decode_image, preprocessing=preprocessing, max_pixels=max_pixels, read_jpeg=read_jpeg
    )
    return ImageInput(signature, lambda data: decode(data)[np.newaxis], meaning)


def _format_numbers(numbers: tuple[float, float, float]) -> str:
    if len(set(numbers)) == 1:
        return f"{numbers[0]:g}"
    return f"({', '.join(f'{number:g}' for number in numbers)})"
