"""
The batches on their lanes: what runs, for how long, and what has left of late.

Pure: told the time.  A run that takes far too long is given up, and its lane with it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Generic

from batcher.batch import Batch
from batcher.executor import Executor, Item, Result
from batcher.stats import Flush
from batcher.trace import Run

REMEMBERED = 64  #: departures
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


class Flights(Generic[Item, Result]):
    """What runs, in order of launch, and what has left."""

    __slots__ = ("_departures", "_flying", "_patience", "hung")

    def __init__(self, patience: float) -> None:
        """A run may take *patience* seconds, or `HANGING` times the usual if that is more."""
        self._patience = patience
        # In order of launch, which a set would not keep.
        self._flying: dict[Flight[Item, Result], None] = {}
        self._departures: deque[Departure] = deque(maxlen=REMEMBERED)
        self.hung = 0  #: those given up that have not ended yet

    def __len__(self) -> int:
        return len(self._flying)

    def __iter__(self) -> Iterator[Flight[Item, Result]]:
        return iter(self._flying)

    def launch(
        self, executor: Executor[Item, Result], batch: Batch[Item, Result], departure: Departure
    ) -> Flight[Item, Result]:
        """Note that *batch* has left on *executor*."""
        limit = max(self._patience, HANGING * departure.expected)
        flight = Flight(executor, batch, departure, departure.started + limit)
        self._flying[flight] = None
        self._departures.append(departure)
        return flight

    def land(self, flight: Flight[Item, Result], now: float) -> float:
        """Note that *flight* has ended, and return how long it took."""
        del self._flying[flight]
        self.hung -= flight.hung
        taken = flight.departure.run.seconds = max(0.0, now - flight.departure.started)
        return taken

    def give_up(self, now: float) -> list[Flight[Item, Result]]:
        """Return those that have just been given up."""
        lost = [it for it in self._flying if it.hangs_at <= now and not it.hung]
        for flight in lost:
            flight.hung = True
            self.hung += 1
        return lost

    def hangs_at(self) -> float:
        """Return when the next one is given up; inf if none runs."""
        earliest = inf
        for flight in self._flying:
            if not flight.hung:
                earliest = min(earliest, flight.hangs_at)
        return earliest

    def free_in(self, now: float) -> float:
        """Return the seconds until the first of them ends, as expected; inf if none runs."""
        soonest = inf
        for flight in self._flying:
            if not flight.hung:
                soonest = min(soonest, flight.departure.started + flight.departure.expected)
        return max(0.0, soonest - now)

    def flushes(self, now: float) -> tuple[Flush, ...]:
        """Return what has left, the latest first."""
        return tuple(departure.flush(now) for departure in reversed(self._departures))
