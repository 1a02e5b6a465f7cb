"""
State what the rest of the house needs of a loaded model, whatever engine runs it.

A backend's `load` returns a `Runner`; lanes call it from their model threads.
"""

from collections.abc import Sequence
from typing import Protocol

from model.signature import Arrays, Feed, Signature


class Runner(Protocol):
    """A loaded model.  `run` is called from several model threads at once."""

    @property
    def signatures(self) -> Sequence[Signature]:
        """What the model can be asked for; no two of one name."""

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides how long a run takes: the graph, the engine, the device."""

    @property
    def device(self) -> str:
        """The device in words, for the log."""

    def run(self, feed: Feed) -> Arrays:
        """
        Run the whole batch once; return the outputs in the order of the feed's signature.

        Called on a model thread.  Raises `batcher.errors.OutOfMemory` where the device had no
        room for so many rows, `RowsRefused`, and whatever the engine raises otherwise.
        """

    def close(self) -> None:
        """Free the device's memory; called once, after the last run."""
