"""
Graphs that take one image at a time, as retraining tools wrote them.

Each is made of the operations that such files hold, in miniature: real layers of few channels.
The encoded image is `CONTENTS`, the pixels are `PIXELS`, the output is `SCORES`.
"""

from collections.abc import Callable
from functools import reduce
from types import ModuleType
from typing import Any

import numpy as np

from tests.integration.graphs import SCORES, Build

CONTENTS = "DecodeJpeg/contents"
PIXELS = "input"

#: Computes a tensor from another one, with the TensorFlow module that it is given.
Part = Callable[[ModuleType, Any], Any]


def chain(*parts: Part) -> Build:
    """Return a graph of *parts*, each of which takes the output of the part before."""

    def build(tf: ModuleType) -> None:
        tf.identity(reduce(lambda tensor, part: part(tf, tensor), parts, None), name=SCORES)

    return build


def weights(*shape: int) -> np.ndarray:
    """Return float32 weights that keep the size of the values about the same."""
    fan_in = float(np.prod(shape[:-1]))
    return np.random.default_rng(3).normal(0, fan_in**-0.5, shape).astype(np.float32)


# --- inputs


def contents(tf: ModuleType, _: None) -> Any:
    """Take an image file as a scalar string."""
    return tf.placeholder(tf.string, (), name=CONTENTS)


def constant_contents(tf: ModuleType, _: None) -> Any:
    """Take the image file in place of a constant, as the Inception file of 2015 does."""
    return tf.constant(b"\xff\xd8 no image", name=CONTENTS)


def decoded(tf: ModuleType, file: Any) -> Any:
    """Decode a JPEG as the retraining tutorial does, and add a batch axis of one."""
    image = tf.image.decode_jpeg(file, channels=3, name="DecodeJpeg")
    return tf.expand_dims(tf.cast(image, tf.float32, name="Cast"), 0, name="ExpandDims")


def png_decoded(tf: ModuleType, file: Any) -> Any:
    """Decode a PNG, and crop its middle by its own size."""
    image = tf.image.decode_png(file, channels=3)
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    side = tf.minimum(height, width)
    middle = tf.slice(image, [(height - side) // 2, (width - side) // 2, 0], [side, side, 3])
    return tf.cast(middle[None], tf.float32)


def any_decoded(tf: ModuleType, file: Any) -> Any:
    """Decode any format; TensorFlow then does not know the rank."""
    image = tf.io.decode_image(file, channels=3, expand_animations=False)
    return tf.expand_dims(tf.image.convert_image_dtype(image, tf.float32), 0) * 255.0


def resized(side: int = 79, method: str = "resize_bilinear") -> Part:
    """Resize to a square."""
    return lambda tf, images: getattr(tf.image, method)(images, [side, side])


def normalised(tf: ModuleType, images: Any) -> Any:
    """Scale pixels to -1..1."""
    return tf.multiply(tf.subtract(images, 128.0, name="Sub"), 1 / 128, name="Mul")


def pixels(rows: int | None = 1, dtype: str = "float32", side: int = 224) -> Part:
    """Take pixels, of one image or of any number."""
    return lambda tf, _: tf.cast(
        tf.placeholder(dtype, (rows, side, side, 3), name=PIXELS), tf.float32
    )


# --- layers


def convolved(channels: int, size: int = 3, stride: int = 4) -> Part:
    """Convolve, add a bias and cut off below 0."""

    def part(tf: ModuleType, rows: Any) -> Any:
        filters = tf.constant(weights(size, size, int(rows.shape[-1]), channels))
        rows = tf.nn.conv2d(rows, filters, strides=[1, stride, stride, 1], padding="SAME")
        return tf.nn.relu6(tf.nn.bias_add(rows, tf.constant(weights(channels) / 9)))

    return part


def depthwise(tf: ModuleType, rows: Any) -> Any:
    """Convolve each channel with filters of its own."""
    filters = tf.constant(weights(3, 3, int(rows.shape[-1]), 2))
    return tf.nn.depthwise_conv2d(rows, filters, strides=[1, 2, 2, 1], padding="SAME")


def pooled(side: int, name: str = "pool_3") -> Part:
    """Average over height and width."""
    sides = [1, side, side, 1]
    return lambda tf, rows: tf.nn.avg_pool(rows, sides, [1, 1, 1, 1], "VALID", name=name)


def reshaped(*sizes: int, name: str | None = None) -> Part:
    """Change the shape to a constant one."""
    return lambda tf, rows: tf.reshape(rows, sizes, name=name)


def squeezed(*axes: int) -> Part:
    """Drop *axes*, or without any all axes of 1."""
    return lambda tf, rows: tf.squeeze(rows, list(axes) or None)


def dense(labels: int, name: str = "final_training_ops") -> Part:
    """Multiply by weights and add a bias."""

    def part(tf: ModuleType, rows: Any) -> Any:
        with tf.name_scope(name):
            product = tf.matmul(rows, tf.constant(weights(int(rows.shape[-1]), labels)))
            return tf.nn.bias_add(product, tf.constant(weights(labels)))

    return part


def softmax(tf: ModuleType, rows: Any) -> Any:
    """Make scores that sum to 1."""
    return tf.nn.softmax(rows)


def part_of(function: str, *args: Any, **given: Any) -> Part:
    """Return the part that calls a *function* of TensorFlow on the rows."""

    def part(tf: ModuleType, rows: Any) -> Any:
        called: Any = reduce(getattr, function.split("."), tf)
        return called(rows, *args, **given)

    return part


def checked(tf: ModuleType, rows: Any) -> Any:
    """Check the numbers, and continue after a control edge."""
    with tf.control_dependencies([tf.check_numerics(rows, "not finite")]):
        return tf.identity(rows, name="control_dependency")


def bottleneck(tf: ModuleType, rows: Any) -> Any:
    """Make the output of the layers before feedable, as training does."""
    rows = tf.reshape(rows, [1, 2048], name="pool_3/_reshape")
    return tf.placeholder_with_default(rows, [None, 2048], name="input/BottleneckInputPlaceholder")


#: The layers of the retraining tutorial, from the resized image on.
RETRAINED = (
    normalised,
    checked,
    convolved(8),
    checked,
    convolved(16),
    convolved(2048, size=1, stride=1),
    pooled(5),
    bottleneck,
    dense(5),
    softmax,
)

#: The body of a network for telephones, from pixels to [1, 1, 1, 6].
MOBILE = (
    normalised,
    convolved(4),
    depthwise,
    convolved(16, size=1),
    pooled(7),
    convolved(6, size=1, stride=1),
)

#: As `MOBILE`, for images of 64 x 64 and much faster: from the resized image to [1, 4, 4, 8].
SMALL = (normalised, convolved(8), convolved(8))
