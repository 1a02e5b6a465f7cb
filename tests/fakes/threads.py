"""Fakes of threads, and of the calls between them and the reactor."""

from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class FakeThread:
    """A thread that is alive until a test sets *alive* to False."""

    def __init__(self) -> None:
        self.alive = True

    def is_alive(self) -> bool:
        """Return *alive*."""
        return self.alive


class ManualThreads:
    """
    A pool of one thread that works at each `step`; with *inline*, at once and inside the call.

    Like Twisted's pool, `stop` completes the work that is still in its queue.
    """

    def __init__(self, *, inline: bool = False) -> None:
        self.threads: list[FakeThread] = []
        self.queue: deque[Callable[[], object]] = deque()
        self.inline = inline

    def start(self) -> None:
        """Start a thread."""
        self.threads.append(FakeThread())

    def stop(self) -> None:
        """Complete the queued work, and end all threads."""
        while self.queue:
            self.step()
        for thread in self.threads:
            thread.alive = False

    def alive(self) -> bool:
        """Return whether a thread is alive."""
        return any(thread.alive for thread in self.threads)

    def callInThread(self, func: Callable[[], object]) -> None:
        """Queue *func*, or call it."""
        self.queue.append(func)
        if self.inline:
            self.step()

    def step(self) -> None:
        """Call the oldest function in the queue."""
        self.queue.popleft()()


class Calls:
    """A `callFromThread` whose calls a test makes; may be called on any thread."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def __call__(self, function: Callable[..., object], *args: object) -> None:
        """Queue a call, as the reactor's callFromThread does."""
        self._calls.put(partial(function, *args))

    def step(self) -> None:
        """Make the oldest call; wait up to 30 seconds for one."""
        self._calls.get(timeout=30)()

    def drain(self) -> None:
        """Make all queued calls."""
        while not self._calls.empty():
            self.step()


def outcomes(deferred: Deferred[T]) -> list[object]:
    """Return a list that gets the result of *deferred*; of a failure, its exception."""
    fired: list[object] = []

    def note(result: object) -> None:
        fired.append(result.value if isinstance(result, Failure) else result)

    deferred.addBoth(note)
    return fired


def kinds(fired: list[object]) -> list[type]:
    """Return the types of the outcomes *fired*."""
    return [type(result) for result in fired]
