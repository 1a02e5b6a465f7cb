"""
Load a SavedModel: choose the signature for images, and how images are converted to its input.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from model.backend import LoadOptions
from model.backends.tensorflow.files.checkpoint import variable_reader
from model.backends.tensorflow.files.literal_path import literal_path
from model.backends.tensorflow.files.saved_model import (
    PixelInput,
    SavedGraph,
    apply_feeds,
    load_saved_model,
    read_meta_graph,
    signatures_of,
)
from model.backends.tensorflow.image_operations import (
    convert_images,
    with_image_input,
)
from model.backends.tensorflow.operations import decodes_images, report_risks
from model.backends.tensorflow.rewriting.flat_graph import flat_graph, tensor_named
from model.backends.tensorflow.rewriting.input_scaling import input_scaling
from model.backends.tensorflow.session import LoadedGraph, SessionOptions, session_config
from model.images.encoded_input import encoded_image_input, takes_encoded_image
from model.images.layout import NEEDS_SIZE, UINT8, ImageLayout, image_layout
from model.images.normalisation import ColourOrder, Normalisation
from model.images.pixel_values import choose_normalisation
from model.images.value_range import Affine, Unreadable
from model.repository.default_signature import default_signature
from model.signature import Signature

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


def load_saved_folder(folder: Path, options: LoadOptions) -> LoadedGraph:
    """
    Load the SavedModel in *folder* into a Session.

    Reports each signature that is not served, and risky operations, to `options.on_progress`.
    Raises `ModelError` if the model cannot be loaded, or lacks a signature, input or output that
    `options.facts` name.
    """
    facts = options.facts
    saved = apply_feeds(read_meta_graph(folder), facts.feeds)
    meta_graph = saved.meta_graph
    signatures, unserved = signatures_of(meta_graph)
    for name, reason in unserved.items():
        options.on_progress(f"signature {name} is not served: {reason}")
    has_side_effects = report_risks(meta_graph, served_outputs(meta_graph), options.on_progress)
    chosen = default_signature(signatures, facts)
    layout = image_layout(chosen, facts.preprocessing, labelled=bool(options.labels))
    if layout is not None and not layout.sized:
        options.on_progress(NEEDS_SIZE)
    sized = layout if layout is not None and layout.sized else None
    numbers = None if sized is None else _normalisation(folder, saved, chosen, sized, options)
    pixels = None
    if sized is not None and numbers is not None:
        pixels = _pixel_input(chosen, sized, numbers)
    restored = load_saved_model(folder, saved, session_config(SessionOptions.of(options)), pixels)
    endpoints = sorted(
        restored.endpoints.values(), key=lambda each: each.signature.name != chosen.name
    )
    decodes = decodes_images(meta_graph, served_outputs(meta_graph))
    loaded = LoadedGraph(
        restored.session, endpoints, decodes=decodes, has_side_effects=has_side_effects
    )
    if sized is not None:
        signature = chosen
        if restored.pixels is not None:
            endpoints.append(restored.pixels)
            signature = restored.pixels.signature
        stated_numbers = None if chosen.inputs[0].dtype == UINT8 else numbers
        return with_image_input(
            loaded, signature, facts.preprocessing, options.max_pixels, sized, stated_numbers
        )
    if takes_encoded_image(chosen) and decodes_images(
        meta_graph, _output_names(meta_graph, chosen.name)
    ):
        image_input = encoded_image_input(endpoints[0].signature, options.max_pixels)
        return replace(loaded, image_input=image_input)
    return loaded


def _normalisation(
    folder: Path,
    saved: SavedGraph,
    signature: Signature,
    layout: ImageLayout,
    options: LoadOptions,
) -> Normalisation:
    """Return how pixels are normalised for the only input of *signature*."""
    (spec,) = signature.inputs
    definition = saved.meta_graph.signature_def[signature.name]

    def scaling() -> Affine | Unreadable:
        flat = flat_graph(saved.meta_graph.graph_def)
        start = tensor_named(definition.inputs[spec.name].name)
        ends = [tensor_named(info.name) for info in definition.outputs.values()]
        plain = literal_path(folder, scaling)  # until the last variable has been read
        return input_scaling(flat, start, ends, variable_reader(plain, flat))

    facts = options.facts.preprocessing
    return choose_normalisation(facts, layout, spec.dtype, scaling, options.on_progress)


def served_outputs(meta_graph: "tf.MetaGraphDef") -> list[str]:
    """Return the names of the output tensors of all signatures."""
    return [name for each in meta_graph.signature_def for name in _output_names(meta_graph, each)]


def _output_names(meta_graph: "tf.MetaGraphDef", signature: str) -> list[str]:
    return [info.name for info in meta_graph.signature_def[signature].outputs.values()]


def _pixel_input(
    signature: Signature, layout: ImageLayout, numbers: Normalisation
) -> PixelInput | None:
    """Return how pixels become the input of *signature*; None if it takes them unchanged."""
    (spec,) = signature.inputs
    plain = (spec.dtype, spec.shape) == (UINT8, layout.pixels)
    if plain and (numbers.colour_order is ColourOrder.RGB or layout.channels == 1):
        return None
    return PixelInput(
        signature=signature.name,
        input=spec.name,
        layout=layout,
        convert=lambda images: convert_images(images, spec.dtype, layout, numbers),
    )
