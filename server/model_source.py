"""
Turn the settings into a loaded model.

`load_model` blocks for seconds: it runs on a model thread.  TensorFlow is imported there, and not
before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.backends.tensorflow.default_model import (
    DEFAULT_MODEL,
    GRAPH_FILE,
    LABELS_FILE,
    DefaultModelUnavailableError,
    ensure_default_model,
)
from model.backends.tensorflow.device import choose_device, quieten_tensorflow
from model.backends.tensorflow.frozen_graph import FrozenGraphOptions
from model.backends.tensorflow.session import SessionOptions, SessionRunner, load_frozen_graph
from model.cache import CacheUnavailableError, DamagedCacheError, user_cache_folder
from model.cores import usable_cores
from model.labels import read_labels
from model.preprocess import Preprocessing, Resample
from model.runner import ModelError, Runner
from server.settings import Settings

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory, and how a picture becomes its input."""

    name: str
    version: str
    runner: Runner
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    lanes: int  #: model threads that may call the runner at once


#: Loads what the settings name; tells its progress in words, from the model thread it runs on.
Loader = Callable[[Settings, Say], LoadedModel]


@dataclass(frozen=True, slots=True)
class _Source:
    """A graph and its labels on disk."""

    name: str
    version: str
    graph: Path
    labels: Path
    options: FrozenGraphOptions
    crop: float | None
    resample: Resample


def load_model(settings: Settings, say: Say) -> LoadedModel:
    """
    Load the graph that *settings* name, or else the default model, into a TensorFlow Session.

    Raises `ModelError`, in one line.
    """
    choice = settings.device or "auto"
    quieten_tensorflow(choice)
    try:
        source = _source(settings, say)
    except (DefaultModelUnavailableError, CacheUnavailableError, DamagedCacheError) as error:
        raise ModelError(str(error)) from error
    labels = read_labels(source.labels)
    say("loading TensorFlow")
    device = choose_device(choice)
    lanes = settings.lanes or (1 if device.kind == "gpu" else usable_cores())
    say(f"loading {source.name}/{source.version} on {device.description}")
    options = SessionOptions(device, lanes, settings.gpu_memory_limit)
    runner = load_frozen_graph(source.graph, source.options, options, classes=len(labels))
    preprocessing = _preprocessing(runner, source)
    return LoadedModel(source.name, source.version, runner, preprocessing, labels, lanes)


def _source(settings: Settings, say: Say) -> _Source:
    if settings.graph is not None and settings.labels is not None:
        options = FrozenGraphOptions(
            input_layer=settings.input_layer,
            output_layer=settings.output_layer,
            height=settings.input_height,
            width=settings.input_width,
            mean=settings.input_mean,
            std=settings.input_std,
        )
        return _Source(
            "default", "1", settings.graph, settings.labels, options, None, Resample.BILINEAR
        )
    found = ensure_default_model(user_cache_folder(), say)
    return _Source(
        DEFAULT_MODEL.name,
        DEFAULT_MODEL.version,
        found.path / GRAPH_FILE,
        found.path / LABELS_FILE,
        FrozenGraphOptions(DEFAULT_MODEL.input_layer, DEFAULT_MODEL.output_layer),
        DEFAULT_MODEL.crop_fraction,
        Resample(DEFAULT_MODEL.resampling),
    )


def _preprocessing(runner: SessionRunner, source: _Source) -> Preprocessing:
    (images,) = runner.signature.inputs
    _, height, width, _ = images.shape
    if height is None or width is None:  # the serving graph fixes both
        raise ModelError(f"{source.graph}: the size of a picture is not known")
    return Preprocessing(height, width, source.crop, source.resample)
