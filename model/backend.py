"""
State the interface of a loaded model, whatever engine runs it.

A backend's `load` returns a `Runner`; lanes call it on their model threads.
"""

from collections.abc import Sequence
from typing import Protocol

from model.signature import Arrays, Feed, Signature


class Runner(Protocol):
    """A loaded model.  `run` is called from several model threads at once."""

    @property
    def signatures(self) -> Sequence[Signature]:
        """The signatures of the model; their names differ."""

    @property
    def fingerprint(self) -> str:
        """A hash of what determines the run time: the graph, the engine, the device."""

    @property
    def device(self) -> str:
        """A description of the device, for the log."""

    def run(self, feed: Feed) -> Arrays:
        """
        Run the whole batch once; return the outputs in the order of the feed's signature.

        Called on a model thread.  Raises `batcher.errors.OutOfMemory` if the rows do not
        fit in the device's memory, `RowsRefused` if the model refuses their values, or any other
        error of the engine.
        """

    def close(self) -> None:
        """Free the model's memory on the device; called once, after the last run."""
