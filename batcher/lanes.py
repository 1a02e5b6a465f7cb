"""
The lanes and the batches on them: which lanes are idle, which batches run, and which runs hang.

Reads no clock and calls no executor.  A run that exceeds its time limit is given up; its lane is
not used until the run ends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic

from batcher.batch import Batch
from batcher.executor import Executor, Item, Result
from batcher.trace import Run

#: A run is never given up before this multiple of its expected time.
MIN_HUNG_RUN_RATIO = 10.0


@dataclass(slots=True, eq=False)
class InFlight(Generic[Item, Result]):
    """A batch that a lane runs."""

    executor: Executor[Item, Result]
    batch: Batch[Item, Result]
    run: Run
    hangs_at: float  #: the time at which it is given up
    hung: bool = False  #: it was given up

    def split_overhead(self, taken: float) -> tuple[float, float]:
        """Split *taken* seconds into those of the run itself and those of the dispatch overhead."""
        own = self.executor.seconds
        run_seconds = taken if own is None else max(0.0, min(own, taken))
        return run_seconds, taken - run_seconds


class Lanes(Generic[Item, Result]):
    """The batches in flight, in order of launch, and the idle lanes."""

    __slots__ = ("_running", "all_hung", "count", "hung", "idle", "last_completed", "run_timeout")

    def __init__(
        self, executors: Sequence[Executor[Item, Result]], run_timeout: float, now: float
    ) -> None:
        """
        Each of *executors* is a lane; *now* is the time of creation.

        A run may take *run_timeout* seconds, or `MIN_HUNG_RUN_RATIO` times its expected time if
        that is longer.
        """
        self.run_timeout = run_timeout
        self.count = len(executors)
        self.last_completed = now  #: when the last run ended; at first, the time of creation
        #: A stack: the lane that ran last has the warmest caches and is used first.
        self.idle = list(reversed(executors))
        # In order of launch, which a set would not keep.
        self._running: dict[InFlight[Item, Result], None] = {}
        self.hung = 0  #: runs that were given up and have not ended
        self.all_hung = False  #: whether every lane has a run that was given up

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[InFlight[Item, Result]]:
        return iter(self._running)

    def launch(self, batch: Batch[Item, Result], run: Run) -> InFlight[Item, Result]:
        """Assign *batch* and its *run* to an idle lane; the caller ensures that a lane is idle."""
        limit = max(self.run_timeout, MIN_HUNG_RUN_RATIO * run.expected)
        in_flight = InFlight(self.idle.pop(), batch, run, run.started + limit)
        self._running[in_flight] = None
        return in_flight

    def complete(self, in_flight: InFlight[Item, Result], now: float) -> float:
        """
        Record that *in_flight* has ended and its lane is idle; return the seconds since its launch.
        """
        del self._running[in_flight]
        if in_flight.hung:
            self.hung -= 1
            self.all_hung = False
        self.idle.append(in_flight.executor)
        self.last_completed = now
        taken = in_flight.run.seconds = max(0.0, now - in_flight.run.started)
        return taken

    def give_up(self, now: float) -> list[InFlight[Item, Result]]:
        """Give up the runs whose time limit has passed at *now*; return only these runs."""
        lost = [it for it in self._running if it.hangs_at <= now and not it.hung]
        for in_flight in lost:
            in_flight.hung = True
            self.hung += 1
            self.all_hung = self.hung == self.count
        return lost

    def hangs_at(self) -> float:
        """Return the earliest time at which a run is to be given up; inf if there is none."""
        earliest = inf
        for in_flight in self._running:
            if not in_flight.hung:
                earliest = min(earliest, in_flight.hangs_at)
        return earliest

    def free_in(self, now: float) -> float:
        """Return the expected seconds from *now* until a lane is idle; inf if all lanes hang."""
        if self.idle:
            return 0.0
        soonest = inf
        for in_flight in self._running:
            if not in_flight.hung:
                soonest = min(soonest, in_flight.run.started + in_flight.run.expected)
        return max(0.0, soonest - now)
