"""
The supervisor's end of the reports: ask all workers, add up, answer the worker that asks.

A count of all workers never falls.  A worker sends its counts before it unloads its models; if it
crashes, the counts since its last report are lost, which are those of at most `POLL_SECONDS`.  Runs
on the reactor thread of the supervisor, which serves no requests: to add up the readings of one
worker with 50 models takes some milliseconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, TypeVar

import orjson
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from server.discovery.announcer import Announcement
from server.discovery.worker_record import ModelLoad
from server.metrics.declared import (
    ANNOUNCE_FAILURES,
    ANNOUNCED,
    WORKER_RESTARTS,
    WORKERS,
    WORKERS_READY,
    WORKERS_SILENT,
)
from server.metrics.readings import Readings, from_content, to_json
from server.workers.channel import Channel, ChannelError, Handler
from server.workers.kept_counts import KeptCounts
from server.workers.sums import combined_load, is_ready

T = TypeVar("T")

_log = Logger()

#: Seconds between two reports of each worker.
POLL_SECONDS = 5.0

#: A worker that has not answered after these seconds is left out.
MAX_ANSWER_SECONDS = 1.0


#: The state of a worker that has not begun to take requests, and may not answer yet.
STARTING_STATE = "starting"

#: The state of a worker that takes requests.
READY_STATE = "ready"


@dataclass(frozen=True, slots=True)
class Worker:
    """One process of a worker."""

    index: int  #: the number of the worker, from 0; its successor has the same
    pid: int
    state: str  #: its stage, in one word for users: the value of a `slot.Stage`
    channel: Channel


class GroupReports:
    """The reports of all workers together."""

    def __init__(
        self,
        workers: Callable[[], Sequence[Worker]],
        clock: IReactorTime,
        *,
        configured: int,
        restarts: Callable[[], int],
        announcement: Announcement,
    ) -> None:
        """
        *workers* returns all processes that have a channel and have not ended: also those that
        start or drain.  *configured* is the number of workers in the settings; *restarts* returns
        the number of restarts so far.  *announcement* is that of all workers as one server.
        """
        self._workers = workers
        self._configured = configured
        self._restarts = restarts
        self._announcement = announcement
        self._counts = KeptCounts()
        self._logged: set[tuple[int, str]] = set()  # the processes and calls without an answer
        self._poll = LoopingCall(self.collect)
        self._poll.clock = clock

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers for the channel to each worker."""
        return {
            "readings": lambda _: Deferred.fromCoroutine(self._readings()),
            "status": lambda _: Deferred.fromCoroutine(self._status()),
            "last_readings": self._last_readings,
        }

    def start(self) -> None:
        """Begin to ask the workers every `POLL_SECONDS`."""
        polling = self._poll.start(POLL_SECONDS, now=False)
        polling.addErrback(lambda it: _log.failure("the workers are not asked any more", it))

    def stop(self) -> None:
        """Ask no more; a second call does nothing."""
        if self._poll.running:
            self._poll.stop()

    def collect(self) -> Deferred[Readings]:
        """Return a Deferred of the sum of the readings of all workers; it does not fail."""
        return Deferred.fromCoroutine(self._collect())

    async def _collect(self) -> Readings:
        answered: set[int] = set()
        ready: set[int] = set()

        def note(worker: Worker, content: Any) -> None:  # Any: JSON
            # At once, not when all have answered: meanwhile the worker may send its last readings,
            # or end.  The reports of one worker arrive in the order in which it has read them.
            if worker.pid not in self._running():
                return  # its counts are kept already
            readings = from_content(content)
            self._counts.report(worker.pid, readings)
            answered.add(worker.pid)
            if is_ready(readings):
                ready.add(worker.pid)

        await self._ask(self._workers(), "readings", note)
        running = self._running()
        self._counts.forget_ended(running)
        self._logged = {it for it in self._logged if it[0] in running}
        total = self._counts.total(answered & running.keys())
        total.add(WORKERS, self._configured)
        total.add(WORKERS_READY, len({running[it] for it in ready & running.keys()}))
        expected = {it.pid for it in self._workers() if it.state != STARTING_STATE}
        total.add(WORKERS_SILENT, len(expected - answered))
        total.add(WORKER_RESTARTS, self._restarts())
        total.add(ANNOUNCED, self._announcement.is_registered)
        total.add(ANNOUNCE_FAILURES, self._announcement.failures)
        return total

    def _running(self) -> dict[int, int]:
        """Return the number of the worker of each process that has not ended, by process id."""
        return {it.pid: it.index for it in self._workers()}

    async def _readings(self) -> orjson.Fragment:
        return orjson.Fragment(to_json(await self.collect()))

    def _last_readings(self, argument: Any) -> None:  # Any: JSON
        """Called by a worker that has answered its last request."""
        if argument["pid"] in self._running():
            self._counts.report(argument["pid"], from_content(argument["readings"]))

    async def _status(self) -> list[dict[str, object]]:
        """Return the status of each worker, in their order, as `GET /status` shows it."""
        workers = sorted(self._workers(), key=lambda it: (it.index, it.pid))
        found = await self._ask(workers, "status", lambda _, content: dict(content))
        unknown = {"lanes": None, "expected_wait_ms": None}
        return [
            {"index": it.index, "pid": it.pid, "state": it.state, **(status or unknown)}
            for it, status in zip(workers, found, strict=True)
        ]

    async def loads(self) -> dict[str, ModelLoad]:
        """Return the load of the ready workers together, by model."""
        ready = [it for it in self._workers() if it.state == READY_STATE]
        found = await self._ask(ready, "load", lambda _, content: _loads_from(content))
        return combined_load([it for it in found if it is not None])

    async def _ask(
        self, workers: Sequence[Worker], name: str, read: Callable[[Worker, Any], T]
    ) -> list[T | None]:
        """
        Call *name* of each of *workers*; return what *read* makes of their answers.

        *read* is called with each worker and its answer, in JSON, when it arrives; None stands for
        an answer that does not arrive in time, or that *read* fails for.
        """
        return await gatherResults(
            [
                it.channel.call(name, timeout=MAX_ANSWER_SECONDS)
                .addCallback(partial(read, it))
                .addErrback(self._no_answer, it, name)
                for it in workers
            ]
        )

    def _no_answer(self, failure: Failure, worker: Worker, name: str) -> None:
        """Log the reason, once for each process and call; not while the process starts."""
        if worker.state == STARTING_STATE and failure.check(ChannelError):
            return
        if (worker.pid, name) in self._logged:
            return
        self._logged.add((worker.pid, name))
        if failure.check(ChannelError):
            reason = failure.getErrorMessage()
            _log.info("worker {index} does not report: {why}", index=worker.index, why=reason)
        else:
            text = "worker {index}: its {name} cannot be read"
            _log.failure(text, failure, index=worker.index, name=name)


def _loads_from(content: Any) -> dict[str, ModelLoad]:  # Any: JSON
    """Return the loads in *content*, which `worker_reports.loads_to` has made."""

    def seconds(wait: float | None) -> float:
        return inf if wait is None else wait

    return {
        name: ModelLoad(seconds(wait), seconds(added), tuple(versions))
        for name, (wait, added, versions) in content.items()
    }
