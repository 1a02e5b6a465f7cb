"""
Define what an engine implements: a `Backend` that loads models, and a `Runner` for each of them.

`Backend.load` returns a `LoadedModel`; lanes call `run` of its `Runner` on their model threads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from model.images.input import ImageInput
from model.repository.model_kind import ModelFiles
from model.repository.model_toml import ModelFacts
from model.signature import Arrays, Feed, Signature

#: The devices that a user can ask for; "auto" is a GPU if there is one, else the CPU.
DeviceChoice = Literal["auto", "cpu", "gpu"]

#: Receives notes and warnings about a model while it is loaded, one line each.
OnProgress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Device:
    """The device that runs a model."""

    kind: Literal["cpu", "gpu"]
    description: str  #: for the log: the product name, and the number of cores of a CPU


class Runner(Protocol):
    """A loaded model.  Several model threads may call `run` at the same time."""

    @property
    def signatures(self) -> Sequence[Signature]:
        """The signatures of the model; each has a different name."""

    @property
    def fingerprint(self) -> str:
        """A hash of what determines the run time: the graph, the engine, the device."""

    @property
    def device(self) -> str:
        """A description of the device, for the log."""

    def run(self, feed: Feed) -> Arrays:
        """
        Run *feed*, a whole batch, once; return the outputs in the order of its signature.

        Called on a model thread.  Raises `batcher.errors.OutOfMemory` if the rows do not fit in the
        device's memory, and `RowsRefused` if the model refuses their values.  Any other error of
        the engine is raised, too.
        """

    def close(self) -> None:
        """Free the model's memory on the device; called once, after the last run."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """
    One version of a model in memory, and how an image is converted to its input.

    Two loads of the same files are two different models: they are compared by identity.
    """

    name: str
    version: str
    runner: Runner
    signatures: Sequence[Signature]  #: the first is for requests that name no signature
    image_input: ImageInput | None  #: None if the model takes no images
    labels: tuple[str, ...]
    top: int  #: count of labels in an answer
    samples: Mapping[str, Feed]  #: by signature name: one row that it runs, if one was found
    decodes: bool  #: whether any signature decodes images
    lanes: int  #: count of model threads that may call the runner at the same time

    @property
    def full_name(self) -> str:
        """The text ``NAME/VERSION``, which clients see."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How the files of a model are loaded: the same value for every engine."""

    facts: ModelFacts  #: from the settings and model.toml
    device: Device  #: one that `Backend.choose_device` returned
    lanes: int  #: count of model threads that call the runner at the same time
    max_pixels: int  #: limit of pixels of an image
    on_progress: OnProgress  #: called on the thread that loads
    name: str  #: of the model; as the version and *top*, for the `LoadedModel`
    version: str
    top: int  #: count of labels in an answer
    labels: tuple[str, ...] = ()
    gpu_memory_limit: int | None = None  #: bytes; None: memory grows as needed


class Backend(Protocol):
    """
    An engine: it finds the models that it reads, chooses a device, and loads a model there.

    The methods are called in the order of this listing, on a thread that may block for seconds.
    `default_model` is called only if the user names no model.  The engine is first imported by
    `default_model`, `choose_device` or `load`.
    """

    @property
    def name(self) -> str:
        """The name of the engine, for the log."""

    def find(self, path: Path) -> ModelFiles | None:
        """
        Return the model at *path*, a file or a folder; None if this engine does not read it.

        Raises `ModelError` if the model is of a kind that the engine reads, but is incomplete.
        """

    def prepare_process(self, choice: DeviceChoice) -> None:
        """Set up this process for the engine, such as its log and its view of GPUs for *choice*."""

    def default_model(self, on_progress: OnProgress) -> tuple[ModelFiles, ModelFacts]:
        """
        Return the model that is served if the user names none, and the facts about it.

        Raises `ModelError` if it is unavailable, or if the engine has none.
        """

    def choose_device(self, choice: DeviceChoice) -> Device:
        """Return the device for *choice*; raises `ModelError` if it cannot be used."""

    def load(self, files: ModelFiles, options: LoadOptions) -> LoadedModel:
        """
        Load *files*, which `find` or `default_model` returned, and check that they run a row.

        Reports the image input, and what is changed or guessed, to `options.on_progress`.  Raises
        `ModelError`, with a message of one line, if the model cannot be loaded, if it cannot run a
        row, and if it does not return one score for each label.
        """
