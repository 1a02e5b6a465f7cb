"""Bad clients by the thousand beside a good one, over real sockets."""

import resource
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from random import Random

import pytest

from tests.fakes.http import head, request
from tests.integration.fuzz_wire import GoodClient, send
from tests.integration.servers import wait_for
from tests.integration.test_wire import wire_site

pytestmark = pytest.mark.full

#: Slow clients: how many, and for how many seconds.
SLOW, SECONDS = 1000, 6.0

#: What they begin with: a head, a body, or requests whose answers they do not read.
BEGINNINGS = [
    b"GET /state HTTP/1.1\r\nA: ",
    head("Content-Length: 99"),
    head("Transfer-Encoding: chunked") + b"5\r\n",
    request("GET", "/large") * 2,
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mapping[str, int], int]]:
    """The ports of both front ends, by name, and the pid of their process."""
    with wire_site(tmp_path_factory.mktemp("clients")) as found:
        yield found


def open_connections(port: int) -> int:
    """Return how many connections the server has, but for this one."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/open")
        return int(connection.getresponse().read()) - 1


def resident(pid: int) -> int:
    """Return the resident bytes of the process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def be_slow(port: int) -> None:
    """Be all slow clients, of which each sends a byte a second, or reads nothing."""
    with ExitStack() as stack:
        clients = []
        for number in range(SLOW):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(BEGINNINGS[number % len(BEGINNINGS)])
            clients.append(client)
        assert open_connections(port) >= SLOW
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for client in clients:
                with suppress(OSError):  # answered with a 408, and closed
                    client.send(b"x")
            time.sleep(1.0)


@pytest.mark.parametrize("front_end", ["express", "klein"])
def test_slow_clients_delay_no_other(front_end: str, site: tuple[Mapping[str, int], int]) -> None:
    """And nothing remains of them: their second thousand takes no more memory."""
    ports, pid = site
    port = ports[front_end]
    be_slow(port)
    wait_for(lambda: open_connections(port) == 0, "end of the slow clients")
    before = resident(pid)
    good = GoodClient(port, "/state")
    be_slow(port)
    good.stop()
    wait_for(lambda: open_connections(port) == 0, "end of the slow clients")
    middle = sorted(good.times)[len(good.times) // 2]
    assert middle < 0.05
    assert resident(pid) < before + (16 << 20)


@pytest.mark.parametrize("front_end", ["express", "klein"])
def test_random_bytes_disturb_no_other_client(
    front_end: str, site: tuple[Mapping[str, int], int]
) -> None:
    """Its answers come in normal time, and the connections end."""
    port = site[0][front_end]
    random = Random(11)  # noqa: S311  # the same bytes each time
    good = GoodClient(port, "/state")
    for _ in range(150):
        send(port, random)
    good.stop()
    wait_for(lambda: open_connections(port) == 0, "end of the clients")
