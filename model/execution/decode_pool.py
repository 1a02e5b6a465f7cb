"""
Run the decoding of images on threads of their own.

Decides when work may begin, who hears of its end, and what a stop does to the rest.  Not the
reactor's own pool: that one resolves names and reads files, which must not wait behind images.
Knows nothing of images; may not import Pillow, numpy or the reactor.
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

from model.execution.cores import usable_cores

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class PoolNotRunning(Exception):
    """The work was not begun: the pool has not started, is stopping or has stopped."""


class PoolThread(Protocol):
    """What tells whether a pool is well."""

    def is_alive(self) -> bool:
        """Return whether the thread is running."""


class Threads(Protocol):
    """The part of Twisted's ThreadPool that is used here."""

    @property
    def threads(self) -> Sequence[PoolThread]:
        """All threads that were started."""

    def start(self) -> None:
        """Start the threads."""

    def stop(self) -> None:
        """End the threads and wait until they have ended."""

    def callInThread(self, func: Callable[[], object]) -> None:
        """Call *func* on one of the threads, once one is free."""


def default_threads() -> int:
    """Return how many threads decode: one less than this process has cores, but at least 1."""
    return max(1, usable_cores() - 1)


class _State(Enum):
    """The pool's; each leads to the next, and NEW also straight to STOPPED."""

    NEW = "not started"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class _Stage(Enum):
    """A piece of work's: WAITING leads to one of the others."""

    WAITING = "waiting"
    RUNNING = "running"
    WITHDRAWN = "withdrawn"


@dataclass(eq=False, slots=True)
class _Work:
    call: Callable[[], object]
    deferred: Deferred[object]
    took: Callable[[float], object] | None
    stage: _Stage = _Stage.WAITING


class DecodePool:
    """
    Threads for decoding, and a Deferred for each piece of work.

    Construction starts nothing.  All of this is for the reactor's thread, and every Deferred
    fires there, exactly once.
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
        *call_from_thread* is the reactor's ``callFromThread``; *threads* is `default_threads`
        unless told; *pool* has that many threads; *clock*, in seconds, is read on them.
        """
        self.threads = default_threads() if threads is None else threads
        self._pool = pool or ThreadPool(self.threads, self.threads, name="decode")
        self._call_from_thread = call_from_thread
        self._clock = clock
        self._state = _State.NEW
        self._lock = threading.Lock()  # guards every stage, and _working
        self._working = 0
        self._unanswered: dict[_Work, None] = {}  # oldest first; the reactor's thread alone
        self._stops: list[Deferred[None]] = []

    @property
    def working(self) -> int:
        """How many pieces of work are on a thread, or back from it and not yet answered."""
        return self._working

    @property
    def waiting(self) -> int:
        """How many pieces of work wait for a thread."""
        return self.pending - self._working

    @property
    def pending(self) -> int:
        """How many pieces of work are not answered yet."""
        return len(self._unanswered)

    def alive(self) -> bool:
        """Return whether work can be given, and no thread has died."""
        return self._state is _State.RUNNING and all(
            thread.is_alive() for thread in self._pool.threads
        )

    def start(self) -> None:
        """Start the threads.  Raises RuntimeError unless this is the first start or stop."""
        if self._state is not _State.NEW:
            raise RuntimeError(f"a decode pool that is {self._state.value} cannot be started")
        self._state = _State.RUNNING
        self._pool.start()

    def run(
        self,
        function: Callable[[*Ts], T],
        *args: *Ts,
        took: Callable[[float], object] | None = None,
    ) -> Deferred[T]:
        """
        Call *function* on a decode thread; fire with what it returns or raises.

        *took* is called just before, with the seconds spent in *function*.  A cancel before the
        work has begun means that it never runs; a later one lets it run and drops its result,
        and *took* is not called.  Fails with PoolNotRunning before the start and after a stop.
        """
        if self._state is not _State.RUNNING:
            return fail(PoolNotRunning(f"the decode pool is {self._state.value}"))

        def cancel(_: Deferred[object]) -> None:
            self._withdraw(work)

        work = _Work(partial(function, *args), Deferred(cancel), took)
        self._unanswered[work] = None
        self._pool.callInThread(partial(self._perform, work))
        return cast("Deferred[T]", work.deferred)

    def stop(self) -> Deferred[None]:
        """
        Fail what waits with PoolNotRunning, let what runs end and be answered, end the threads.

        Fires when that is done; never blocks for longer than idle threads take to end.
        Cancelling gives up the wait, not the stop.  May be called at any time, and again.
        """
        if self._state is _State.NEW:
            self._state = _State.STOPPED
        if self._state is _State.STOPPED:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stops.append(stopped)
        if self._state is _State.RUNNING:
            self._state = _State.STOPPING
            for work in list(self._unanswered):
                if self._withdraw(work):
                    refusal = PoolNotRunning("the decode pool was stopped before the work began")
                    work.deferred.errback(refusal)
            self._stop_if_idle()
        return stopped

    def _withdraw(self, work: _Work) -> bool:
        """Take *work* back unless it has begun; return whether that succeeded."""
        with self._lock:
            if work.stage is not _Stage.WAITING:
                return False
            work.stage = _Stage.WITHDRAWN
        work.call = _forgotten  # the pool keeps the work in its queue, but not the image
        del self._unanswered[work]
        return True

    def _perform(self, work: _Work) -> None:
        """Do *work* unless it was withdrawn.  On a decode thread."""
        with self._lock:
            if work.stage is not _Stage.WAITING:
                return
            work.stage = _Stage.RUNNING
            self._working += 1
        began = self._clock()
        try:
            result = work.call()
        except BaseException:  # noqa: BLE001 - whatever it was, the Deferred must fire
            result = Failure()
        self._call_from_thread(self._answer, work, result, self._clock() - began)

    def _answer(self, work: _Work, result: object, seconds: float) -> None:
        """Tell the owner of *work* how it ended, unless it has been cancelled meanwhile."""
        with self._lock:
            self._working -= 1
        del self._unanswered[work]
        try:
            if not work.deferred.called:
                self._fire(work, result, seconds)
        finally:
            self._stop_if_idle()

    @staticmethod
    def _fire(work: _Work, result: object, seconds: float) -> None:
        try:
            if work.took is not None:
                work.took(seconds)
        finally:
            work.deferred.callback(result)  # a Failure takes the way of an errback

    def _stop_if_idle(self) -> None:
        if self._state is _State.STOPPING and not self._unanswered:
            self._state = _State.STOPPED
            self._pool.stop()
            stops, self._stops = self._stops, []
            for stopped in stops:
                stopped.callback(None)


def _forgotten() -> None:
    """Stand in for a call whose arguments are no longer to be kept alive."""
