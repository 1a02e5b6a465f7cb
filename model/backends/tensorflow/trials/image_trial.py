"""
Check by trial runs whether a model takes images, before it is served.

Runs the model a few times, on the thread that loads it.
"""

import re
from collections.abc import Callable

from batcher.errors import OutOfMemory
from model.backends.tensorflow.error_text import one_line
from model.backends.tensorflow.rewriting.flat_graph import flat_graph, tensor_named
from model.backends.tensorflow.session import LoadedGraph, SessionRunner
from model.errors import ModelError, RowsRefused
from model.images.errors import BadImage
from model.images.input import ImageInput
from model.images.probe_images import probe_images
from model.signature import STRING, Feed

#: TensorFlow's messages for Python functions that a model calls but its file does not hold.
_NO_PYTHON = re.compile(r"could not find callback|callback \S+ is not found", re.IGNORECASE)

#: Operations between a Sigmoid and an output that keep its values.
_KEEPS_VALUES = ("Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "StridedSlice")


def usable_image_input(
    graph: LoadedGraph, runner: SessionRunner, on_progress: Callable[[str], object]
) -> ImageInput | None:
    """
    Return the image input of *graph*; None if it has none or the model takes no images.

    A string input takes images only if the model runs on a trial image.  If the model does not,
    *on_progress* gets the reason.  Raises `ModelError` if the model fails on every image with an
    error that does not depend on the image.
    """
    images = graph.image_input
    if images is None:
        return None
    signature = images.signature
    if signature.max_rows is not None and not signature.batched:
        on_progress(
            f"images are not served: the batch has {signature.max_rows} rows, and {signature.alone}"
        )
        return None
    if signature.inputs[0].dtype != STRING:
        return images
    refusal = find_accepted_image(images, runner)
    if not isinstance(refusal, Exception):
        return images
    reason = one_line(refusal)
    if isinstance(refusal, _model_errors()) or _NO_PYTHON.search(reason):
        raise ModelError(f"the model fails on every image that was tried: {reason}")
    on_progress(
        f"input {signature.inputs[0].name!r} is a string, but not an encoded image: {reason}"
    )
    return None


def is_sigmoid_output(graph: LoadedGraph, images: ImageInput) -> bool:
    """
    Whether the scores are the output of a Sigmoid.

    A Sigmoid gives one score p for two classes: p for one, and 1 - p for the other.
    """
    by_name = {each.signature.name: each for each in graph.endpoints}
    output = by_name[images.signature.name].fetches[images.scores]
    flat = flat_graph(graph.session.graph.as_graph_def())
    name, _ = flat.source(tensor_named(output.name))
    while name in flat.nodes and flat.nodes[name].op in _KEEPS_VALUES:
        name, _ = flat.inputs(name)[0]
    return name in flat.nodes and flat.nodes[name].op == "Sigmoid"


def find_accepted_image(images: ImageInput, runner: SessionRunner) -> Feed | Exception | None:
    """
    Return a feed with an image that the model runs, in the first format that the model takes.

    If no image runs, return the error of the first run, or None if every image has too many pixels.
    """
    import tensorflow.compat.v1 as tf

    refusal: Exception | None = None
    for encoded in probe_images().values():
        try:
            feed = images.feed(encoded[0])
        except BadImage:
            continue
        try:
            runner.run(feed)
        except (tf.errors.OpError, RowsRefused, OutOfMemory) as error:
            refusal = refusal or error
        else:
            return feed
    return refusal


def _model_errors() -> tuple[type[Exception], ...]:
    """Return the types of the errors that do not depend on the string that is fed."""
    import tensorflow.compat.v1 as tf

    return (
        OutOfMemory,
        tf.errors.FailedPreconditionError,
        tf.errors.UnimplementedError,
        tf.errors.InternalError,
    )
