"""
Load a SavedModel for serving: choose the signature that pictures go into, and how they get there.
"""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from model.backends.tensorflow.operations import decodes_pictures, tell_of_risks
from model.backends.tensorflow.pictures import (
    NEEDS_SIZE,
    UINT8,
    from_bytes,
    from_pixels,
    normalisation,
    normalised,
    picture_size,
    takes_encoded,
    takes_pixels,
)
from model.backends.tensorflow.saved_model import (
    PixelInput,
    load_saved_model,
    read_meta_graph,
    signatures_of,
)
from model.backends.tensorflow.session import LoadedGraph, SessionOptions, session_config
from model.model_toml import ModelFacts
from model.normalisation import ColourOrder
from model.runner import ModelError
from model.signature import Signature

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


def load_saved_folder(
    folder: Path,
    facts: ModelFacts,
    options: SessionOptions,
    *,
    max_pixels: int,
    say: Callable[[str], object],
) -> LoadedGraph:
    """
    Put the SavedModel in *folder* into a Session; *say* is told what of it is not served.

    Raises `ModelError` for what cannot be loaded, and for a signature or an input that *facts* name
    and the model has not.
    """
    meta_graph = read_meta_graph(folder)
    signatures, unserved = signatures_of(meta_graph)
    for name, reason in unserved.items():
        say(f"signature {name} is not served: {reason}")
    tell_of_risks(meta_graph, served_outputs(meta_graph), say)
    chosen = default_signature(signatures, facts)
    size = picture_size(chosen.inputs[0], facts.preprocessing) if takes_pixels(chosen) else None
    pixels = _pixel_input(chosen, facts, size) if size is not None else None
    if size is None and takes_pixels(chosen):
        say(NEEDS_SIZE)
    restored = load_saved_model(folder, meta_graph, session_config(options), pixels)
    endpoints = sorted(
        restored.endpoints.values(), key=lambda each: each.signature.name != chosen.name
    )
    pictures = None
    if size is not None:
        signature = chosen
        if restored.pixels is not None:
            endpoints.append(restored.pixels)
            signature = restored.pixels.signature
        floats = chosen.inputs[0].dtype != UINT8
        pictures = from_pixels(signature, facts.preprocessing, max_pixels, floats=floats)
    elif takes_encoded(chosen) and decodes_pictures(meta_graph, _outputs(meta_graph, chosen.name)):
        pictures = from_bytes(endpoints[0].signature, max_pixels)
    decodes = decodes_pictures(meta_graph, served_outputs(meta_graph))
    return LoadedGraph(restored.session, endpoints, pictures, decodes)


def served_outputs(meta_graph: "tf.MetaGraphDef") -> list[str]:
    """Return the tensors that any signature gives."""
    return [name for each in meta_graph.signature_def for name in _outputs(meta_graph, each)]


def _outputs(meta_graph: "tf.MetaGraphDef", signature: str) -> list[str]:
    return [info.name for info in meta_graph.signature_def[signature].outputs.values()]


def default_signature(signatures: Sequence[Signature], facts: ModelFacts) -> Signature:
    """Return the signature of pictures, and of requests that name none; raises `ModelError`."""
    by_name = {signature.name: signature for signature in signatures}
    if facts.signature is None:
        chosen = signatures[0]
    elif facts.signature in by_name:
        chosen = by_name[facts.signature]
    else:
        near = get_close_matches(facts.signature, by_name, n=3, cutoff=0.4) or list(by_name)
        raise ModelError(f"no signature {facts.signature!r}; near it: {', '.join(near)}")
    for side, given, specs in (
        ("input", facts.input, chosen.inputs),
        ("output", facts.output, chosen.outputs),
    ):
        names = [spec.name for spec in specs]
        name = given and given.removesuffix(":0")
        if name and name not in names:
            raise ModelError(
                f"signature {chosen.name!r} has no {side} {name!r}; it has {', '.join(names)}"
            )
    return chosen


def _pixel_input(
    signature: Signature, facts: ModelFacts, size: tuple[int, int]
) -> PixelInput | None:
    """Return what lets a signature be fed with pixels; None where it is, as they are."""
    (spec,) = signature.inputs
    numbers = normalisation(facts.preprocessing)
    shape = ((spec.shape or (None,))[0], *size, 3)
    if (spec.dtype, spec.shape) == (UINT8, shape) and numbers.colour_order is ColourOrder.RGB:
        return None
    return PixelInput(
        signature=signature.name,
        input=spec.name,
        shape=shape,
        normalised=lambda images: normalised(images, spec.dtype, numbers),
    )
