"""
Run calls one after the other on a dedicated thread, a model thread.

Batches run only on model threads.  The thread starter and the queue are arguments, so that a test
can step a model thread by hand.
"""

import os
import threading
from collections.abc import Callable
from enum import Enum
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")

#: Starts a thread of the given name, which runs the call and ends when the call returns.
ThreadStarter = Callable[[Callable[[], None], str], object]

#: The reactor's ``callFromThread``: schedules a call on the reactor thread, from any thread.
CallFromThread = Callable[..., object]


class JobQueue(Protocol):
    """The part of `queue.SimpleQueue` that a model thread uses."""

    def put(self, job: "Job | Sentinel") -> None:
        """Add *job* at the end; never blocks."""

    def get(self) -> "Job | Sentinel":
        """Remove and return the first job; block until there is one."""


class ThreadStopped(RuntimeError):
    """A call was made before the model thread was started, or after `stop`."""


class Sentinel(Enum):
    """The entry of the queue that ends a model thread."""

    STOP = 0


class Job:
    """One call, and the Deferred that fires with its result or failure."""

    __slots__ = ("call", "deferred")

    def __init__(self, call: Callable[[], object], deferred: "Deferred[object]") -> None:
        self.call = call
        self.deferred = deferred


def start_daemon_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Start a daemon thread: a run that hangs must not keep the process alive."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


class ModelThread:
    """
    One thread and its queue.

    Call all methods but `step` on the reactor thread; what `call` queues runs on the model thread.
    *seconds* returns the time of a monotonic clock, on both threads.  *yield_cpu* releases the
    interpreter lock, so that the model thread can begin a new call before the reactor thread
    continues.
    """

    def __init__(
        self,
        name: str,
        queue: JobQueue,
        *,
        call_from_thread: CallFromThread,
        seconds: Callable[[], float],
        start_thread: ThreadStarter = start_daemon_thread,
        yield_cpu: Callable[[], object] = os.sched_yield,
    ) -> None:
        self.name = name
        self._queue = queue
        self._call_from_thread = call_from_thread
        self.seconds = seconds  #: returns the time of the clock; any thread may call it
        self._start_thread = start_thread
        self._yield_cpu = yield_cpu
        self._stopped: Deferred[None] | None = None
        #: When the thread last began or finished a call, in seconds of the clock.
        self.last_heartbeat = seconds()
        #: Whether the thread was started and has not ended.
        self.alive = False

    def start(self) -> None:
        """Start the thread."""
        self.alive = True
        self._start_thread(self._run_jobs, self.name)

    def call(self, function: Callable[[], T]) -> "Deferred[T]":
        """
        Run *function* on the model thread after all earlier calls.

        The Deferred fires on the reactor thread, with the result or the error of *function*.  It
        fails with `ThreadStopped` before `start` and after `stop`.
        """
        deferred: Deferred[T] = Deferred()
        if self._stopped is not None or not self.alive:
            deferred.errback(Failure(ThreadStopped(f"the model thread {self.name} has stopped")))
        else:
            self._queue.put(Job(function, deferred))  # type: ignore[arg-type]  # a Job drops T
            self._yield_cpu()
        return deferred

    def ping(self) -> None:
        """Queue an empty call, which renews the heartbeat of an idle thread."""
        if self.alive and self._stopped is None:
            self._queue.put(Job(lambda: None, Deferred()))

    def stop(self) -> "Deferred[None]":
        """End the thread after all earlier calls; the Deferred fires when it has ended."""
        if self._stopped is None:
            self._stopped = Deferred()
            if self.alive:
                self._queue.put(Sentinel.STOP)
            else:
                self._stopped.callback(None)
        return self._stopped

    def _run_jobs(self) -> None:
        while self.step():
            pass

    def step(self) -> bool:
        """Wait for the next job and run it, on the model thread; return False if it must end."""
        job = self._queue.get()
        self.last_heartbeat = self.seconds()
        if job is Sentinel.STOP:
            self._call_from_thread(self._ended)
            return False
        try:
            outcome: object = job.call()
        except BaseException:  # noqa: BLE001 - any error belongs to the caller
            outcome = Failure()
        self.last_heartbeat = self.seconds()
        self._call_from_thread(job.deferred.callback, outcome)
        return True

    def _ended(self) -> None:
        self.alive = False
        if self._stopped is not None:
            self._stopped.callback(None)


async def call_on(thread: ModelThread | None, function: Callable[[], T]) -> T:
    """Return what *function* returns on *thread*; without one, on the calling thread."""
    return function() if thread is None else await thread.call(function)
