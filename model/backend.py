"""
Define the interface of a loaded model, which is the same for every engine.

A backend's `load` returns a `Runner`; lanes call its `run` on their model threads.
"""

from collections.abc import Sequence
from typing import Protocol

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
