"""
The workers that register here, each for the time of a lease that it renews.

Runs on the reactor thread.
"""

from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IReactorTime

from batcher.error_kind import ErrorKind, RequestError
from batcher.timer import DeadlineTimer
from server.discovery.members import Members
from server.discovery.worker_record import WorkerRecord

#: The most workers with a lease.
MAX_WORKERS = 10_000

#: Seconds between two searches for leases that have ended: each looks at all of them.
SEARCH_INTERVAL = 0.125


class TooManyWorkers(RequestError):
    """There is no room for another worker."""

    kind = ErrorKind.OVERLOADED
    retry_after = 10.0


class Leases:
    """Writes the workers with a lease to `members`, and removes those whose lease has ended."""

    def __init__(
        self,
        members: Members,
        clock: IReactorTime,
        *,
        on_gone: Callable[[str, str], object] = lambda *_: None,
        max_workers: int = MAX_WORKERS,
    ) -> None:
        """*on_gone* is called with the id of a worker that is removed, and why, in words."""
        self.members = members
        self.ended = 0  #: leases that have ended so far
        self._clock = clock
        self._on_gone = on_gone
        self._max_workers = max_workers
        self._ends: dict[str, float] = {}
        self._timer = DeadlineTimer(clock, self._end_leases)
        members.is_current()

    def put(self, record: WorkerRecord, lease: float) -> None:
        """
        Write *record*, and renew its lease of *lease* seconds.

        Raises `TooManyWorkers`.
        """
        if record.id not in self._ends and len(self._ends) >= self._max_workers:
            raise TooManyWorkers(f"{self._max_workers} workers are registered, which is the limit")
        end = self._clock.seconds() + lease
        self._ends[record.id] = end
        self.members.put(record)
        self._timer.set(end)

    def remove(self, worker_id: str) -> None:
        """Remove the worker; nothing happens if there is none of this id."""
        if self._ends.pop(worker_id, None) is not None:
            self._on_gone(worker_id, "it has withdrawn")
            self.members.remove(worker_id)

    def stop(self) -> None:
        """Stop the timer."""
        self._timer.set(inf)

    def _end_leases(self) -> None:
        now = self._clock.seconds()
        for worker_id in [it for it, end in self._ends.items() if end <= now]:
            del self._ends[worker_id]
            self.ended += 1
            self._on_gone(worker_id, "its lease has ended")
            self.members.remove(worker_id)
        first = min(self._ends.values(), default=inf)
        if first < inf:
            self._timer.set(max(first, now + SEARCH_INTERVAL))
