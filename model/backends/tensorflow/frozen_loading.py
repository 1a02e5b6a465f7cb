"""
Load a frozen GraphDef into a Session; it takes batches if the rows of a batch are independent.

A graph that takes one encoded image is cut behind its decoding.  A graph that takes pixels gets
operations in front of it that cast and normalise uint8 images.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from model.backend import LoadOptions
from model.backends.tensorflow.batched_graph import (
    BatchedGraph,
    NotBatchable,
    make_batched,
)
from model.backends.tensorflow.files.graph_file import SIGNATURE, FrozenGraph, spec_of
from model.backends.tensorflow.image_operations import (
    convert_images,
    with_image_input,
    without_padding,
)
from model.backends.tensorflow.jpeg import decoded, decoding_config
from model.backends.tensorflow.operations import decodes_images, report_risks
from model.backends.tensorflow.rewriting.flat_graph import flat_graph, tensor_named
from model.backends.tensorflow.rewriting.input_scaling import input_scaling
from model.backends.tensorflow.session import (
    Endpoint,
    LoadedGraph,
    SessionOptions,
    session_config,
)
from model.images.encoded_input import encoded_image_input, takes_encoded_image
from model.images.layout import NEEDS_SIZE, UINT8, ImageLayout, image_layout
from model.images.normalisation import Normalisation
from model.images.pixel_values import choose_normalisation
from model.images.probe_images import probe_images, probe_pixels
from model.images.value_range import Affine, Unreadable
from model.signature import STRING, Signature, TensorSpec, reason_to_run_alone

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

#: Imports the served part of a graph, with the given tensor as its input; returns the output.
Connect = Callable[["tf.Tensor"], "tf.Tensor"]


def load_frozen_graph(frozen: FrozenGraph, options: LoadOptions) -> LoadedGraph:
    """
    Load *frozen* into a Session; change the graph so that it takes batches, if that is possible.

    Reports risky operations and changes of the graph to `options.on_progress`.  Raises `ModelError`
    if TensorFlow cannot build the graph, and if the image size in `options.facts` does not fit the
    graph's input.
    """
    has_side_effects = report_risks(frozen.graph_def, [frozen.output], options.on_progress)
    loaded = _load_graph(frozen, options)
    return replace(loaded, has_side_effects=has_side_effects)


def _load_graph(frozen: FrozenGraph, options: LoadOptions) -> LoadedGraph:
    decodes = decodes_images(frozen.graph_def, [frozen.output])
    if decodes and frozen.scalar_string:
        return _load_scalar(frozen, options)
    signature = Signature((frozen.spec,), (frozen.output_spec,))
    images = options.facts.preprocessing
    layout = image_layout(signature, images, labelled=bool(options.labels))
    if layout is None:
        loaded = _build_session(options, frozen, frozen.spec)
        signature = loaded.endpoints[0].signature
        if not (decodes and takes_encoded_image(signature)):
            return replace(loaded, decodes=decodes)
        image_input = encoded_image_input(signature, options.max_pixels)
        return replace(loaded, image_input=image_input, decodes=True)
    return _load_pixels(frozen, layout, options)


def _load_scalar(frozen: FrozenGraph, options: LoadOptions) -> LoadedGraph:
    """Load a graph that takes one encoded image; if possible, cut it in two for batches."""
    batched = make_batched(frozen.graph_def, frozen.input, frozen.output, probe_images())
    if isinstance(batched, NotBatchable):
        spec = replace(frozen.spec, shape=())
        loaded = _build_session(options, frozen, spec, alone=batched.reason)
        images = encoded_image_input(loaded.endpoints[0].signature, options.max_pixels)
        return replace(loaded, image_input=images, decodes=True)
    options.on_progress(
        f"the graph is cut at {batched.cut}, {list(batched.row)}: decoding runs for each image, "
        "the rest in batches; largest difference from running one row at a time: "
        f"{batched.difference:.1e}"
    )
    spec = TensorSpec(batched.cut.partition(":")[0], batched.dtype, (None, *batched.row))
    loaded = _build_session(
        options, frozen, spec, connect=batched.connect, names=(f"{SIGNATURE}:rows",)
    )
    decoder, decode = _decoder(batched)
    signature = loaded.endpoints[0].signature
    files = TensorSpec(frozen.spec.name, STRING, (None,))
    image_input = replace(
        encoded_image_input(signature, options.max_pixels, decode),
        encoded=Signature((files,), signature.outputs, SIGNATURE),
    )
    return replace(loaded, decoder=decoder, image_input=image_input)


def _decoder(batched: BatchedGraph) -> tuple["tf.Session", Callable[[bytes], np.ndarray]]:
    """
    Return a Session with the prefix of *batched*, and a function that runs the prefix.

    The function turns an image file into one row, and may be called on any thread.
    """
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        contents = tf.placeholder(tf.string, ())
        (row,) = tf.import_graph_def(
            batched.prefix,
            input_map={batched.input: contents},
            return_elements=[batched.cut],
            name="",
        )
    session = tf.Session(graph=graph, config=decoding_config())
    return session, partial(decoded, session.make_callable(row, [contents]))


def _load_pixels(frozen: FrozenGraph, layout: ImageLayout, options: LoadOptions) -> LoadedGraph:
    """Load a graph that takes pixels; if it is fixed to one row, change it to take batches."""
    spec = frozen.spec
    if spec.shape is None:
        spec = replace(spec, shape=(None, None, None, layout.channels))
    if not layout.sized:
        options.on_progress(NEEDS_SIZE)
    numbers = _normalisation(frozen, layout, options) if layout.sized else None
    images = None if numbers is None else _ImageConversion(layout, numbers)
    loaded = _load_batched(frozen, spec, layout, options, images)
    if numbers is None:
        return loaded
    signature = loaded.endpoints[-1].signature
    stated_numbers = None if spec.dtype == UINT8 else numbers
    return with_image_input(
        loaded,
        signature,
        options.facts.preprocessing,
        options.max_pixels,
        layout,
        stated_numbers,
    )


def _normalisation(frozen: FrozenGraph, layout: ImageLayout, options: LoadOptions) -> Normalisation:
    def scaling() -> Affine | Unreadable:
        start, end = tensor_named(frozen.input), tensor_named(frozen.output)
        return input_scaling(flat_graph(frozen.graph_def), start, [end], lambda _: None)

    facts, dtype = options.facts.preprocessing, frozen.spec.dtype
    return choose_normalisation(facts, layout, dtype, scaling, options.on_progress)


@dataclass(frozen=True, slots=True)
class _ImageConversion:
    """How uint8 images are converted to the input."""

    layout: ImageLayout
    numbers: Normalisation


def _load_batched(
    frozen: FrozenGraph,
    spec: TensorSpec,
    layout: ImageLayout,
    options: LoadOptions,
    images: _ImageConversion | None,
) -> LoadedGraph:
    """
    Load *frozen* with an input as *spec* describes it; change the graph if it is fixed to one row.

    If the changed graph mixes rows, or the change fails, the loaded graph takes one row at a time.
    With *images*, a second input takes uint8 images.
    """
    build_session = partial(_build_session, options, frozen, images=images)
    if layout.padded or not layout.batched:
        return build_session(spec)
    if layout.rows is None:
        loaded = build_session(spec)
        if _takes_two_rows(loaded):
            return loaded
        loaded.close()
    probes = probe_pixels(layout, spec.dtype)
    batched = make_batched(frozen.graph_def, frozen.input, frozen.output, probes)
    if isinstance(batched, NotBatchable):
        one = replace(spec, shape=(1, *(spec.shape or ())[1:]))
        return build_session(one, alone=batched.reason)
    options.on_progress(
        "the graph now takes more than one row; largest difference from running one row at a time: "
        f"{batched.difference:.1e}"
    )
    return build_session(replace(spec, shape=(None, *batched.row)), connect=batched.connect)


def _takes_two_rows(loaded: LoadedGraph) -> bool:
    """
    Run two rows of zeros; return whether the output has two rows.

    A graph whose input takes any number of rows may have a later node that is fixed to one row.
    """
    import tensorflow.compat.v1 as tf

    endpoint = loaded.endpoints[-1]
    (spec,) = endpoint.signature.inputs
    pixels = np.zeros((2, *(size or 64 for size in spec.row_shape)), spec.dtype)
    try:
        (output,) = loaded.session.run(list(endpoint.fetches), {endpoint.feeds[0]: pixels})
    except tf.errors.OpError:
        return False
    return bool(np.shape(output)[:1] == (2,))


def _build_session(
    options: LoadOptions,
    frozen: FrozenGraph,
    spec: TensorSpec,
    *,
    connect: Connect | None = None,
    images: _ImageConversion | None = None,
    alone: str = "",
    names: tuple[str, ...] = (SIGNATURE, f"{SIGNATURE}:pixels"),
) -> LoadedGraph:
    """
    Return a Session in which the graph has an input as *spec* describes it.

    The graph is the one that *connect* imports; without *connect*, it is *frozen*.  With *images*,
    a second endpoint takes uint8 [rows, height, width, channels]; there is only one endpoint if the
    input itself takes such images unchanged.  *alone* is the reason why a batch cannot have more
    than one row; empty if it can.  *names* are the names of the endpoints.
    """
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        fed = _build_inputs(spec, images)
        output = (connect or frozen.connect)(fed[0])
    gives = replace(spec_of(output), name=frozen.output_spec.name)
    endpoints = []
    for name, tensor in zip(names, fed, strict=False):
        probe_format, given, fetched = (replace(spec_of(tensor), name=spec.name),), gives, output
        rows = None
        if tensor is not fed[0] and images is not None:
            with graph.as_default():
                given, fetched = without_padding(output, gives, tensor, images.layout)
            rows = images.layout.rows if images.layout.padded else None
        reason = alone or reason_to_run_alone(probe_format, (given,))
        signature = Signature(probe_format, (given,), name, reason, rows)
        endpoints.append(Endpoint(signature, (tensor,), (fetched,)))
    config = session_config(SessionOptions.of(options))
    return LoadedGraph(tf.Session(graph=graph, config=config), endpoints)


def _build_inputs(spec: TensorSpec, images: _ImageConversion | None) -> list["tf.Tensor"]:
    """
    Add an input as *spec* describes it to the default graph, and with *images* one for uint8
    images.

    Returns the inputs.  With *images*, the first input is computed from the second, unless the
    first is fed; there is only one input if images need no conversion.
    """
    import tensorflow.compat.v1 as tf

    if images is None:
        return [tf.placeholder(tf.as_dtype(spec.dtype), spec.shape, name="tensorferry_input")]
    layout = images.layout
    shape = layout.pixels
    if layout.batched and not layout.padded:  # a changed graph takes more rows than the file states
        shape = ((spec.shape or (None,))[0], *shape[1:])
    placed = tf.placeholder(tf.uint8, shape, name="tensorferry_images")
    values = convert_images(placed, spec.dtype, layout, images.numbers)
    if values is placed:
        return [placed]
    return [tf.placeholder_with_default(values, spec.shape), placed]
