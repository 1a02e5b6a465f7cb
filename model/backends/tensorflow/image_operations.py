"""
Add the operations that convert images to the input of a model to its graph.

An input of pixels is fed with uint8, a quarter of the bytes of float32; cast, colour order and
normalisation are operations of the graph, so that Python does not compute them.
"""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from model.backends.tensorflow.jpeg import jpeg_reader
from model.backends.tensorflow.session import LoadedGraph
from model.images.facts import ImageFacts
from model.images.layout import UINT8, ChannelAxis, ImageLayout
from model.images.normalisation import ColourOrder, Normalisation
from model.images.pixel_input import pixel_image_input
from model.images.preprocessing import Resample
from model.signature import Signature, TensorSpec

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


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
