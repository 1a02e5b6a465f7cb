"""
Decide which inputs take images, and how an image is converted to an input.

An input of pixels is fed with uint8, a quarter of the bytes of float32; cast, colour order and
normalisation are operations of the graph, so that Python does not compute them.  An input that
takes an encoded image gets the file, and the model decodes it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from model.backends.tensorflow.jpeg import ReadJpeg, jpeg_reader
from model.backends.tensorflow.session import LoadedGraph
from model.errors import ModelError
from model.images.decode import decode_image
from model.images.facts import ImageFacts
from model.images.header import check_size, first_image
from model.images.input import ImageInput
from model.images.layout import ChannelAxis, ImageLayout
from model.images.normalisation import ColourOrder, Normalisation
from model.images.preprocessing import Preprocessing, Resample
from model.images.value_range import Affine, Unreadable, choose_range, range_warning
from model.signature import STRING, Signature, TensorSpec

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

UINT8 = np.dtype(np.uint8)

NEEDS_SIZE = "to post images, set --input-height and --input-width, or give the size in model.toml"


def takes_encoded_image(signature: Signature) -> bool:
    """Whether *signature* has one input, with one string per row, which may be an encoded image."""
    if len(signature.inputs) != 1:
        return False
    (spec,) = signature.inputs
    return spec.dtype == STRING and spec.shape in ((), (None,), (1,), (None, 1))


def normalisation(
    facts: ImageFacts,
    layout: ImageLayout,
    dtype: np.dtype,
    scaling: Callable[[], Affine | Unreadable],
    on_progress: Callable[[str], object],
) -> Normalisation:
    """
    Return how pixels are normalised.

    *scaling* returns how the model itself scales its input.  If *facts* state neither mean nor
    scale, both are chosen to suit the model, and *on_progress* gets a line with the scaling and the
    range of the values that the model gets.  If they state at least one, the other keeps the
    default of `Normalisation`, and *on_progress* gets a warning only if the numbers do not suit the
    model.  *dtype* is that of the input: for uint8, mean and scale are ignored, the colour order
    still applies, and *on_progress* is not called.  Raises `ModelError` if mean or scale differ by
    channel for grey images.
    """
    order = facts.colour_order or ColourOrder.RGB
    plain = Normalisation(colour_order=order)
    if dtype == UINT8:
        return plain
    if facts.mean is None and facts.scale is None:
        values, line = choose_range(scaling())
        on_progress(line)
        return replace(values.normalisation, colour_order=order)
    numbers = replace(plain, mean=facts.mean or plain.mean, scale=facts.scale or plain.scale)
    if layout.channels == 1 and max(len(set(numbers.mean)), len(set(numbers.scale))) > 1:
        raise ModelError("mean and scale differ by channel, but the model's images have only one")
    warning = range_warning(numbers, scaling())
    if warning:
        on_progress(warning)
    return numbers


def convert_images(
    images: "tf.Tensor", dtype: np.dtype, layout: ImageLayout, numbers: Normalisation
) -> "tf.Tensor":
    """
    Add operations that convert *images* to the model's input; return the input.

    *images* is uint8 [rows, height, width, channels]; *dtype* and *layout* are those of the input.
    Mean and scale of *numbers* do not apply to an input of uint8; the colour order applies to any
    dtype.  A batch of a fixed size is filled up with rows of zeros.
    """
    import tensorflow.compat.v1 as tf

    values = images
    if layout.channels == 3 and numbers.colour_order is ColourOrder.BGR:
        values = tf.reverse(values, [3])
    if dtype != UINT8:
        mean = list(numbers.mean)[: layout.channels]
        scale = list(numbers.scale)[: layout.channels]
        values = tf.cast((tf.cast(values, tf.float32) - mean) * scale, dtype)
    if layout.axis is ChannelAxis.FIRST:
        values = tf.transpose(values, [0, 3, 1, 2])
    elif layout.axis is ChannelAxis.NONE:
        values = tf.squeeze(values, 3)
    if not layout.batched:
        return tf.squeeze(values, 0)
    if layout.padded:
        missing = layout.rows - tf.shape(values)[0]
        values = tf.pad(values, [[0, missing], *[[0, 0]] * (values.shape.rank - 1)])
        values = tf.ensure_shape(values, layout.shape)
    return values


def without_padding(
    output: "tf.Tensor", spec: TensorSpec, images: "tf.Tensor", layout: ImageLayout
) -> tuple[TensorSpec, "tf.Tensor"]:
    """Return *spec* and *output* without the rows of padding: with as many rows as *images*."""
    import tensorflow.compat.v1 as tf

    if not layout.padded or not spec.shape or spec.shape[0] != layout.rows:
        return spec, output
    return replace(spec, shape=(None, *spec.row_shape)), output[: tf.shape(images)[0]]


def with_image_input(
    graph: LoadedGraph,
    signature: Signature,
    facts: ImageFacts,
    max_pixels: int,
    layout: ImageLayout,
    numbers: Normalisation | None,
) -> LoadedGraph:
    """
    Return *graph* with an image input for *signature*.

    The other arguments are those of `pixel_image_input`.
    """
    images = partial(pixel_image_input, signature, facts, max_pixels, layout, numbers)
    if facts.resample is not Resample.TF_BILINEAR or layout.channels != 3:
        return replace(graph, image_input=images())
    session, read_jpeg = jpeg_reader()
    return replace(graph, image_input=images(read_jpeg), decoder=session)


def pixel_image_input(
    signature: Signature,
    facts: ImageFacts,
    max_pixels: int,
    layout: ImageLayout,
    numbers: Normalisation | None,
    read_jpeg: ReadJpeg | None = None,
) -> ImageInput:
    """
    Return the image input for *signature*, which takes uint8 [rows, height, width, channels].

    *numbers* state how the graph normalises the pixels; None if it takes them unchanged.  JPEG
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


def encoded_image_input(
    signature: Signature,
    max_pixels: int,
    decode: Callable[[bytes], np.ndarray] | None = None,
) -> ImageInput:
    """
    Return the image input for *signature*, which takes encoded images.

    If *decode* is given, *signature* takes instead the arrays that it returns for encoded images.
    The image input raises `BadImage` for data that is no image, or has more than *max_pixels*
    pixels.  Of an animation only the first image is kept.
    """
    rank = len(signature.inputs[0].shape or ())

    def array_of(data: bytes) -> np.ndarray:
        data = first_image(data, check_size(data, max_pixels).format)
        if decode is not None:
            return decode(data)
        # An object array first: numpy's own strings lose trailing zero bytes.
        return np.array(data, STRING).reshape((1,) * rank)

    encoded = signature if decode is None else None
    return ImageInput(signature, array_of, "decoded by the model itself", encoded=encoded)


def _format_numbers(numbers: tuple[float, float, float]) -> str:
    if len(set(numbers)) == 1:
        return f"{numbers[0]:g}"
    return f"({', '.join(f'{number:g}' for number in numbers)})"
