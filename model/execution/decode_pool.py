"""
Decode images on dedicated threads.

Decides when a job may begin, how its result reaches the reactor thread, and what a stop does with
the jobs that wait.  The reactor's own pool is not used: it resolves names and reads files, which
must not wait behind images.  A job may be any function; this module may not import Pillow, numpy or
the reactor.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Protocol, TypeVar, TypeVarTuple, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from batcher.error_kind import ErrorKind, RequestError
from model.execution.cores import usable_cores

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class PoolNotRunning(RequestError):
    """The job did not begin: the pool has not started, is stopping or has stopped."""

    kind = ErrorKind.UNAVAILABLE
    retry_after = 0.0


class PoolThread(Protocol):
    """A thread of the pool, as the health check sees it."""

    def is_alive(self) -> bool:
        """Return whether the thread is running."""


class Threads(Protocol):
    """The part of Twisted's ThreadPool that is used here."""

    @property
    def threads(self) -> Sequence[PoolThread]:
        """The threads that were started."""

    def start(self) -> None:
        """Start the threads."""

    def stop(self) -> None:
        """End the threads; block until they have ended."""

    def callInThread(self, func: Callable[[], object]) -> None:
        """Call *func* on the next thread that is free."""


def default_threads() -> int:
    """Return the number of decode threads: the usable cores minus 1, but at least 1."""
    return max(1, usable_cores() - 1)


class _State(Enum):
    """The states of the pool, in this order; a stop before the start leads from NEW to STOPPED."""

    NEW = "not started"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class _Stage(Enum):
    """The stages of a job: after WAITING it is either RUNNING or WITHDRAWN."""

    WAITING = "waiting"
    RUNNING = "running"
    WITHDRAWN = "withdrawn"


@dataclass(eq=False, slots=True)
class _Job:
    call: Callable[[], object]
    deferred: Deferred[object]
    on_duration: Callable[[float], object] | None
    stage: _Stage = _Stage.WAITING


class DecodePool:
    """
    Threads for decoding, and a Deferred for each job.

    The constructor starts no thread.  Call all methods on the reactor thread; every Deferred fires
    there, exactly once.
    """

    def __init__(
        self,
        call_from_thread: Callable[..., object],
        threads: int | None = None,
        *,
        pool: Threads | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        *call_from_thread* is the reactor's ``callFromThread``; *threads* is the number of decode
        threads, `default_threads()` by default; *pool*, if given, must have that number of threads;
        *clock* returns seconds, and is called on the decode threads.
        """
        self.threads = default_threads() if threads is None else threads
        self._pool = pool or ThreadPool(self.threads, self.threads, name="decode")
        self._call_from_thread = call_from_thread
        self._clock = clock
        self._state = _State.NEW
        self._lock = threading.Lock()  # guards the stage of every job, and _running
        self._running = 0
        self._pending: dict[_Job, None] = {}  # oldest first; reactor thread only
        self._stops: list[Deferred[None]] = []

    @property
    def running(self) -> int:
        """The number of jobs that run, or whose result has not reached the reactor thread yet."""
        return self._running

    @property
    def waiting(self) -> int:
        """The number of jobs that wait for a thread."""
        return self.pending - self._running

    @property
    def pending(self) -> int:
        """The number of jobs that wait or run; a job cancelled in its run counts until it ends."""
        return len(self._pending)

    def alive(self) -> bool:
        """Return whether the pool accepts jobs, and all its threads are alive."""
        return self._state is _State.RUNNING and all(
            thread.is_alive() for thread in self._pool.threads
        )

    def start(self) -> None:
        """Start the threads.  Raises RuntimeError after an earlier start or stop."""
        if self._state is not _State.NEW:
            raise RuntimeError(f"a decode pool that is {self._state.value} cannot be started")
        self._state = _State.RUNNING
        self._pool.start()

    def run(
        self,
        function: Callable[[*Ts], T],
        *args: *Ts,
        on_duration: Callable[[float], object] | None = None,
    ) -> Deferred[T]:
        """
        Call *function* with *args* on a decode thread; fire with its result or its error.

        *on_duration* is called just before the Deferred fires, with the seconds spent in
        *function*.  A job that is cancelled before it has begun never runs.  A job that is
        cancelled later runs to its end; its result is dropped, and *on_duration* is not called.
        The Deferred fails with `PoolNotRunning` before `start` and after `stop`.
        """
        if self._state is not _State.RUNNING:
            return fail(PoolNotRunning(f"the decode pool is {self._state.value}"))

        def cancel(_: Deferred[object]) -> None:
            self._withdraw(job)

        job = _Job(partial(function, *args), Deferred(cancel), on_duration)
        self._pending[job] = None
        self._pool.callInThread(partial(self._run_job, job))
        return cast("Deferred[T]", job.deferred)

    def stop(self) -> Deferred[None]:
        """
        End the threads after the jobs that run; the jobs that wait fail with `PoolNotRunning`.

        The Deferred fires when the threads have ended; cancelling it does not cancel the stop.  The
        reactor thread is blocked only while idle threads end.  May be called at any time, and more
        than once.
        """
        if self._state is _State.NEW:
            self._state = _State.STOPPED
        if self._state is _State.STOPPED:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stops.append(stopped)
        if self._state is _State.RUNNING:
            self._state = _State.STOPPING
            for job in list(self._pending):
                if self._withdraw(job):
                    refusal = PoolNotRunning("the decode pool was stopped before the job began")
                    job.deferred.errback(refusal)
            self._stop_if_idle()
        return stopped

    def _withdraw(self, job: _Job) -> bool:
        """Withdraw *job* unless it has begun; return whether it was withdrawn."""
        with self._lock:
            if job.stage is not _Stage.WAITING:
                return False
            job.stage = _Stage.WITHDRAWN
        job.call = _do_nothing  # the job stays in the queue of the threads, but frees its image
        del self._pending[job]
        return True

    def _run_job(self, job: _Job) -> None:
        """Run *job* unless it was withdrawn.  Called on a decode thread."""
        with self._lock:
            if job.stage is not _Stage.WAITING:
                return
            job.stage = _Stage.RUNNING
            self._running += 1
        began = self._clock()
        try:
            result = job.call()
        except BaseException:  # noqa: BLE001 - the Deferred must fire after any error
            result = Failure()
        self._call_from_thread(self._deliver, job, result, self._clock() - began)

    def _deliver(self, job: _Job, result: object, seconds: float) -> None:
        """Fire the Deferred of *job*, unless it was cancelled while the job ran."""
        with self._lock:
            self._running -= 1
        del self._pending[job]
        try:
            if not job.deferred.called:
                self._fire(job, result, seconds)
        finally:
            self._stop_if_idle()

    @staticmethod
    def _fire(job: _Job, result: object, seconds: float) -> None:
        try:
            if job.on_duration is not None:
                job.on_duration(seconds)
        finally:
            job.deferred.callback(result)  # a Failure starts the errbacks

    def _stop_if_idle(self) -> None:
        if self._state is _State.STOPPING and not self._pending:
            self._state = _State.STOPPED
            self._pool.stop()
            stops, self._stops = self._stops, []
            for stopped in stops:
                stopped.callback(None)


def _do_nothing() -> None:
    """Do nothing, in place of the call of a withdrawn job, so that its arguments can be freed."""
