"""
Define the interface of a loaded model, which is the same for every engine.

A backend's `load` returns a `LoadedModel`; lanes call `run` of its `Runner` on their model threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from model.images.input import ImageInput
from model.signature import Arrays, Feed, Signature


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
