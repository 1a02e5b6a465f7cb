"""How often a body is held: server/http/request.py."""

import tracemalloc

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from server.http.connections import Connections
from server.http.klein_frontend import KleinFrontend
from server.http.limits import BodyLimits
from server.http.messages import HTTPRequest, HTTPResponse, Route
from server.http.request import HeldBody
from server.http.router import Router
from server.http.site import LimitedSite
from server.lifecycle import Lifecycle
from tests.fakes.http import Client, request

MIB = 1 << 20


def test_a_body_that_is_being_answered_is_held_once() -> None:
    """By the endpoint alone, and not at all once it is answered."""
    clock = Clock()
    seen: list[HTTPRequest] = []
    answers: list[Deferred[HTTPResponse]] = []

    def endpoint(received: HTTPRequest) -> Deferred[HTTPResponse]:
        seen.append(received)
        answers.append(Deferred())
        return answers[-1]

    router = Router([Route("POST", "/", endpoint)])
    frontend = KleinFrontend(router, clock=clock, lifecycle=Lifecycle())
    limits = BodyLimits(max_body=8 * MIB, max_held=8 * MIB)
    connections = Connections(limits=limits, client_timeout=8.0, clock=clock)
    site = LimitedSite(frontend.resource(), connections, router)
    client = Client(site, clock)
    data = request(body=bytes(range(256)) * (4 * MIB // 256))
    tracemalloc.start()
    try:
        client.send(*(data[at : at + 0x10000] for at in range(0, len(data), 0x10000)))
        held, _ = tracemalloc.get_traced_memory()
        assert seen[0].body == data[-4 * MIB :]
        assert limits.held == 4 * MIB
        assert 4 * MIB <= held < 5 * MIB
        seen.clear()
        answers[0].callback(HTTPResponse(200, b"yes"))
        held, _ = tracemalloc.get_traced_memory()
        assert held < MIB
    finally:
        tracemalloc.stop()
    assert client.statuses == [200]


@pytest.mark.parametrize("chunks", [[], [b"one"], [b"one", b"two", b"three"]])
def test_a_body_is_read_once(chunks: list[bytes]) -> None:
    """As a whole, and then it is dropped."""
    body = HeldBody()
    for data in chunks:
        body.write(data)
    body.seek(0)
    assert body.read() == b"".join(chunks)
    assert body.getvalue() == b""
    assert body.read() == b""


def test_a_body_can_be_read_in_parts() -> None:
    """Like any file; the rest is then read as a whole."""
    body = HeldBody(b"one two three")
    assert body.read(0) == b""
    assert body.read(4) == b"one "
    assert body.read(4) == b"two "
    assert body.read() == b"three"
    assert body.read(4) == b""
