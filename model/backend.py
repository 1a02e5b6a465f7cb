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
        """The signatures of the model, each with a name of its own."""

    @property
    def fingerprint(self) -> str:
        """A hash of what determines the run time: the graph, the engine, the device."""

    @property
    def device(self) -> str:
        """A description of the device, for the log."""

    def run(self, feed: Feed) -> Arrays:
        """
        Run the whole batch once; return the outputs in the order of the feed's signature.

        Called on a model thread.  Raises `batcher.errors.OutOfMemory` where the device has no
        memory for so many rows, `RowsRefused`, and any other error of the engine.
        """

    def close(self) -> None:
        """Free the memory of the device; called once, after the last run."""
