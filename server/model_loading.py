"""
Turn the settings into a loaded model.

`load_model` blocks for seconds and runs on a model thread.  TensorFlow is imported on that thread,
not before.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from model.backend import LoadedModel
from model.backends.null import LENGTHS, NullRunner
from model.backends.tensorflow.default_model.source import (
    DEFAULT_MODEL,
    GRAPH_FILE,
    LABELS_FILE,
    DefaultModelUnavailableError,
    ensure_default_model,
)
from model.backends.tensorflow.device import choose_device, quieten_tensorflow
from model.backends.tensorflow.loading import load_files
from model.backends.tensorflow.session import SessionOptions
from model.errors import ModelError
from model.execution.cores import usable_cores
from model.images.facts import ImageFacts
from model.images.preprocessing import Resample
from model.repository.cache import CacheUnavailableError, DamagedCacheError, user_cache_folder
from model.repository.labels import read_labels
from model.repository.model_kind import ModelFiles, ModelKind, find_model
from model.repository.model_toml import ModelFacts, read_model_toml
from model.signature import blank_feed
from server.settings.table import DEFAULT_TOP_PREDICTIONS, Settings

#: Receives one line for each step of a load.
OnProgress = Callable[[str], None]


#: Returns the model that the settings name.  A model thread calls it; it calls `OnProgress` there.
Loader = Callable[[Settings, OnProgress], LoadedModel]


def load_model(
    settings: Settings, on_progress: OnProgress, *, resample: Resample | None = None
) -> LoadedModel:
    """
    Load the model that *settings* name, else the default model, into a TensorFlow Session.

    *resample* overrides the resampling in model.toml.  Raises `ModelError`, whose message is one
    line.
    """
    choice = settings.device or "auto"
    quieten_tensorflow(choice)
    files, facts = locate_model(settings, on_progress)
    if resample is not None:
        facts = replace(facts, preprocessing=replace(facts.preprocessing, resample=resample))
    labels = read_labels(facts.labels) if facts.labels is not None else ()
    on_progress("loading TensorFlow")
    device = choose_device(choice)
    lanes = settings.lanes or (1 if device.kind == "gpu" else usable_cores())
    name, version = facts.name or "default", facts.version or "1"
    on_progress(f"loading {name}/{version} on {device.description}")
    options = SessionOptions(device, lanes, settings.gpu_memory_limit)
    loaded = load_files(
        files,
        facts,
        options,
        classes=len(labels),
        max_pixels=settings.max_pixels,
        on_progress=on_progress,
    )
    return LoadedModel(
        name=name,
        version=version,
        runner=loaded.runner,
        signatures=loaded.signatures,
        image_input=loaded.image_input,
        labels=labels,
        top=settings.num_top_predictions or facts.top_k or DEFAULT_TOP_PREDICTIONS,
        samples=loaded.samples,
        decodes=loaded.decodes,
        lanes=lanes,
    )


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


def locate_model(settings: Settings, on_progress: OnProgress) -> tuple[ModelFiles, ModelFacts]:
    """
    Return the files of the model and the facts about it; *settings* override model.toml.

    If *settings* name no model, return those of the default model, which is first converted if it
    is not in the cache.  Raises `ModelError`, whose message is one line.
    """
    path = settings.model or settings.graph
    if path is None:
        return _default_model(on_progress)
    files = find_model(path)
    facts = read_model_toml(files.folder)
    return files, replace(
        facts,
        labels=settings.labels or facts.labels or _labels_beside(files),
        signature=settings.signature or facts.signature,
        input=settings.input_layer or facts.input,
        output=settings.output_layer or facts.output,
        feeds={**facts.feeds, **dict(settings.feed)},
        preprocessing=_preprocessing(settings, facts.preprocessing, files.kind),
    )


def _preprocessing(settings: Settings, facts: ImageFacts, kind: ModelKind) -> ImageFacts:
    mean, std = settings.input_mean, settings.input_std
    asked = (settings.input_height, settings.input_width, mean, std)
    # Frozen graphs and these options come from label_image, so pixels are computed as it does.
    as_label_image = kind is ModelKind.FROZEN_GRAPH or any(each is not None for each in asked)
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


def _default_model(on_progress: OnProgress) -> tuple[ModelFiles, ModelFacts]:
    try:
        found = ensure_default_model(user_cache_folder(), on_progress)
    except (DefaultModelUnavailableError, CacheUnavailableError, DamagedCacheError) as error:
        raise ModelError(str(error)) from error
    return ModelFiles(ModelKind.FROZEN_GRAPH, found.path / GRAPH_FILE, found.path), ModelFacts(
        name=DEFAULT_MODEL.name,
        version=DEFAULT_MODEL.version,
        input=DEFAULT_MODEL.input_layer,
        output=DEFAULT_MODEL.output_layer,
        labels=found.path / LABELS_FILE,
        preprocessing=ImageFacts(
            crop=DEFAULT_MODEL.crop_fraction, resample=Resample(DEFAULT_MODEL.resampling)
        ),
    )
