"""twisted.web's connection and request beyond the wire: server/http/channel.py, request.py."""

import subprocess
import sys
import tracemalloc

import pytest
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from server.http.channel import LimitedChannel
from server.http.messages import HTTPRequest, HTTPResponse
from server.http.request import HeldBody, LimitedRequest
from server.http.router import Match, Router
from server.http.site import LimitedSite
from tests.fakes.http import SlowClient, chunk, request
from tests.fakes.wire import WireServer
from tests.wire_cases import CHUNKED, GET, POST, TIMEOUT

pytestmark = pytest.mark.usefixtures("log")

MIB = 1 << 20
ANSWER = bytes(100 * 1024)


def test_a_body_that_is_being_answered_is_held_once() -> None:
    """By the endpoint alone, and not at all once it is answered."""
    seen: list[HTTPRequest] = []
    answer: Deferred[HTTPResponse] = Deferred()

    def endpoint(received: HTTPRequest) -> Deferred[HTTPResponse]:
        seen.append(received)
        return answer

    server = WireServer(endpoint=endpoint)
    server.limits.max_body = server.limits.max_held = 8 * MIB
    client = server.connect()
    data = request(body=bytes(range(256)) * (4 * MIB // 256))
    tracemalloc.start()
    try:
        for at in range(0, len(data), 0x10000):
            client.protocol.dataReceived(data[at : at + 0x10000])  # `send` would keep a copy
        server.seen.clear()
        held, _ = tracemalloc.get_traced_memory()
        assert seen[0].body == data[-4 * MIB :]
        assert server.limits.held == 4 * MIB
        assert 4 * MIB <= held < 5 * MIB
        seen.clear()
        answer.callback(HTTPResponse(200, b"yes"))
        held, _ = tracemalloc.get_traced_memory()
        assert held < MIB
    finally:
        tracemalloc.stop()
    assert client.statuses == [200]


def test_a_refused_body_is_dropped_at_once() -> None:
    """The lingering connection does not hold it, nor what arrives later."""
    client = WireServer().connect()
    client.send(CHUNKED + chunk(bytes(99)) + chunk(b"xx"))
    assert isinstance(client.protocol, LimitedChannel)
    (refused,) = client.protocol.requests
    for _ in range(2):
        assert refused.content.getvalue() == b""
        client.send(chunk(b"more"))


@pytest.mark.parametrize("chunks", [[], [b"one"], [b"one", b"two", b"three"]])
def test_a_body_is_read_once(chunks: list[bytes]) -> None:
    """As a whole, and then it is dropped; or in parts, like any file."""
    body, parts = HeldBody(), HeldBody(b"one two three")
    for data in chunks:
        body.write(data)
    body.seek(0)
    assert body.read() == b"".join(chunks)
    assert (body.getvalue(), body.read()) == (b"", b"")
    read = [parts.read(0), parts.read(4), parts.read(4), parts.read(), parts.read(4)]
    assert read == [b"", b"one ", b"two ", b"three", b""]


class PartsResource(Resource):
    """Answers nothing: the test writes each answer in parts."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self.waiting: list[LimitedRequest] = []

    def render(self, request: Request) -> int:
        """Let *request* wait."""
        assert isinstance(request, LimitedRequest)
        self.waiting.append(request)
        return NOT_DONE_YET


class PartsServer(WireServer):
    """A site of a `PartsResource`."""

    def __init__(self) -> None:
        super().__init__()
        self.resource = PartsResource()
        self.site = LimitedSite(self.resource, self.connections)

    def begin(self) -> tuple[SlowClient, LimitedRequest]:
        """Return a client that reads nothing, and its request, of which a part is written."""
        client = self.connect_slow()
        client.send(GET)
        waiting = self.resource.waiting.pop()
        waiting.write(ANSWER)
        return client, waiting


def test_nothing_is_read_ahead_during_an_answer_in_parts() -> None:
    """Its first part fills the transport, while the request is still being answered."""
    server = PartsServer()
    client, waiting = server.begin()
    client.send(POST)
    assert client.unsent == POST
    client.read(2 * len(ANSWER))
    waiting.finish()
    client.send(b"")
    assert client.unsent == b""
    assert len(server.resource.waiting) == 1


@pytest.mark.parametrize("reads", [True, False])
def test_only_reading_extends_the_time_of_an_answer_in_parts(reads: bool) -> None:
    """Its end does not; the time for reading stops when all is read."""
    server = PartsServer()
    client, waiting = server.begin()
    if reads:
        client.read(2 * len(ANSWER))
        server.clock.advance(1000)
        assert client.transport.read.endswith(ANSWER + b"\r\n")  # chunked
        waiting.finish()
        server.clock.advance(TIMEOUT)
    else:
        server.clock.advance(TIMEOUT / 2)
        waiting.finish()
        server.clock.advance(TIMEOUT / 2)
    assert not server.connections.open
    assert client.transport.aborted != reads


def test_a_header_that_was_set_is_sent_unchanged() -> None:
    """Encoded once, beside those of `begin_answer`."""
    server = PartsServer()
    client = server.connect()
    client.send(GET)
    (waiting,) = server.resource.waiting
    waiting.setHeader("X-Label", "café")  # type: ignore[no-untyped-call]  # Twisted's
    waiting.begin_answer(200, {"Content-Length": "0", "X-Other": "thé"})
    waiting.send_body(b"")
    assert "X-Label: café\r\n".encode() in client.received
    assert "X-Other: thé\r\n".encode() in client.received


class CountingRouter(Router):
    """Counts its look-ups."""

    count = 0

    def match(self, method: bytes, path: bytes) -> Match | None:
        """Count, and return the match."""
        self.count += 1
        return super().match(method, path)


@pytest.mark.parametrize(
    "data",
    [
        *(POST, GET, request(body=bytes(101)), request("GET", "/"), request("HEAD", "/state")),
        *(request("GET", f"{path}/cats") for path in ("/models", "/mod%65ls")),
        request("GET", "http://localhost/state"),
    ],
)
@pytest.mark.parametrize("cut", [1, 10_000])
def test_a_request_is_looked_up_once(data: bytes, cut: int) -> None:
    """However it is answered."""
    server = WireServer(prefixes=True)
    assert isinstance(server.site, LimitedSite)
    router = server.site.router = CountingRouter(server.router.routes)
    client = server.connect()
    client.send(*(data[at : at + cut] for at in range(0, len(data), cut)))
    assert client.received
    assert router.count == 1


def test_connections_and_routes_do_not_import_twisted_web() -> None:
    """Nor through another module: a front end with its own parser does without it."""
    program = (
        "import sys, server.http.connections, server.http.router;"
        "sys.exit(repr({'twisted.web', 'klein'} & {*sys.modules}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.stderr == "set()\n"
