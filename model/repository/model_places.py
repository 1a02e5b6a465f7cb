"""
Where the models of a repository are, and what states which versions of each are served.

Three forms of a repository: a folder with a folder for each model; the folder of one model, as
``--model_base_path`` names it; a model config file of TensorFlow Serving.  Reads the disk.
"""

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model.errors import ModelError
from model.repository.serving_files import Serving
from model.repository.tf_serving_config import read_model_config
from model.repository.toml_keys import is_segment
from model.repository.version_files import TEMPORARY_END


class RepositoryUnavailable(ModelError):
    """The root folder of the repository cannot be listed, or its file system is not mounted."""


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """Where one model is."""

    folder: Path  #: with a folder for each version
    serving: Serving | None = None  #: None: stated by the files in the folder
    stays: bool = False  #: whether the model keeps its last state if the folder is absent


class ModelPlaces(Protocol):
    """A repository."""

    @property
    def name(self) -> str:
        """The path by which messages name the repository."""

    @property
    def root(self) -> Path | None:
        """The folder in which folders of new models appear."""

    @property
    def bases(self) -> Set[Path]:
        """The folders in which models are: texts for clients do not show them."""

    @property
    def ignored(self) -> Set[str]:
        """The names in the root that the last `find` has ignored."""

    @property
    def stated_in(self) -> Path | None:
        """The file that alone states what is served; None: the serving.toml of each model."""

    def find(self) -> Mapping[str, ModelPlace]:
        """Return the places of the models, by name; raises `ModelError` if that is not known."""

    def folder_of(self, name: str) -> Path:
        """Return the folder of the model *name*; raises KeyError if it was not found."""


class FolderOfModels:
    """The folder *root* with a folder for each model; the other names in it are ignored."""

    stated_in = None

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = str(root)
        self.ignored: Set[str] = frozenset()

    @property
    def bases(self) -> Set[Path]:
        """The folder."""
        return {self.root}

    def find(self) -> Mapping[str, ModelPlace]:
        """Return the models in the folder; raises `RepositoryUnavailable` if it is not listed."""
        try:
            folders, _ = names_in(self.root)
        except OSError as error:
            raise RepositoryUnavailable(f"{self.root}: {error.strerror}") from error
        names = [name for name in folders if is_segment(name)]
        self.ignored = frozenset(folders) - set(names)
        return {name: ModelPlace(self.root / name) for name in names}

    def folder_of(self, name: str) -> Path:
        """Return the folder of the model *name*."""
        return self.root / name


class BasePath:
    """The folder *path* of one model, which is called *name*, with a folder for each version."""

    root = stated_in = None
    ignored: Set[str] = frozenset()

    def __init__(self, path: Path, name: str) -> None:
        self.name = str(path)
        self.bases: Set[Path] = {path.parent}
        self._places = {name: ModelPlace(path, stays=True)}

    def find(self) -> Mapping[str, ModelPlace]:
        """Return the model."""
        return self._places

    def folder_of(self, name: str) -> Path:
        """Return the folder of the model *name*."""
        return self._places[name].folder


class ModelConfigFile:
    """The model config file at *path*, read again when it has changed."""

    root = None
    ignored: Set[str] = frozenset()

    def __init__(self, path: Path) -> None:
        self.stated_in = path
        self.name = str(path)
        self._status: tuple[int, int, int] | None = None
        self._places: Mapping[str, ModelPlace] = {}

    def find(self) -> Mapping[str, ModelPlace]:
        """Return the models that the file lists; raises `ModelError` if it is not correct."""
        try:
            found = self.stated_in.stat()
        except OSError as error:
            raise RepositoryUnavailable(f"{self.stated_in}: {error.strerror}") from error
        status = (found.st_mtime_ns, found.st_ino, found.st_size)
        if status != self._status:
            self._places = {
                # A write that leaves the facts of a model equal does not change its stamp.
                name: ModelPlace(
                    it.base_path, Serving(it.facts, repr(it.facts), notes=it.notes), stays=True
                )
                for name, it in read_model_config(self.stated_in).items()
            }
            self._status = status
        return self._places

    @property
    def bases(self) -> Set[Path]:
        """The folders of the file and of the base paths."""
        return {self.stated_in.parent, *(it.folder.parent for it in self._places.values())}

    def folder_of(self, name: str) -> Path:
        """Return the folder of the model *name*."""
        return self._places[name].folder


def names_in(folder: Path) -> tuple[list[str], list[str]]:
    """
    Return the names in *folder* of folders or links to folders, and those of files, sorted.

    Without names that begin with "." or end in ".tmp".  Raises OSError.
    """
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] != "." and not entry.name.endswith(TEMPORARY_END):
                (folders if _is_folder(entry) else files).append(entry.name)
    return sorted(folders), sorted(files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """
    Return whether *entry* is a folder, or may be one.

    The target of a link may be on a file system that is not mounted: then what is served stays.
    """
    try:
        return entry.is_dir() or (entry.is_symlink() and not Path(entry).exists())
    except OSError:
        return True
