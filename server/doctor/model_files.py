"""
Check the model that the settings name, without loading it, or that the default model is there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model import packages
from model.errors import ModelError
from model.repository.file_checks import check_bytes
from model.repository.model_kind import ModelKind
from model.repository.model_places import names_in
from model.repository.tf_serving_config import read_model_config
from server.doctor.finding import Finding, fault, megabytes, ok, warning
from server.settings.table import Settings

MODEL = "model"

#: The packages whose modules have another name.
_PACKAGES = {"PIL": "pillow"}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is at the path of the settings."""

    path: Path | None  #: None: the default model is served
    error: str = ""  #: why there is no model at the path, or why it is not known
    remedy: str = "name a frozen graph, a SavedModel or a Keras file with --model"  #: of the error
    kind: str = ""  #: of one model; empty for a repository
    size: int = 0  #: bytes of one model
    versions: int | None = None  #: in a repository; None if it is none
    missing: tuple[str, ...] = ()  #: packages of the default model that are not installed

    @property
    def is_default(self) -> bool:
        """Whether the default model is served."""
        return self.path is None and not self.error

    @property
    def keras_size(self) -> int:
        """The bytes of a Keras model; 0 for another."""
        return self.size if self.kind == ModelKind.KERAS else 0


def read_model(settings: Settings, installed: Mapping[str, str]) -> ModelFacts:
    """Return the facts about the model of *settings*; *installed* has the packages by names."""
    path = settings.model or settings.graph
    try:
        from server.model_loading import find_files  # noqa: PLC0415 - imports numpy and Pillow
    except ImportError as error:
        return _not_imported(path or settings.models, error)
    try:
        if path is not None:
            _, files = find_files(path)
            check_bytes(files)
            return ModelFacts(path, kind=files.kind, size=_size(files.path))
        repository = _repository(settings)
    except (ModelError, OSError) as error:
        return ModelFacts(path or settings.models, error=str(error))
    if repository is not None:
        return repository
    needed = re.findall(r"([\w-]+)==", packages.DEFAULT_MODEL)
    return ModelFacts(None, missing=tuple(name for name in needed if name not in installed))


def _not_imported(path: Path | None, error: ImportError) -> ModelFacts:
    """Return the facts about a model at *path* that cannot be examined, because of *error*."""
    while isinstance(error.__cause__, ImportError):
        error = error.__cause__  # numpy raises another error, of many lines, for that of its file
    module = (error.name or "").partition(".")[0]
    if not module:
        shown = "python -c 'import server.model_loading' shows the whole error"
        return ModelFacts(path, error=f"a package cannot be imported: {error}", remedy=shown)
    package = _PACKAGES.get(module, module)
    return ModelFacts(
        path,
        error=f"{package} cannot be imported: {error}",
        remedy=f"pip install --force-reinstall {package}",
    )


def check_model(facts: ModelFacts, is_cached: bool) -> Finding:
    """Decide whether there is a model to load; *is_cached*: the default one was converted."""
    if facts.error:
        return fault(MODEL, facts.error, facts.remedy)
    if facts.versions is not None:
        return _check_repository(facts)
    if facts.path is not None:
        return ok(MODEL, f"{facts.kind}, {megabytes(facts.size)}: {facts.path}")
    if facts.missing and not is_cached:
        return fault(
            MODEL,
            f"no model is named, and the default model needs {' and '.join(facts.missing)}",
            f"{packages.DEFAULT_MODEL}; or name a model with --model",
        )
    return ok(MODEL, f"the default model, {'' if is_cached else 'not yet '}in the cache")


def _check_repository(facts: ModelFacts) -> Finding:
    if not facts.versions:
        return warning(
            MODEL,
            f"{facts.path} holds no version of a model: nothing is served until there is one",
            "copy a model to a folder with the number of its version, such as NAME/1",
        )
    return ok(MODEL, f"{facts.versions} versions in {facts.path}")


def _repository(settings: Settings) -> ModelFacts | None:
    """Return the facts about the repository of *settings*, if they name one."""
    if settings.models is not None:
        folders = [settings.models / name for name in names_in(settings.models)[0]]
        return ModelFacts(settings.models, versions=sum(map(_versions, folders)))
    if settings.model_base_path is not None:
        path = settings.model_base_path
        return ModelFacts(path, versions=_versions(path))
    if settings.model_config_file is not None:
        path = settings.model_config_file
        places = read_model_config(path).values()
        return ModelFacts(path, versions=sum(_versions(it.base_path) for it in places))
    return None


def _versions(folder: Path) -> int:
    """Return the count of versions in *folder*; 0 if it cannot be listed."""
    try:
        return sum(name.isdecimal() for name in names_in(folder)[0])
    except OSError:
        return 0


def _size(path: Path) -> int:
    """Return the bytes of the file *path*, or of all files in the folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(it.stat().st_size for it in path.rglob("*") if it.is_file())
