"""Clients that post without a pause, and count what fails."""

import threading
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from time import monotonic
from typing import Self

from tests.integration.clients import SOCKET_TIMEOUT
from tests.integration.servers import wait_for


class SteadyLoad:
    """
    One client for each of *bodies*, each in a thread, over a connection that stays open.

    They post for the time of the block; an answer with a status other than 200 is a failure, and so
    is a connection that ends without an answer.
    """

    def __init__(self, port: int, bodies: Sequence[bytes]) -> None:
        self.answered = 0
        self.failures: list[tuple[float, str]] = []  #: when, by the monotonic clock, and the reason
        self._port = port
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(body,), daemon=True) for body in bodies
        ]

    def wait_for_answers(self, count: int) -> None:
        """Wait until so many more requests are answered."""
        enough = self.answered + count
        wait_for(lambda: self.answered >= enough, f"{count} answers: {self.failures[-3:]}", 60)

    def _run(self, body: bytes) -> None:
        while not self._ended.is_set():
            with closing(HTTPConnection("127.0.0.1", self._port, timeout=SOCKET_TIMEOUT)) as one:
                while self._post(one, body) and not self._ended.is_set():
                    pass

    def _post(self, connection: HTTPConnection, body: bytes) -> bool:
        """Post once; return whether the connection can be used again."""
        try:
            connection.request("POST", "/", body)
            response = connection.getresponse()
            text = response.read()
        except (OSError, HTTPException) as error:
            self._fail(repr(error))
            return False
        if response.status != 200:
            self._fail(f"{response.status} {text!r}")
        else:
            with self._lock:
                self.answered += 1
        return not response.will_close

    def _fail(self, reason: str) -> None:
        with self._lock:
            self.failures.append((monotonic(), reason))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(SOCKET_TIMEOUT)
