"""
Start a supervisor with workers that need no TensorFlow, and post requests to them.
"""

import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from math import inf
from pathlib import Path
from time import monotonic

import numpy as np
import orjson

from tests.fakes.numpy_backend import LinearModel
from tests.integration.clients import open_socket, read_answer, request_bytes
from tests.integration.daemons import has_ended
from tests.integration.servers import Server, started, wait_for

NUMPY_SERVER = (sys.executable, "-P", "-m", "tests.integration.numpy_server")
#: Seconds until all workers of numpy are ready, on a machine that is busy.
START = 60.0
#: Seconds between two requests of a client: less than an idle connection stays open in a drain.
PAUSE = 0.05
REQUEST = {"signature_name": "numbers", "inputs": {"x": [[1.0, 2.0]]}}
JSON = {"Content-Type": "application/json"}


def write_model(folder: Path) -> None:
    """Write the model.npz that `supervising` serves."""
    random = np.random.default_rng(7)
    pixels, numbers = random.normal(size=(4, 5, 3, 3)), random.normal(size=(2, 3))
    model = LinearModel(pixels.astype(np.float32), numbers.astype(np.float32))
    model.save(folder / "model.npz")


@contextmanager
def supervising(folder: Path, *options: str, workers: int = 2) -> Iterator[Server]:
    """Start *workers* workers of the model in *folder*; wait until all are ready."""
    write_model(folder)
    given = (
        "--listen=tcp:0:interface=127.0.0.1",
        "--model=model.npz",
        "--default-timeout=none",
        "--access-log",
        *options,
    )
    with started(
        *given, f"--workers={workers}", cache_home=folder, folder=folder, command=NUMPY_SERVER
    ) as server:
        line = f"{workers} of {workers} workers are ready"
        server.wait_for(lambda: line in server.log, line)
        yield server


def worker_pids(supervisor: int) -> list[int]:
    """Return the processes whose parent is *supervisor*, without those that have ended."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [int(pid) for pid in children if not has_ended(int(pid))]


def answers_of_workers(log: str) -> dict[int, int]:
    """Return the number of answers in the access log, by the number of the worker."""
    found: dict[int, int] = {}
    for number in re.findall(r" worker (\d+): .*POST", log):
        found[int(number)] = found.get(int(number), 0) + 1
    return found


@dataclass(frozen=True, slots=True)
class Failed:
    """A request without a good answer."""

    reason: str
    written: float  #: when it was sent completely, by the monotonic clock; infinity if it was not


class Client:
    """
    A thread that posts one request every `PAUSE` seconds until `stop`.

    A connection carries one request, or with *keep_alive* as many as the server allows.
    """

    def __init__(self, port: int, *, keep_alive: bool) -> None:
        self.answered = 0
        self.failures: list[Failed] = []
        self._written = inf
        self._port = port
        self._request = request_bytes(orjson.dumps(REQUEST), close=not keep_alive, headers=JSON)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Post no more; wait until the last request is answered."""
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a request has no answer"

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE):
            self._written = inf
            try:
                with open_socket(self._port) as raw:
                    while self._can_send_another_after_answer(raw):
                        pass
            except (OSError, HTTPException) as error:
                self.failures.append(Failed(repr(error), self._written))

    def _can_send_another_after_answer(self, raw: socket.socket) -> bool:
        self._written = inf
        with closing(HTTPResponse(raw, method="POST")) as response:
            raw.sendall(self._request)
            self._written = monotonic()
            response.begin()
            status = read_answer(response, self._written).status
        if status != 200:
            self.failures.append(Failed(str(status), self._written))
        self.answered += 1
        return not (response.will_close or self._stopping.wait(PAUSE))


class Load:
    """The requests of many clients at once, half of which keep their connections open."""

    def __init__(self, port: int, clients: int = 32) -> None:
        self._clients = [Client(port, keep_alive=each % 2 == 0) for each in range(clients)]
        self.wait_for_answers(3)

    def wait_for_answers(self, count: int) -> None:
        """Wait until each client has *count* more answers, or a failure."""
        before = [(each, each.answered) for each in self._clients]
        wait_for(
            lambda: all(it.answered >= done + count or it.failures for it, done in before),
            f"{count} answers for each client",
        )

    @property
    def failures(self) -> list[Failed]:
        """The requests that have failed so far."""
        return [failure for each in self._clients for failure in each.failures]

    def stop(self) -> None:
        """Post no more; wait until the last requests are answered."""
        for each in self._clients:
            each.stop()
