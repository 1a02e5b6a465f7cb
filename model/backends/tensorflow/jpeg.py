"""
Decode JPEG files as label_image does, with TensorFlow's operation.

The inverse transform of this operation is faster and less exact than Pillow's: the value of a
pixel, 0 to 255, may differ by a few.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model.backends.tensorflow.error_text import one_line
from model.images.errors import BadImage

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

ReadJpeg = Callable[[bytes], npt.NDArray[np.uint8]]


def jpeg_reader() -> tuple["tf.Session", ReadJpeg]:
    """
    Return a Session, and a function that decodes a JPEG file to uint8 [height, width, 3].

    The function uses the Session, may be called by several threads at the same time, and raises
    `BadImage`.
    """
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        contents = tf.placeholder(tf.string, ())
        image = tf.image.decode_jpeg(contents, channels=3)
    session = tf.Session(graph=graph, config=decoding_config())
    run = session.make_callable(image, [contents])

    def read(data: bytes) -> npt.NDArray[np.uint8]:
        return decoded(run, data)

    return session, read


def decoding_config() -> "tf.ConfigProto":
    """Return the settings of a Session that runs operations on the thread that calls it."""
    import tensorflow.compat.v1 as tf

    return tf.ConfigProto(device_count={"GPU": 0}, inter_op_parallelism_threads=-1)


def decoded(run: Callable[[np.ndarray], np.ndarray], data: bytes) -> np.ndarray:
    """Return what *run*, a Session's callable, returns for the file *data*; raises `BadImage`."""
    import tensorflow.compat.v1 as tf

    try:
        # An object array: numpy's own strings lose trailing zero bytes.
        return run(np.array(data, object))
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise BadImage(f"the model cannot decode the image: {one_line(error)}") from None
