"""
Decide which inputs take pictures, and how a picture becomes one.

Where an input takes pixels, they travel as uint8, a quarter of the bytes; cast, colour order and
normalisation are put into the graph, so that Python never touches them.  Where it takes an encoded
picture, the model decodes for itself.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from model.model_toml import PictureFacts
from model.normalisation import ColourOrder, Normalisation
from model.picture import first_picture
from model.picture_input import PictureInput
from model.preprocess import Preprocessing, Resample, check_size, decode_image
from model.runner import ModelError
from model.signature import STRING, Signature, TensorSpec

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

UINT8 = np.dtype(np.uint8)

NEEDS_SIZE = (
    "pictures can be posted once --input-height and --input-width, or model.toml, say their size"
)

_PIXEL_TYPES = ("uint8", "float16", "bfloat16", "float32", "float64")


def takes_pixels(signature: Signature) -> bool:
    """Whether the only input is [rows, height, width, 3], of uint8 or floats."""
    if len(signature.inputs) != 1:
        return False
    (spec,) = signature.inputs
    shape = spec.shape
    return (
        spec.dtype.name in _PIXEL_TYPES
        and shape is not None
        and len(shape) == 4
        and shape[0] in (None, 1)
        and shape[3] in (None, 3)
    )


def takes_encoded(signature: Signature) -> bool:
    """Whether the only input is a string, or one a row: an encoded picture, for all we know."""
    if len(signature.inputs) != 1:
        return False
    (spec,) = signature.inputs
    return spec.dtype == STRING and spec.shape in ((), (None,), (1,))


def picture_size(spec: TensorSpec, facts: PictureFacts) -> tuple[int, int] | None:
    """
    Return height and width in pixels, of *spec* or *facts*; None where neither says both.

    Raises `ModelError` where they say different sizes.
    """
    _, height, width, _ = spec.shape or (None, None, None, None)
    for name, fixed, asked in (("height", height, facts.height), ("width", width, facts.width)):
        if None not in (fixed, asked) and fixed != asked:
            raise ModelError(
                f"the {name} of pictures is said to be {asked}, but input {spec.name!r} is {spec}"
            )
    height, width = height or facts.height, width or facts.width
    return None if height is None or width is None else (height, width)


def normalisation(facts: PictureFacts) -> Normalisation:
    """Return what *facts* say is to be done to the pixels, the defaults where they do not."""
    plain = Normalisation()
    return Normalisation(
        mean=facts.mean or plain.mean,
        scale=facts.scale or plain.scale,
        colour_order=facts.colour_order or plain.colour_order,
    )


def normalised(images: "tf.Tensor", dtype: np.dtype, numbers: Normalisation) -> "tf.Tensor":
    """
    Return what a model wants of *images*, uint8 [rows, height, width, 3], in its graph.

    *numbers* count for floats; a model that takes uint8 gets the pixels as they are, in its colour
    order.
    """
    import tensorflow.compat.v1 as tf

    pictures = images
    if numbers.colour_order is ColourOrder.BGR:
        pictures = tf.reverse(pictures, [3])
    if dtype == UINT8:
        return pictures
    floats = tf.cast(pictures, tf.float32)
    return tf.cast((floats - list(numbers.mean)) * list(numbers.scale), dtype)


def from_pixels(
    signature: Signature, facts: PictureFacts, max_pixels: int, *, floats: bool
) -> PictureInput:
    """Return the way of a picture into *signature*, which takes uint8 [rows, height, width, 3]."""
    _, height, width, _ = signature.inputs[0].shape or (0, 0, 0, 0)
    preprocessing = Preprocessing(
        height or 0,
        width or 0,
        facts.crop,
        facts.resample or Resample.BILINEAR,
        facts.scaled_jpeg_decode or False,
    )
    numbers = normalisation(facts)
    meaning = f"{height} x {width} {numbers.colour_order.upper()}, {preprocessing.resample}"
    if preprocessing.crop is not None:
        meaning += f", the middle {preprocessing.crop:.3g} of the shorter side"
    if floats:
        mean, scale = _said(numbers.mean), _said(numbers.scale)
        meaning += f", as (pixel - {mean}) * {scale}"
    return PictureInput(signature, partial(_decoded, preprocessing, max_pixels), meaning)


def _decoded(preprocessing: Preprocessing, max_pixels: int, data: bytes) -> np.ndarray:
    return decode_image(data, preprocessing, max_pixels=max_pixels)[np.newaxis]


def from_bytes(
    signature: Signature,
    max_pixels: int,
    decode: Callable[[bytes], np.ndarray] | None = None,
) -> PictureInput:
    """
    Return the way of an encoded picture into *signature*, as it is or through the model's *decode*.

    What is no picture, or has too many pixels, never gets there, nor more than one picture.
    """
    rank = len(signature.inputs[0].shape or ())

    def array_of(data: bytes) -> np.ndarray:
        data = first_picture(data, check_size(data, max_pixels).format)
        if decode is not None:
            return decode(data)
        # As an object first: numpy's own strings, which `full` makes, end before trailing zeros.
        return np.array(data, STRING).reshape((1,) * rank)

    encoded = signature if decode is None else None
    return PictureInput(signature, array_of, "decoded by the model itself", encoded=encoded)


def _said(numbers: tuple[float, float, float]) -> str:
    if len(set(numbers)) == 1:
        return f"{numbers[0]:g}"
    return f"({', '.join(f'{number:g}' for number in numbers)})"
