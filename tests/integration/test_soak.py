"""A minute and more of good, bad and broken traffic at once, and the growth of memory."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import cycle
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.integration.bad_inputs import BAD
from tests.integration.clients import ask, connect, open_socket, post, request_bytes
from tests.integration.photos import KNOWN, jpeg
from tests.integration.servers import ROOT, Server, readiness, resident_bytes, serving

pytestmark = pytest.mark.full

#: Largest growth of memory under traffic, in bytes.
GROWTH = 48 * 2**20


class Traffic:
    """Clients of every kind, for a time; a wrong answer to one of them ends the traffic."""

    def __init__(self, server: Server) -> None:
        self.done: Counter[str] = Counter()
        self.memory: list[int] = []  #: bytes, once a second
        self._server = server
        self._over = threading.Event()

    def flow(self, seconds: float) -> None:
        """Run all clients for *seconds*; raises the error of any of them."""
        clients: list[Callable[[], Iterator[str]]] = [
            *[self._good] * 8,
            self._bad,
            self._hang_up,
            self._give_up_half_way,
        ]
        with ThreadPoolExecutor(len(clients)) as threads:
            running = [threads.submit(self._repeat, client) for client in clients]
            end = monotonic() + seconds
            while monotonic() < end and not any(future.done() for future in running):
                self.memory.append(resident_bytes(self._server.pid))
                sleep(1)
            self._over.set()
            for future in running:
                future.result()

    def _repeat(self, client: Callable[[], Iterator[str]]) -> None:
        for kind in client():
            self.done[kind] += 1
            if self._over.is_set():
                return

    def _good(self) -> Iterator[str]:
        with closing(connect(self._server.port)) as connection:
            for name in cycle(KNOWN):
                assert ask(connection, jpeg(name)).best in KNOWN[name]
                yield "good"

    def _bad(self) -> Iterator[str]:
        for bad in cycle(BAD.values()):
            refused = bad.send(self._server.port)
            assert refused.status == bad.status
            assert bad.reason in refused.error
            yield "bad"

    def _hang_up(self) -> Iterator[str]:
        """Send a complete request, and hang up after different times."""
        for seconds in cycle((0.0, 0.002, 0.005, 0.01, 0.02, 0.05)):
            with open_socket(self._server.port) as raw:
                raw.sendall(request_bytes(jpeg("rocket.jpg")))
                raw.settimeout(seconds or 1e-6)
                with suppress(TimeoutError):
                    raw.recv(1)
            yield "hang-up"

    def _give_up_half_way(self) -> Iterator[str]:
        """Send a part of a request, and hang up."""
        request = request_bytes(jpeg("rocket.jpg"))
        for size in cycle((10, 100, 1000, 10_000, len(request) - 1)):
            with open_socket(self._server.port) as raw:
                raw.sendall(request[:size])
                self._over.wait(0.01)
            yield "half"


def growth(memory: Sequence[int]) -> int:
    """
    Return the least memory of the last quarter minus that of the second quarter, in bytes.

    The least, since a large body is held for a moment only; the second quarter, since pools and
    buffers fill up in the first.
    """
    quarter = len(memory) // 4
    return min(memory[-quarter:]) - min(memory[quarter : 2 * quarter])


def test_mixed_traffic_does_not_grow_the_memory(cache_home: Path, tmp_path: Path) -> None:
    """Every answer is right, memory stays bounded, and the server drains as a new one does."""
    with serving(cache_home=cache_home, folder=tmp_path) as server:
        traffic = Traffic(server)
        traffic.flow(90)
        sys.stdout.write(f"{dict(traffic.done)}, grew by {growth(traffic.memory) / 1e6:.1f} MB\n")
        assert min(traffic.done[kind] for kind in ("good", "bad", "hang-up", "half")) > 50
        assert growth(traffic.memory) < GROWTH
        for name, labels in KNOWN.items():
            assert post(server.port, jpeg(name)).best in labels
        assert readiness(server.port) == 200
        server.signal()
        assert server.exit_code() == 0
        assert "Traceback" not in server.log


def test_the_soak_detects_a_leak(cache_home: Path, tmp_path: Path) -> None:
    """A server that keeps every image grows beyond the bound in a fraction of the time."""
    leaky = (sys.executable, "-P", "-m", "tests.integration.leaky_server", "serve")
    variables = {"PYTHONPATH": str(ROOT)}
    with serving(
        cache_home=cache_home, folder=tmp_path, command=leaky, variables=variables
    ) as server:
        traffic = Traffic(server)
        traffic.flow(30)
    sys.stdout.write(f"{dict(traffic.done)}, grew by {growth(traffic.memory) / 1e6:.1f} MB\n")
    assert growth(traffic.memory) > GROWTH
