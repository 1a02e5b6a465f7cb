"""
A model that only takes its time: it answers each row with its length, after a sleep of l(b).

It sleeps without the interpreter lock, as an engine computes, and takes no core: what is measured
with it is what the server decides, not what the machine can do.  Imports no TensorFlow.
"""

import ctypes
import time
from collections.abc import Sequence

from batcher.errors import OutOfMemory
from model.backends.null import LENGTHS, NullRunner
from model.signature import Arrays, Feed, Signature, blank_feed
from scripts.simulation.service import Service
from server.model_loading import LoadedModel, Loader, OnProgress
from server.settings.table import DEFAULT_TOP_PREDICTIONS, Settings

#: prctl's name for how much later than asked for the kernel may wake a thread: 50 us by default.
_SET_TIMER_SLACK = 29

#: Seconds from the end of a sleep until the thread runs, without that slack; the median measured.
WAKING = 0.00004


class SleepingRunner:
    """
    A `model.backend.Runner` that takes as long as *service* says, to a tenth of a millisecond.

    There is no room for more rows than *service* knows of: a warm-up finds the largest batch by
    itself, as it does on a device.
    """

    signatures: Sequence[Signature] = (LENGTHS,)
    device = "no device"

    def __init__(self, service: Service) -> None:
        self.fingerprint = f"sleeping {service.seconds}"
        self._service = service
        self._answers = NullRunner()
        self._libc = ctypes.CDLL(None)

    def run(self, feed: Feed) -> Arrays:
        """Return the length of each row when its time is over; raises `OutOfMemory`."""
        ends = time.monotonic() + self._seconds(feed.rows)
        self._libc.prctl(_SET_TIMER_SLACK, 1, 0, 0, 0)  # of the calling thread, a nanosecond
        answers = self._answers.run(feed)
        time.sleep(max(0.0, ends - time.monotonic() - WAKING))
        return answers

    def _seconds(self, rows: int) -> float:
        if rows > self._service.cap:
            raise OutOfMemory(rows)
        return self._service.seconds[rows]

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


def sleeping_loader(service: Service) -> Loader:
    """Return what loads the model that takes as long as *service* says, on one lane."""

    def load(settings: Settings, on_progress: OnProgress) -> LoadedModel:
        on_progress("loading the sleeping model")
        return LoadedModel(
            name="sleeping",
            version="1",
            runner=SleepingRunner(service),
            signatures=(LENGTHS,),
            image_input=None,
            labels=(),
            top=DEFAULT_TOP_PREDICTIONS,
            samples={LENGTHS.name: blank_feed(LENGTHS)},
            decodes=False,
            lanes=settings.lanes or 1,
        )

    return load
