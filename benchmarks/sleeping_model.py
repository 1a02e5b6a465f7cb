"""
A model that sleeps: a run of b rows takes l(b) seconds, and answers each row with its length.

During the sleep the thread does not hold the interpreter lock, as during the run of an engine, and
uses no core: figures depend on the decisions of the server, not on the speed of the machine.
Imports no TensorFlow.
"""

import ctypes
import time
from collections.abc import Sequence
from dataclasses import replace

from batcher.errors import OutOfMemory
from model.backend import LoadedModel, OnProgress
from model.backends.null import LENGTHS, NullRunner
from model.signature import Arrays, Feed, Signature
from scripts.simulation.service import Service
from server.model_loading import Loader, load_null
from server.settings.table import Settings

#: prctl's number for the timer slack of a thread: the kernel may wake it so much later, 50 us.
_SET_TIMER_SLACK = 29

#: Median seconds from the end of a sleep until the thread runs, with a slack of 1 ns.
WAKING = 0.00004


class SleepingRunner:
    """
    A `model.backend.Runner` whose runs take the times of *service*, to 0.1 ms.

    A run of more rows than *service* lists raises `OutOfMemory`, so the warm-up finds the largest
    batch, as it does on a device.
    """

    signatures: Sequence[Signature] = (LENGTHS,)
    device = "no device"

    def __init__(self, service: Service) -> None:
        self.fingerprint = f"sleeping {service.seconds}"
        self._service = service
        self._answers = NullRunner()
        self._libc = ctypes.CDLL(None)

    def run(self, feed: Feed) -> Arrays:
        """Sleep for the time of the run; return the length of each row, or raise `OutOfMemory`."""
        ends = time.monotonic() + self._seconds(feed.rows)
        self._libc.prctl(_SET_TIMER_SLACK, 1, 0, 0, 0)  # of the calling thread: 1 ns
        answers = self._answers.run(feed)
        time.sleep(max(0.0, ends - time.monotonic() - WAKING))
        return answers

    def _seconds(self, rows: int) -> float:
        if rows > self._service.cap:
            raise OutOfMemory(rows)
        return self._service.seconds[rows]

    def close(self) -> None:
        """Do nothing: the model holds no memory."""


def sleeping_loader(service: Service) -> Loader:
    """Return the loader of a sleeping model with the times of *service*; one lane by default."""

    def load(settings: Settings, on_progress: OnProgress) -> LoadedModel:
        on_progress("loading the sleeping model")
        null = load_null(settings, lambda _: None)
        return replace(null, name="sleeping", runner=SleepingRunner(service))

    return load
