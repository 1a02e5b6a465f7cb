"""Fakes that stand in for threads."""

from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class FakeThread:
    """A thread that is alive until it is told otherwise."""

    def __init__(self) -> None:
        self.alive = True

    def is_alive(self) -> bool:
        """Return what was set."""
        return self.alive


class ManualThreads:
    """
    A pool of one thread that works when told; with *inline*, at once and inside the call.

    Like Twisted's, it does at its stop what is still in its queue.
    """

    def __init__(self, *, inline: bool = False) -> None:
        self.threads: list[FakeThread] = []
        self.queue: deque[Callable[[], object]] = deque()
        self.inline = inline

    def start(self) -> None:
        """Come alive."""
        self.threads.append(FakeThread())

    def stop(self) -> None:
        """Empty the queue and end."""
        while self.queue:
            self.step()
        for thread in self.threads:
            thread.alive = False

    def alive(self) -> bool:
        """Return whether a thread is there that has not ended."""
        return any(thread.alive for thread in self.threads)

    def callInThread(self, func: Callable[[], object]) -> None:
        """Queue *func*, or call it."""
        self.queue.append(func)
        if self.inline:
            self.step()

    def step(self) -> None:
        """Do the oldest piece of work."""
        self.queue.popleft()()


class Calls:
    """Calls for the reactor's thread, made when told; safe to fill from any thread."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def __call__(self, function: Callable[..., object], *args: object) -> None:
        """Stand in for the reactor's callFromThread."""
        self._calls.put(partial(function, *args))

    def step(self) -> None:
        """Make the oldest call; wait for it if need be, but not for ever."""
        self._calls.get(timeout=30)()

    def drain(self) -> None:
        """Make all calls that are there."""
        while not self._calls.empty():
            self.step()


def outcomes(deferred: Deferred[T]) -> list[object]:
    """Return a list that will hold what *deferred* fires with; of a failure, its exception."""
    fired: list[object] = []

    def note(result: object) -> None:
        fired.append(result.value if isinstance(result, Failure) else result)

    deferred.addBoth(note)
    return fired


def kinds(fired: list[object]) -> list[type]:
    """Return the types of what has fired."""
    return [type(result) for result in fired]
