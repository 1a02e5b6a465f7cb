"""
The TensorFlow engine, as `model.backend.Backend` describes an engine.

Importing this module imports no TensorFlow; the methods do, on the thread that calls them.
"""

from pathlib import Path

from model.backend import Device, DeviceChoice, LoadedModel, LoadOptions, OnProgress
from model.backends.tensorflow.default_model.source import (
    DEFAULT_MODEL,
    GRAPH_FILE,
    DefaultModelUnavailableError,
    ensure_default_model,
)
from model.backends.tensorflow.device import choose_device, quieten_tensorflow
from model.backends.tensorflow.loading import load_files
from model.errors import ModelError
from model.images.facts import ImageFacts
from model.images.preprocessing import Resample
from model.repository.cache import CacheUnavailableError, DamagedCacheError, user_cache_folder
from model.repository.labels import LABELS_FILE
from model.repository.model_kind import ModelFiles, ModelKind, find_model
from model.repository.model_toml import ModelFacts


class TensorFlowBackend:
    """Loads frozen graphs, SavedModels and Keras files into a Session."""

    name = "TensorFlow"

    def find(self, path: Path) -> ModelFiles | None:
        """
        Return the model at *path*; a file of an unknown format is taken for a frozen graph.

        Never returns None: raises `ModelError` for all that is not served, as `find_model` does.
        """
        return find_model(path)

    def prepare_process(self, choice: DeviceChoice) -> None:
        """Silence the messages of TensorFlow's start; hide the GPUs if *choice* is "cpu"."""
        quieten_tensorflow(choice)

    def default_model(self, on_progress: OnProgress) -> tuple[ModelFiles, ModelFacts]:
        """
        Return EfficientNet-Lite0; it is first converted if it is not in the cache.

        Raises `ModelError` if a package that it needs, or the cache, is unavailable.
        """
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

    def choose_device(self, choice: DeviceChoice) -> Device:
        """Return the first GPU that TensorFlow sees, or the CPU."""
        return choose_device(choice)

    def load(self, files: ModelFiles, options: LoadOptions) -> LoadedModel:
        """Load *files* into a Session, and run one row."""
        return load_files(files, options)
