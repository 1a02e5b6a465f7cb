"""
Report what a model file holds and how it would be served, without a server.

A model is loaded and runs one row.  A model with risky operations is only read, never run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from model.backend import Device, LoadOptions
from model.backends.tensorflow.files.graph_file import read_frozen_graph
from model.backends.tensorflow.files.keras_file import exported_saved_model
from model.backends.tensorflow.files.saved_model import apply_feeds, read_meta_graph, signatures_of
from model.backends.tensorflow.loading import load_files
from model.backends.tensorflow.operations import report_risks
from model.backends.tensorflow.saved_loading import served_outputs
from model.images.input import ImageInput
from model.repository.default_signature import default_signature
from model.repository.model_kind import ModelFiles, ModelKind
from model.repository.model_toml import ModelFacts
from model.signature import Feed, Signature, reason_to_run_alone


@dataclass(frozen=True, slots=True)
class Inspection:
    """The facts about a model file."""

    signatures: tuple[Signature, ...]
    default: str  #: the signature of requests that name none
    image_input: ImageInput | None
    notes: tuple[str, ...]  #: lines that a server would log while it loads the model
    #: By signature name: a row that it runs; absent if none was found.  None if nothing was run.
    samples: Mapping[str, Feed] | None

    @property
    def loaded(self) -> bool:
        """Whether the model was loaded and run, not only read."""
        return self.samples is not None


def inspect_files(
    files: ModelFiles, facts: ModelFacts, *, labels: tuple[str, ...], max_pixels: int
) -> Inspection:
    """
    Inspect *files* on the CPU, as a server with these settings would serve them.

    *facts* are the settings, *labels* those of the model, and *max_pixels* is the largest number of
    pixels of an image.

    Raises `ModelError`, with a message of one line, for a model that a server would refuse to
    serve.
    """
    if files.kind == ModelKind.KERAS:
        with exported_saved_model(files.path) as folder:
            saved = replace(files, kind=ModelKind.SAVED_MODEL, path=folder)
            return inspect_files(saved, facts, labels=labels, max_pixels=max_pixels)
    notes: list[str] = []
    signatures, default = _read(files, facts, notes)
    if notes:
        notes.append("the model was read, but neither loaded nor run")
        return Inspection(signatures, default, None, tuple(notes), samples=None)
    options = LoadOptions(
        facts=facts,
        device=Device("cpu", "CPU"),
        lanes=1,
        max_pixels=max_pixels,
        on_progress=notes.append,
        name="inspected",
        version="1",
        top=1,
        labels=labels,
    )
    loaded = load_files(files, options)
    loaded.runner.close()
    return Inspection(
        tuple(loaded.signatures),
        loaded.signatures[0].name,
        loaded.image_input,
        tuple(notes),
        loaded.samples,
    )


def _read(
    files: ModelFiles, facts: ModelFacts, notes: list[str]
) -> tuple[tuple[Signature, ...], str]:
    """Return the file's signatures and the name of the default one; append the risks to *notes*."""
    if files.kind == ModelKind.FROZEN_GRAPH:
        frozen = read_frozen_graph(files.path, facts)
        report_risks(frozen.graph_def, [frozen.output], notes.append)
        specs = ((frozen.spec,), (frozen.output_spec,))
        signature = Signature(*specs, alone=reason_to_run_alone(*specs))
        return (signature,), signature.name
    meta_graph = apply_feeds(read_meta_graph(files.path), facts.feeds).meta_graph
    report_risks(meta_graph, served_outputs(meta_graph), notes.append)
    signatures, _ = signatures_of(meta_graph)
    return signatures, default_signature(signatures, facts).name
