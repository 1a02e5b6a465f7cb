"""
A second engine, of numpy alone: a linear model of pixels and of numbers, in one ``.npz`` file.

It implements what `model.backend` asks of an engine, with the rules of `model.images`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.backend import (
    Device,
    DeviceChoice,
    LoadedModel,
    LoadOptions,
    OnProgress,
)
from model.errors import ModelError
from model.execution.cores import describe_cpu
from model.images.input import ImageInput, report_images, requested_signatures
from model.images.layout import UINT8, image_layout
from model.images.normalisation import Normalisation
from model.images.pixel_input import pixel_image_input
from model.images.pixel_values import choose_normalisation
from model.images.probe_images import probe_images
from model.images.scores import check_scores, choose_scores
from model.images.value_range import Affine
from model.repository.model_kind import ModelFiles
from model.repository.model_toml import ModelFacts
from model.signature import Arrays, Feed, Signature, TensorSpec, blank_feed

FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class LinearModel:
    """The arrays of a file, by name."""

    pixels: np.ndarray  #: float32 [height, width, 3, classes]
    numbers: np.ndarray  #: float32 [inputs, outputs]

    def save(self, path: Path) -> None:
        """Write the file *path*."""
        np.savez(path, pixels=self.pixels, numbers=self.numbers)


def read_linear_model(path: Path) -> LinearModel:
    """Return the arrays in the file *path*; raises `ModelError` for other files."""
    try:
        with np.load(path) as arrays:
            return LinearModel(arrays["pixels"], arrays["numbers"])
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: not a linear model: {error}") from error


class NumpyRunner:
    """A `model.backend.Runner`: each output is a product with the weights of its signature."""

    def __init__(
        self, model: LinearModel, numbers: Normalisation, device: Device, fingerprint: str
    ) -> None:
        height, width, channels, classes = model.pixels.shape
        self.pixels = Signature(
            (TensorSpec("image", UINT8, (None, height, width, channels)),),
            (TensorSpec("scores", FLOAT32, (None, classes)),),
        )
        self.numbers = Signature(
            (TensorSpec("x", FLOAT32, (None, model.numbers.shape[0])),),
            (TensorSpec("y", FLOAT32, (None, model.numbers.shape[1])),),
            name="numbers",
        )
        self.signatures = (self.pixels, self.numbers)
        self.fingerprint = fingerprint
        self.device = device.description
        self._model = model
        self._mean = np.array(numbers.mean, np.float32)
        self._scale = np.array(numbers.scale, np.float32)

    def run(self, feed: Feed) -> Arrays:
        """Return the only output, float32 [rows, columns]."""
        (rows,) = feed.arrays
        if feed.signature.name == self.numbers.name:
            return (rows @ self._model.numbers,)
        values = (rows.astype(np.float32) - self._mean) * self._scale
        return (np.tensordot(values, self._model.pixels, 3),)

    def close(self) -> None:
        """Do nothing: the weights are freed with the runner."""


class NumpyBackend:
    """A `model.backend.Backend` that reads the files of `LinearModel`."""

    name = "numpy"

    def find(self, path: Path) -> ModelFiles | None:
        """Return the file *path* if its name ends with ``.npz``."""
        if path.suffix != ".npz":
            return None
        return ModelFiles("linear model", path, path.parent)

    def prepare_process(self, choice: DeviceChoice) -> None:
        """Do nothing: numpy writes no log and sees no GPU."""

    def default_model(self, on_progress: OnProgress) -> tuple[ModelFiles, ModelFacts]:
        """Raise `ModelError`: there is none."""
        raise ModelError("numpy has no default model: set --model")

    def choose_device(self, choice: DeviceChoice) -> Device:
        """Return the CPU; raises `ModelError` for "gpu"."""
        if choice == "gpu":
            raise ModelError("numpy runs on the CPU only")
        return Device("cpu", describe_cpu())

    def load(self, files: ModelFiles, options: LoadOptions) -> LoadedModel:
        """Read *files*, and run an image."""
        model = read_linear_model(files.path)
        images, runner = self._image_input(model, files, options)
        sample = images.feed(probe_images()["JPEG"][0])
        outputs = runner.run(sample)
        if options.labels and (warning := check_scores(images, outputs, len(options.labels))):
            options.on_progress(warning)
        report_images(images, options.facts.preprocessing, runner.pixels, options.on_progress)
        return LoadedModel(
            name=options.name,
            version=options.version,
            runner=runner,
            signatures=requested_signatures(runner.signatures, images),
            image_input=images,
            labels=options.labels,
            top=options.top,
            samples={"serving_default": sample, "numbers": blank_feed(runner.numbers)},
            decodes=False,
            lanes=options.lanes,
        )

    def _image_input(
        self, model: LinearModel, files: ModelFiles, options: LoadOptions
    ) -> tuple[ImageInput, NumpyRunner]:
        """Return how an image becomes pixels, and the runner, which normalises them."""
        facts = options.facts.preprocessing
        height, width, channels, classes = model.pixels.shape
        own = Signature(
            (TensorSpec("image", FLOAT32, (None, height, width, channels)),),
            (TensorSpec("scores", FLOAT32, (None, classes)),),
        )
        layout = image_layout(own, facts, labelled=bool(options.labels))
        if layout is None:
            raise ModelError(f"{files.path}: its pixels have {channels} channels, expected 1 or 3")
        numbers = choose_normalisation(facts, layout, FLOAT32, Affine, options.on_progress)
        fingerprint = hashlib.sha256(
            f"{files.path.read_bytes()!r} {facts} {options.device} {options.lanes}".encode()
        )
        runner = NumpyRunner(model, numbers, options.device, fingerprint.hexdigest())
        images = choose_scores(
            pixel_image_input(runner.pixels, facts, options.max_pixels, layout, numbers),
            runner.pixels,
            output=options.facts.output,
            classes=len(options.labels),
            is_sigmoid=lambda _: False,
        )
        assert images is not None
        return images, runner
