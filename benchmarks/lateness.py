"""
Measure how long a thread that wants the interpreter lock for a moment has to wait for it.

That is what holds up the reactor's thread while others compute: with all cores busy, the kernel's
scheduler as well.
"""

import threading
from time import perf_counter, sleep

PERIOD = 0.001  #: seconds between two wake-ups


class Ticker:
    """A thread that wakes up every millisecond and notes how late that was."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._going = True
        self._thread = threading.Thread(target=self._tick, name="ticker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def taken(self) -> list[float]:
        """Return what was noted since the last call, in seconds; any thread."""
        late, self._late = self._late, []
        return late

    def stop(self) -> None:
        """End the thread and wait until it has ended."""
        self._going = False
        self._thread.join()

    def _tick(self) -> None:
        while self._going:
            due = perf_counter() + PERIOD
            sleep(PERIOD)
            self._late.append(perf_counter() - due)
