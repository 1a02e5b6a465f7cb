"""Requests at a steady rate, on several connections, while a test changes what is served."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from time import monotonic

from tests.integration.clients import Answer, ask, connect
from tests.integration.repositories import code_of, outputs, rows_body
from tests.integration.servers import wait_for

CONNECTIONS = 4

#: Seconds from one request of a connection to its next one.
INTERVAL = 0.08


class OpenLoad:
    """
    Asks the models of `write_adder` at *paths* in turn, each connection one request per interval.

    A late answer delays no later request.  A connection ends with its first request without an
    answer.
    """

    def __init__(self, port: int, paths: Sequence[str]) -> None:
        self._port = port
        self._paths = paths
        self._ended = threading.Event()
        self._answers: list[list[Answer]] = [[] for _ in range(CONNECTIONS)]
        #: When the requests without an answer were sent, by the monotonic clock.
        self.unanswered: list[float] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(own,), daemon=True) for own in self._answers
        ]
        for thread in self._threads:
            thread.start()

    @property
    def answers(self) -> list[Answer]:
        """The answers so far, on all connections."""
        return [answer for own in self._answers for answer in list(own)]

    @property
    def versions(self) -> list[str]:
        """The versions that gave the answers of the first connection, without repetitions."""
        found = [answer.headers.get("x-model-version", "none") for answer in list(self._answers[0])]
        return [it for at, it in enumerate(found) if found[at - 1 : at] != [it]]

    def wait(self, seconds: float) -> None:
        """Return when as many more requests are answered as are sent in *seconds*."""
        wanted = len(self.answers) + int(CONNECTIONS * seconds / INTERVAL)
        wait_for(lambda: len(self.answers) >= wanted, "answers", 60)

    def end(self) -> None:
        """Send no more requests."""
        self._ended.set()
        self.join()

    def join(self) -> None:
        """Wait until all threads have ended."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def check(self) -> None:
        """Check that every answer is right for the version that it states."""
        for own in self._answers:
            assert own, "a connection without an answer"
            for number, answer in enumerate(own):
                row = outputs(answer)[0]
                version = int(answer.headers["x-model-version"].rpartition("/")[2])
                code = code_of(0, version)
                assert row == [number % 50 + code, code]

    def _ask(self, own: list[Answer]) -> None:
        connection, due = connect(self._port), monotonic()
        while not self._ended.wait(max(0.0, due - monotonic())):
            path = self._paths[len(own) % len(self._paths)]
            began = monotonic()
            try:
                own.append(ask(connection, rows_body([len(own) % 50, 0]), path=path))
            except (OSError, HTTPException):
                self.unanswered.append(began)
                break
            due += INTERVAL
        connection.close()


@contextmanager
def under_load(port: int, *paths: str) -> Iterator[OpenLoad]:
    """Ask the models at *paths* while a block runs; every request must be answered, and right."""
    load = OpenLoad(port, paths)
    try:
        load.wait(0.4)
        yield load
        load.wait(0.4)
    finally:
        load.end()
    assert load.unanswered == []
    load.check()
