"""
The lanes and the batches on them: which is idle, what runs, and when it has run for too long.

Told the time; calls no executor.  A run that takes far too long is given up, and its lane with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic

from batcher.batch import Batch
from batcher.executor import Executor, Item, Result
from batcher.stats import Flush
from batcher.trace import Run

HANGING = 10.0  #: times what is expected, a run may take before it is given up


@dataclass(slots=True, eq=False)
class Departure:
    """How a batch left; it holds no payload, and may be remembered."""

    run: Run
    started: float
    expected: float  #: seconds
    left: int  #: rows that stayed in the queue

    def flush(self, now: float) -> Flush:
        """Return what is told of it afterwards."""
        run = self.run
        ago = max(0.0, now - self.started)
        return Flush(ago, run.rows, run.cap, self.left, run.reason, self.expected, run.seconds)


@dataclass(slots=True, eq=False)
class Flight(Generic[Item, Result]):
    """A batch on its lane."""

    executor: Executor[Item, Result]
    batch: Batch[Item, Result]
    departure: Departure
    hangs_at: float  #: when it is given up
    hung: bool = False

    def parted(self, taken: float) -> tuple[float, float]:
        """Return what the run has *taken* by itself, as its lane tells, and on the way."""
        own = self.executor.seconds
        ran = taken if own is None else max(0.0, min(own, taken))
        return ran, taken - ran


class Flights(Generic[Item, Result]):
    """What runs, in order of launch, and the lanes that do not."""

    __slots__ = ("_flying", "all_hung", "hung", "idle", "landed", "lanes", "run_timeout")

    def __init__(
        self, executors: Sequence[Executor[Item, Result]], run_timeout: float, now: float
    ) -> None:
        """A run may take *run_timeout* seconds, or `HANGING` times the usual if that is more."""
        self.run_timeout = run_timeout
        self.lanes = len(executors)
        self.landed = now  #: when a run ended last, or since when there has been none
        #: A stack: the lane that ran last has the warmest caches, and the first goes first.
        self.idle = list(reversed(executors))
        # In order of launch, which a set would not keep.
        self._flying: dict[Flight[Item, Result], None] = {}
        self.hung = 0  #: those given up that have not ended yet
        self.all_hung = False  #: whether no lane is left that could ever run anything

    def __len__(self) -> int:
        return len(self._flying)

    def __iter__(self) -> Iterator[Flight[Item, Result]]:
        return iter(self._flying)

    def launch(self, batch: Batch[Item, Result], departure: Departure) -> Flight[Item, Result]:
        """Note that *batch* leaves on a lane that is idle; there must be one."""
        limit = max(self.run_timeout, HANGING * departure.expected)
        flight = Flight(self.idle.pop(), batch, departure, departure.started + limit)
        self._flying[flight] = None
        return flight

    def land(self, flight: Flight[Item, Result], now: float) -> float:
        """Note that *flight* has ended and its lane is idle, and return how long it took."""
        del self._flying[flight]
        if flight.hung:
            self.hung -= 1
            self.all_hung = False
        self.idle.append(flight.executor)
        self.landed = now
        taken = flight.departure.run.seconds = max(0.0, now - flight.departure.started)
        return taken

    def give_up(self, now: float) -> list[Flight[Item, Result]]:
        """Return those that have just been given up."""
        lost = [it for it in self._flying if it.hangs_at <= now and not it.hung]
        for flight in lost:
            flight.hung = True
            self.hung += 1
            self.all_hung = self.hung == self.lanes
        return lost

    def hangs_at(self) -> float:
        """Return when the next one is given up; inf if none runs."""
        earliest = inf
        for flight in self._flying:
            if not flight.hung:
                earliest = min(earliest, flight.hangs_at)
        return earliest

    def free_in(self, now: float) -> float:
        """Return the seconds until a lane is idle, as expected; inf if all runs hang."""
        if self.idle:
            return 0.0
        soonest = inf
        for flight in self._flying:
            if not flight.hung:
                soonest = min(soonest, flight.departure.started + flight.departure.expected)
        return max(0.0, soonest - now)
