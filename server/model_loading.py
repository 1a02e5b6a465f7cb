"""
Turn the settings into a loaded model.

`load_model` blocks for seconds and runs on a thread of its own, which also imports the engine.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from model.backend import Backend, LoadedModel, LoadOptions, OnProgress
from model.backends.available import BACKENDS
from model.backends.null import LENGTHS, NullRunner
from model.errors import ModelError
from model.execution.cores import usable_cores
from model.images.facts import ImageFacts
from model.images.preprocessing import Resample
from model.repository.labels import LABELS_FILE, read_labels
from model.repository.model_kind import ModelFiles, ModelKind
from model.repository.model_toml import ModelFacts, read_model_toml
from model.signature import blank_feed
from server.settings.table import DEFAULT_TOP_PREDICTIONS, Settings

#: Returns the model that the settings name.  Called on the thread that loads, as is `OnProgress`.
Loader = Callable[[Settings, OnProgress], LoadedModel]


def load_model(
    settings: Settings,
    on_progress: OnProgress,
    *,
    backends: Sequence[Backend] = BACKENDS,
    resample: Resample | None = None,
    name: str | None = None,
    version: str | None = None,
) -> LoadedModel:
    """
    Load the model that *settings* name, else the default model, with the one of *backends* for it.

    *resample*, *name* and *version* override those in model.toml.  Raises `ModelError`, whose
    message is one line.
    """
    backend, files, facts = locate_model(settings, on_progress, backends=backends)
    if resample is not None:
        facts = replace(facts, preprocessing=replace(facts.preprocessing, resample=resample))
    labels = read_labels(facts.labels) if facts.labels is not None else ()
    on_progress(f"loading {backend.name}")
    device = backend.choose_device(settings.device or "auto")
    name, version = name or facts.name or "default", version or facts.version or "1"
    on_progress(f"loading {name}/{version} on {device.description}")
    options = LoadOptions(
        facts=facts,
        device=device,
        lanes=settings.lanes or (1 if device.kind == "gpu" else usable_cores()),
        max_pixels=settings.max_pixels,
        on_progress=on_progress,
        name=name,
        version=version,
        top=settings.num_top_predictions or facts.top_k or DEFAULT_TOP_PREDICTIONS,
        labels=labels,
        gpu_memory_limit=settings.gpu_memory_limit,
    )
    return backend.load(files, options)


def load_null(settings: Settings, on_progress: OnProgress) -> LoadedModel:
    """Return the null model; this `Loader` is for measurements of the server alone."""
    on_progress("loading the null model")
    return LoadedModel(
        name="null",
        version="1",
        runner=NullRunner(),
        signatures=(LENGTHS,),
        image_input=None,
        labels=(),
        top=DEFAULT_TOP_PREDICTIONS,
        samples={LENGTHS.name: blank_feed(LENGTHS)},
        decodes=False,
        # Its run holds the interpreter lock, so a second lane would only wait.
        lanes=settings.lanes or 1,
    )


def locate_model(
    settings: Settings, on_progress: OnProgress, *, backends: Sequence[Backend] = BACKENDS
) -> tuple[Backend, ModelFiles, ModelFacts]:
    """
    Return the backend, the files of the model and the facts about it.

    The backend is the first of *backends* that finds the model; its engine is prepared, but not yet
    imported.  *settings* override model.toml.  If they name no model, the result is the default
    model of the last of *backends*.  Raises `ModelError`, whose message is one line.
    """
    choice = settings.device or "auto"
    path = settings.model or settings.graph
    if path is None:
        backend = backends[-1]
        backend.prepare_process(choice)
        return backend, *backend.default_model(on_progress)
    backend, files = find_files(path, backends)
    backend.prepare_process(choice)
    facts = read_model_toml(files.folder)
    return (
        backend,
        files,
        replace(
            facts,
            labels=settings.labels or facts.labels or _labels_beside(files),
            signature=settings.signature or facts.signature,
            input=settings.input_layer or facts.input,
            output=settings.output_layer or facts.output,
            feeds={**facts.feeds, **dict(settings.feed)},
            preprocessing=_preprocessing(settings, facts.preprocessing, files.kind),
        ),
    )


def find_files(path: Path, backends: Sequence[Backend] = BACKENDS) -> tuple[Backend, ModelFiles]:
    """
    Return the model at *path*, and the first of *backends* that reads it.

    Raises `ModelError` if none reads it, or if the model is incomplete.
    """
    for backend in backends:
        files = backend.find(path)
        if files is not None:
            return backend, files
    names = ", ".join(backend.name for backend in backends)
    raise ModelError(f"{path}: not a model that {names} reads")


def _preprocessing(settings: Settings, facts: ImageFacts, kind: str) -> ImageFacts:
    mean, std = settings.input_mean, settings.input_std
    asked = (settings.input_height, settings.input_width, mean, std)
    # Frozen graphs and these options come from label_image, so pixels are computed as it does.
    as_label_image = kind == ModelKind.FROZEN_GRAPH or any(each is not None for each in asked)
    return replace(
        facts,
        height=settings.input_height or facts.height,
        width=settings.input_width or facts.width,
        resample=facts.resample or (Resample.TF_BILINEAR if as_label_image else None),
        mean=facts.mean if mean is None else (mean,) * 3,
        scale=facts.scale if std is None else (1 / std,) * 3,
    )


def _labels_beside(files: ModelFiles) -> Path | None:
    """Return the labels file that retraining writes beside its graph; None if there is none."""
    path = files.folder / LABELS_FILE
    return path if path.is_file() else None
