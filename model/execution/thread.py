"""
Run calls one after the other on a thread of their own: the only kind that runs a batch.

The thread starter and the queue are handed in, so that a test steps a model thread by hand.
"""

import os
import threading
from collections.abc import Callable
from enum import Enum
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")

#: Starts a thread that runs the call and ends with it; the string names it.
ThreadStarter = Callable[[Callable[[], None], str], object]

#: Makes the reactor thread call a function soon; safe to use from any thread.
CallFromThread = Callable[..., object]


class JobQueue(Protocol):
    """What a model thread needs of `queue.SimpleQueue`."""

    def put(self, job: "Job | Stop") -> None:
        """Add *job* at the end; never waits."""

    def get(self) -> "Job | Stop":
        """Wait for the first job and take it."""


class ThreadStopped(RuntimeError):
    """A call came after the model thread was told to stop, or before it was started."""


class Stop(Enum):
    """The job that ends a model thread."""

    STOP = 0


class Job:
    """One call and the Deferred that its outcome goes to."""

    __slots__ = ("answer", "call")

    def __init__(self, call: Callable[[], object], answer: "Deferred[object]") -> None:
        self.call = call
        self.answer = answer


def start_daemon_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread that does not keep the process alive, should a run hang for ever."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


class ModelThread:
    """
    One thread and its queue.

    `call`, `stop` and the properties belong to the reactor thread; the calls run on the model
    thread.  *seconds* is a monotonic clock that both may read.  *give_way* lets go of the
    interpreter lock: the model thread, woken by a call, may begin before the caller goes on.
    """

    def __init__(
        self,
        name: str,
        queue: JobQueue,
        *,
        call_from_thread: CallFromThread,
        seconds: Callable[[], float],
        start_thread: ThreadStarter = start_daemon_thread,
        give_way: Callable[[], object] = os.sched_yield,
    ) -> None:
        self.name = name
        self._queue = queue
        self._call_from_thread = call_from_thread
        self.seconds = seconds  #: the clock's time; any thread may ask
        self._start_thread = start_thread
        self._give_way = give_way
        self._stopped: Deferred[None] | None = None
        #: When the thread last took or finished a call: its heartbeat, in seconds of the clock.
        self.last_beat = seconds()
        #: Whether the thread runs its loop.
        self.alive = False

    def start(self) -> None:
        """Start the thread."""
        self.alive = True
        self._start_thread(self._work, self.name)

    def call(self, function: Callable[[], T]) -> "Deferred[T]":
        """
        Return a Deferred of *function()*, run on the model thread after all earlier calls.

        It fires on the reactor thread.  After `stop` it fails with `ThreadStopped`.
        """
        answer: Deferred[T] = Deferred()
        if self._stopped is not None or not self.alive:
            answer.errback(Failure(ThreadStopped(f"the model thread {self.name} has stopped")))
        else:
            self._queue.put(Job(function, answer))  # type: ignore[arg-type]  # T is forgotten
            self._give_way()
        return answer

    def ping(self) -> None:
        """Ask an idle thread for a heartbeat."""
        if self.alive and self._stopped is None:
            self._queue.put(Job(lambda: None, Deferred()))

    def stop(self) -> "Deferred[None]":
        """End the thread after the calls that it was given; fires when it has ended."""
        if self._stopped is None:
            self._stopped = Deferred()
            if self.alive:
                self._queue.put(Stop.STOP)
            else:
                self._stopped.callback(None)
        return self._stopped

    def _work(self) -> None:
        while self.step():
            pass

    def step(self) -> bool:
        """Take one job and do it, on the model thread; return whether more may come."""
        job = self._queue.get()
        self.last_beat = self.seconds()
        if job is Stop.STOP:
            self._call_from_thread(self._ended)
            return False
        try:
            outcome: object = job.call()
        except BaseException:  # noqa: BLE001 - whatever it was belongs to the caller
            outcome = Failure()
        self.last_beat = self.seconds()
        self._call_from_thread(job.answer.callback, outcome)
        return True

    def _ended(self) -> None:
        self.alive = False
        if self._stopped is not None:
            self._stopped.callback(None)
