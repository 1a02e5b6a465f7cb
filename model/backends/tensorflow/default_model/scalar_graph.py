"""
Convert the default model to a graph as retraining tutorials make it: from one JPEG file to scores.

The graph decodes, crops and resizes, and its batch is one image.  `one_at_a_time` runs it without
changes, one image a run, for comparison with the batches of `load_frozen_graph`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from model.backends.tensorflow.default_model.source import DEFAULT_MODEL, DefaultModel
from model.backends.tensorflow.session import SessionOptions, session_config

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

CONTENTS = "DecodeJpeg/contents:0"  #: a scalar string, the JPEG file
FINAL_RESULT = DEFAULT_MODEL.output_layer  #: float32 [1, classes]


def scalar_graph(graph: bytes, model: DefaultModel = DEFAULT_MODEL) -> bytes:
    """
    Return *graph*, the serialised GraphDef of *model*, with a JPEG decoder in front of it.

    Its input is `CONTENTS`; its output keeps its name.  Takes seconds, most of them the import of
    TensorFlow; may run in any thread.
    """
    import tensorflow.compat.v1 as tf

    network = tf.GraphDef.FromString(graph)
    pixels = model.input_layer.partition(":")[0]
    front = tf.Graph()
    with front.as_default():
        contents = tf.placeholder(tf.string, (), name=CONTENTS.partition(":")[0])
        _image(contents, model, pixels)
    joined = tf.GraphDef(versions=network.versions)
    joined.node.extend(front.as_graph_def().node)
    # The decoded image has the name of the placeholder, and so replaces it.
    joined.node.extend(node for node in network.node if node.name != pixels)
    data: bytes = joined.SerializeToString(deterministic=True)
    return data


@contextmanager
def one_at_a_time(graph: bytes, options: SessionOptions) -> Iterator[Callable[[bytes], np.ndarray]]:
    """
    Provide a function that runs the scalar *graph* on a JPEG file; it returns float32 [1, classes].

    Any number of threads may call it at the same time.  Its Session is closed after the block.
    """
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as whole:
        tf.import_graph_def(tf.GraphDef.FromString(graph), name="")
    with tf.Session(graph=whole, config=session_config(options)) as session:
        yield lambda data: session.run(FINAL_RESULT, {CONTENTS: data})


def _image(contents: "tf.Tensor", model: DefaultModel, name: str) -> "tf.Tensor":
    """Return the middle of the image, uint8 [1, image_size, image_size, 3], named *name*."""
    import tensorflow.compat.v1 as tf

    image = tf.image.decode_jpeg(contents, channels=3, name="DecodeJpeg")
    sides = tf.shape(image)[:2]
    shorter = tf.cast(tf.reduce_min(sides), tf.float32)
    side = tf.cast(tf.round(shorter * model.crop_fraction), tf.int32)
    corner = (sides - side) // 2
    middle = tf.slice(image, tf.concat([corner, [0]], 0), tf.stack([side, side, 3]))
    rows = tf.expand_dims(tf.cast(middle, tf.float32), 0, name="ExpandDims")
    resized = tf.raw_ops.ResizeBicubic(
        images=rows, size=[model.image_size] * 2, half_pixel_centers=True
    )
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8, name=name)
