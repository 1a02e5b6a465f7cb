"""Fakes of threads and of the reactor's calls."""

from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class FakeThread:
    """A thread whose state the test sets."""

    def __init__(self) -> None:
        self.alive = True

    def is_alive(self) -> bool:
        """Return the state that the test has set."""
        return self.alive


class ManualThreads:
    """
    A pool of one thread that runs a job at each `step`.

    Like Twisted's pool, it runs the jobs in its queue when it stops.
    """

    def __init__(self) -> None:
        self.threads: list[FakeThread] = []
        self.queue: deque[Callable[[], object]] = deque()

    def start(self) -> None:
        """Start the thread."""
        self.threads.append(FakeThread())

    def stop(self) -> None:
        """Run the queued jobs, then end the thread."""
        while self.queue:
            self.step()
        for thread in self.threads:
            thread.alive = False

    def alive(self) -> bool:
        """Return whether a thread has started and not ended."""
        return any(thread.alive for thread in self.threads)

    def callInThread(self, func: Callable[[], object]) -> None:
        """Queue *func*."""
        self.queue.append(func)

    def step(self) -> None:
        """Run the oldest job."""
        self.queue.popleft()()


class Calls:
    """A fake ``callFromThread``: makes one call at each `step`; any thread may add calls."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def __call__(self, function: Callable[..., object], *args: object) -> None:
        """Add a call, as the reactor's callFromThread does."""
        self._calls.put(partial(function, *args))

    def step(self) -> None:
        """Make the oldest call; wait up to 30 seconds for it."""
        self._calls.get(timeout=30)()

    def drain(self) -> None:
        """Make all calls that were added."""
        while not self._calls.empty():
            self.step()


def outcomes(deferred: Deferred[T]) -> list[object]:
    """Return a list that gets the result of *deferred*, or the exception of its failure."""
    fired: list[object] = []

    def note(result: object) -> None:
        fired.append(result.value if isinstance(result, Failure) else result)

    deferred.addBoth(note)
    return fired


def kinds(fired: list[object]) -> list[type]:
    """Return the types of the results in *fired*."""
    return [type(result) for result in fired]
