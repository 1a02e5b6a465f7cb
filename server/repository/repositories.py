"""
The models that a server is asked to serve: those of folders on disk, or one named by options.

Either is a `Repository`, so that one way leads from it to served models.  `read`, `changed` and
the loaders block on the disk: they run on a thread of their own.
"""

import re
from collections.abc import Callable, Set
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from model.backend import LoadedModel
from model.repository.model_places import BasePath, FolderOfModels, ModelConfigFile, ModelPlaces
from model.repository.serving_toml import ServingFacts
from model.repository.snapshot import ModelOnDisk, RepositoryReader, Snapshot, VersionOnDisk
from server.model_loading import Loader, load_model
from server.settings.table import DEFAULT_MODEL_NAME, Settings

#: Name and version of the one model that options name, until it is loaded and states its own.
ONE_MODEL, ONE_VERSION = "model", 1


class Repository(Protocol):
    """What is to be served."""

    #: Whether it may change while the server runs.
    changes: bool

    @property
    def ignored(self) -> Set[str]:
        """The names that the last read has ignored."""

    def read(self) -> Snapshot:
        """Return what is there now; raises `ModelError` if it cannot be read."""

    def check(self, version: VersionOnDisk) -> None:
        """Compute the hashes of *version* for the next read; on another thread than `read`."""

    def relative(self, text: str) -> str:
        """Return *text* for clients: paths in the repository do not show where it is."""

    def settings_of(self, model: ModelOnDisk, version: VersionOnDisk) -> Settings:
        """Return the settings with which *version* of *model* is served."""

    def loader_of(self, model: ModelOnDisk, version: VersionOnDisk) -> Loader:
        """Return the function that loads *version* of *model*."""


class OneModel:
    """The model that *settings* name, or the default model; *load* loads it."""

    changes = False
    ignored: Set[str] = frozenset()

    def __init__(self, settings: Settings, load: Loader) -> None:
        self._settings = settings
        self._load = load

    def read(self) -> Snapshot:
        """Return one model with one version; its own name and version are known once loaded."""
        version = VersionOnDisk(ONE_VERSION, Path(), stamp="", size=0, complete=True)
        model = ModelOnDisk(ONE_MODEL, (version,), ServingFacts(), serving_stamp="")
        return {ONE_MODEL: model}

    def check(self, version: VersionOnDisk) -> None:
        """Do nothing: the version has no manifest."""

    def relative(self, text: str) -> str:
        """Return *text*: the user has named the path."""
        return text

    def settings_of(self, model: ModelOnDisk, version: VersionOnDisk) -> Settings:
        """Return the settings of the server."""
        return self._settings

    def loader_of(self, model: ModelOnDisk, version: VersionOnDisk) -> Loader:
        """Return the loader."""
        return self._load


class FolderRepository:
    """The models at *places*, with a folder ``<version>/`` for each version."""

    changes = True

    def __init__(
        self,
        settings: Settings,
        places: ModelPlaces,
        *,
        reader: RepositoryReader,
        load: Callable[..., LoadedModel] = load_model,
    ) -> None:
        """*reader* reads *places*; *load* is `load_model`, or is called as it is."""
        self.places = places
        self.reader = reader
        self._settings = settings
        self._load = load

    def read(self) -> Snapshot:
        """Return what the folders hold now."""
        return self.reader.read()

    @property
    def ignored(self) -> Set[str]:
        """The names that the last read has ignored, as paths below the folder."""
        return self.reader.ignored

    def check(self, version: VersionOnDisk) -> None:
        """Compute the hashes of *version* for the next read; on another thread than `read`."""
        self.reader.check(version)

    def relative(self, text: str) -> str:
        """Return *text* with paths below the folders, and these folders by their names alone."""
        # The longest first: one may be within another.
        for base in sorted(self.places.bases, key=lambda it: len(str(it)), reverse=True):
            if base.name:
                root = rf"(?<![\w./-]){re.escape(str(base))}"
                text = re.sub(rf"{root}(?![\w.-])", base.name, re.sub(f"{root}/", "", text))
        return text

    def settings_of(self, model: ModelOnDisk, version: VersionOnDisk) -> Settings:
        """Return the settings of the server, with the path and what serving.toml sets."""
        settings, facts = self._settings, model.serving
        return replace(
            settings,
            model=version.path,
            max_batch_size=facts.max_batch_size or settings.max_batch_size,
            max_queue_delay=settings.max_queue_delay
            if facts.max_queue_delay is None
            else facts.max_queue_delay,
        )

    def loader_of(self, model: ModelOnDisk, version: VersionOnDisk) -> Loader:
        """Return the loader; the model has the names of its folders, whatever model.toml says."""
        return partial(self._load, name=model.name, version=str(version.version))


def served_repository(settings: Settings, seconds: Callable[[], float], load: Loader) -> Repository:
    """
    Return what *settings* ask to serve: models in folders, or one model, which *load* loads.

    *seconds* returns the time of the monotonic clock; it is called on the thread that reads.
    """
    places = _places(settings)
    if places is None:
        return OneModel(settings, load)
    reader = RepositoryReader(places, seconds=seconds, now=_now)
    return FolderRepository(settings, places, reader=reader)


def _places(settings: Settings) -> ModelPlaces | None:
    if settings.models is not None:
        return FolderOfModels(settings.models)
    if settings.model_base_path is not None:
        return BasePath(settings.model_base_path, settings.model_name or DEFAULT_MODEL_NAME)
    if settings.model_config_file is not None:
        return ModelConfigFile(settings.model_config_file)
    return None


def _now() -> float:
    """Return the date as the file system states it, in seconds."""
    return datetime.now(UTC).timestamp()
