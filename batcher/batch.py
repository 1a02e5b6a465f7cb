"""
A batch: its parts, how its results are assigned to its requests, and on which lane it runs.

Pure: fires no Deferred and reads no clock.
"""

from collections.abc import Sequence
from typing import Generic

from batcher.errors import ResultCountMismatch
from batcher.executor import Executor, Item, Result
from batcher.queue import Queue
from batcher.request import Part, Request
from batcher.trace import Run


class Batch(Generic[Item, Result]):
    """
    One or more parts of requests of the same queue, in the order in which they were taken.

    `run`, `executor` and `hangs_at` are set by `Lanes.launch`, and not before.
    """

    __slots__ = ("executor", "hangs_at", "hung", "parts", "rows", "run")

    run: Run
    executor: Executor[Item, Result]  #: the lane on which it runs
    hangs_at: float  #: the time at which its run is given up

    def __init__(self, parts: list[Part[Item, Result]]) -> None:
        self.parts = parts
        self.rows = sum([part.stop - part.start for part in parts])
        self.hung = False  #: its run was given up

    @property
    def queue(self) -> Queue[Item, Result]:
        """The queue of all its requests."""
        return self.parts[0].request.queue

    @property
    def open_parts(self) -> list[Part[Item, Result]]:
        """The parts whose requests are open: their outcomes are not known yet."""
        return [part for part in self.parts if part.request.open]

    def launched(self) -> None:
        """Record its run in the traces of its requests."""
        run = self.run
        for part in self.parts:
            trace = part.request.trace
            if trace is not None:
                trace.set_queued(run.started - part.request.arrived)
                trace.runs.append(run)

    def split_overhead(self) -> tuple[float, float]:
        """
        Set the dispatch overhead of its run, which has succeeded.

        Return the seconds of the run itself, and those of the dispatch overhead.
        """
        taken, own = self.run.seconds or 0.0, self.executor.seconds
        run_seconds = taken if own is None else max(0.0, min(own, taken))
        self.run.dispatch_overhead = taken - run_seconds
        return run_seconds, self.run.dispatch_overhead

    def scatter(self, results: Sequence[Result]) -> list[Request[Item, Result]]:
        """
        Store in each open request the result of its part; return the open requests in order.

        *results* has one result for each part, in the same order; otherwise raises
        `ResultCountMismatch` and stores none.
        """
        if len(results) != len(self.parts):
            raise ResultCountMismatch(expected=len(self.parts), got=len(results))
        requests = []
        for part, result in zip(self.parts, results, strict=True):
            request = part.request
            if request.open:
                request.add(part, result)
                requests.append(request)
        return requests
