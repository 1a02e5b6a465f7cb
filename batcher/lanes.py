"""
The lanes and the batches on them: which lanes are idle, which batches run, and which runs hang.

Reads no clock and calls no executor.  A run that exceeds its time limit is given up; its lane is
not used until the run ends.
"""

from collections.abc import Iterator, Sequence
from math import inf
from typing import Generic

from batcher.batch import Batch
from batcher.executor import Executor, Item, Result
from batcher.share import ShareTurns
from batcher.trace import Run

#: A run is never given up before this multiple of its expected time.
MIN_HUNG_RUN_RATIO = 10.0


class Lanes(Generic[Item, Result]):
    """The batches in flight, in order of launch, and the idle lanes; charges the accounts."""

    def __init__(
        self,
        executors: Sequence[Executor[Item, Result]],
        turns: ShareTurns,
        run_timeout: float,
    ) -> None:
        """
        Each of *executors* is a lane.

        A run may take *run_timeout* seconds, or `MIN_HUNG_RUN_RATIO` times its expected time if
        that is longer; a run of a background share may take any time.  Each run is charged to its
        account in *turns*; a run that is given up only until then: the account would otherwise have
        no turn for as long as the run has hung.
        """
        self._turns = turns
        self.run_timeout = run_timeout
        self.count = len(executors)
        #: A stack: the lane that ran last has the warmest caches and is used first.
        self.idle = list(reversed(executors))
        # In order of launch, which a set would not keep.
        self._running: dict[Batch[Item, Result], None] = {}
        self.hung = 0  #: runs that were given up and have not ended

    @property
    def all_hung(self) -> bool:
        """Whether every lane has a run that was given up."""
        return self.hung == self.count

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Batch[Item, Result]]:
        return iter(self._running)

    def launch(self, batch: Batch[Item, Result], run: Run) -> None:
        """Assign *batch* and its *run* to an idle lane; the caller ensures that a lane is idle."""
        batch.run = run
        batch.executor = self.idle.pop()
        limit = max(self.run_timeout, MIN_HUNG_RUN_RATIO * run.expected)
        batch.hangs_at = inf if batch.queue.in_background else run.started + limit
        self._running[batch] = None
        self._turns.launched(batch.queue.share, run.expected)

    def complete(self, batch: Batch[Item, Result], now: float) -> None:
        """Record that the run of *batch* has ended, its seconds, and that its lane is idle."""
        del self._running[batch]
        run = batch.run
        run.seconds = max(0.0, now - run.started)
        if batch.hung:
            self.hung -= 1
        else:
            self._turns.ended(batch.queue.share, run.expected, run.seconds)
        self.idle.append(batch.executor)

    def give_up(self, now: float) -> list[Batch[Item, Result]]:
        """Give up the runs whose time limit has passed at *now*; return only these batches."""
        lost = [it for it in self._running if it.hangs_at <= now and not it.hung]
        for batch in lost:
            batch.hung = True
            self.hung += 1
            self._turns.ended(batch.queue.share, batch.run.expected, now - batch.run.started)
        return lost

    def hangs_at(self) -> float:
        """Return the earliest time at which a run is to be given up; inf if there is none."""
        return min([it.hangs_at for it in self._running if not it.hung], default=inf)

    def free_in(self, now: float) -> float:
        """Return the expected seconds from *now* until a lane is idle; inf if all lanes hang."""
        if self.idle:
            return 0.0
        ends = [it.run.started + it.run.expected for it in self._running if not it.hung]
        return max(0.0, min(ends, default=inf) - now)
