"""The connection beyond the wire, and Klein's requests in parts: server/http/channel.py."""

import subprocess
import sys
import tracemalloc

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import alsoProvides

from server.http.connection import LINGER_SECONDS
from server.http.exchange import Exchange
from server.http.held_body import MIN_PART_BYTES, HeldBody
from server.http.klein_bridge import BridgedRequest
from server.http.limits import BodyLimits
from server.http.messages import HTTPRequest, HTTPResponse
from server.http.router import Match, Router
from server.http.site import HTTPSite
from tests.fakes.http import SlowClient, chunk, request
from tests.fakes.server import Log
from tests.fakes.wire import WireServer
from tests.wire_cases import CHUNKED, GET, POST, TIMEOUT

pytestmark = pytest.mark.usefixtures("log")

MIB = 1 << 20
ANSWER = bytes(100 * 1024)


@pytest.mark.parametrize("segment", [16, 0x10000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_held_once(segment: int, chunked: bool) -> None:
    """While it arrives, by the endpoint alone while it is answered, and then not at all."""
    seen: list[HTTPRequest] = []
    answer: Deferred[HTTPResponse] = Deferred()

    def endpoint(received: HTTPRequest) -> Deferred[HTTPResponse]:
        seen.append(received)
        return answer

    server = WireServer(endpoint=endpoint)
    server.limits.max_body = server.limits.max_held = 8 * MIB
    client = server.connect()
    body = bytes(range(256)) * (MIB // 256)
    data = request(body=body)
    if chunked:
        parts = [body[at : at + 16] for at in range(0, MIB, 16)]
        data = CHUNKED + b"".join(map(chunk, parts)) + chunk(b"")
        del parts
    tracemalloc.start()
    try:
        for at in range(0, len(data), segment):
            client.protocol.dataReceived(data[at : at + segment])  # `send` would keep a copy
        server.seen.clear()
        held, most = tracemalloc.get_traced_memory()
        assert seen[0].body == body
        assert server.limits.held == MIB
        assert MIB <= held < 1.5 * MIB
        assert most < 3 * MIB
        seen.clear()
        answer.callback(HTTPResponse(200, b"yes"))
        held, _ = tracemalloc.get_traced_memory()
        assert held < MIB / 2
    finally:
        tracemalloc.stop()
    assert client.statuses == [200]


@pytest.mark.parametrize("sizes", [[], [1], [1, 2, 3], [MIN_PART_BYTES, 1, 2, MIN_PART_BYTES, 1]])
def test_the_parts_of_a_body_are_joined(sizes: list[int]) -> None:
    """In order, and counted until they are released."""
    limits = BodyLimits(max_body=1 << 20, max_held=1 << 20)
    body = HeldBody(limits)
    parts = [bytes([number]) * size for number, size in enumerate(sizes)]
    for part in parts:
        body.add(part)
    taken = body.take()
    assert (taken, type(taken), limits.held) == (b"".join(parts), bytes, sum(sizes))
    for _ in range(2):
        body.release()
        assert limits.held == 0


class PartsResource(Resource):
    """Answers nothing: the test writes each answer in parts."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self.waiting: list[Request] = []

    def render(self, request: Request) -> int:
        """Let *request* wait."""
        self.waiting.append(request)
        return NOT_DONE_YET


class PartsServer(WireServer):
    """A site of a `PartsResource`."""

    def __init__(self) -> None:
        super().__init__()
        self.resource = PartsResource()
        resource_site = Site(self.resource)

        def answer(exchange: Exchange) -> None:
            BridgedRequest(exchange, resource_site).begin()

        self.site = HTTPSite(Router(()), self.connections, answer)

    def begin(self) -> tuple[SlowClient, Request]:
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


def test_a_failure_in_the_middle_of_an_answer_closes_its_connection(log: Log) -> None:
    """Nothing but the end can follow what is written."""

    class FailingResource(PartsResource):
        """Fails after a part."""

        def render(self, request: Request) -> int:
            """Write a part, and fail."""
            request.write(b"part")
            raise ZeroDivisionError

    server = WireServer()
    failing_site = Site(FailingResource())

    def answer(exchange: Exchange) -> None:
        BridgedRequest(exchange, failing_site).begin()

    server.site = HTTPSite(Router(()), server.connections, answer)
    client = server.connect()
    client.send(GET)
    server.clock.advance(0)
    assert client.received.count(b"HTTP/1.1") == 1
    assert not client.is_open()
    assert len(log.flush(ZeroDivisionError)) == 1


def test_a_resource_that_closes_the_connection_ends_the_request() -> None:
    """What it has written is sent before."""
    server = PartsServer()
    client = server.connect()
    client.send(GET)
    (waiting,) = server.resource.waiting
    waiting.write(b"part")
    waiting.loseConnection()
    server.clock.advance(0)
    assert client.received.endswith(b"4\r\npart\r\n")
    assert server.is_clean()


def test_klein_receives_the_fields_and_the_body() -> None:
    """As the client has sent them."""
    server = PartsServer()
    server.connect().send(request("POST", "/p?k=1", b"body", {"X-A": "b"}))
    (waiting,) = server.resource.waiting
    assert (waiting.method, waiting.uri, waiting.path) == (b"POST", b"/p?k=1", b"/p")
    assert waiting.getHeader(b"x-a") == b"b"
    assert waiting.content is not None
    assert waiting.content.read() == b"body"
    assert (waiting.args, waiting.isSecure()) == ({b"k": [b"1"]}, False)


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
    """However it is answered; and not again if its head is that of the last request."""
    server = WireServer(prefixes=True)
    assert isinstance(server.site, HTTPSite)
    router = server.site.router = CountingRouter(server.router.routes)
    client = server.connect()
    for _ in range(2):
        client.send(*(data[at : at + cut] for at in range(0, len(data), cut)))
        assert client.received
        assert router.count == 1
        if b"101" in data:
            break  # the connection closes


def test_tls_on_a_plain_port_is_closed_with_a_line_in_the_log(log: Log) -> None:
    """A client that uses TLS understands no answer in plain text."""
    server = WireServer()
    client = server.connect()
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    server.clock.advance(0)
    assert (client.received, client.is_open()) == (b"", False)
    assert log.lines() == ["192.0.2.7 tries to use TLS, but this address takes plain HTTP"]
    assert server.is_clean()


def test_a_refusal_over_tls_closes_no_direction_alone() -> None:
    """Twisted's TLS has the methods of its TCP transport, which would close before TLS has sent."""
    server = WireServer()
    client = server.connect()
    alsoProvides(client.transport, ISSLTransport)
    client.send(b"nonsense\r\n")
    assert client.statuses == [400]
    assert not client.transport.half_closed
    server.clock.advance(LINGER_SECONDS)
    server.clock.advance(0)
    assert server.is_clean()


def test_connections_and_routes_do_not_import_twisted_web() -> None:
    """Nor through another module: only the bridge to Klein needs it."""
    program = (
        "import sys, server.http.site, server.http.router;"
        "sys.exit(repr({'twisted.web', 'klein'} & {*sys.modules}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.stderr == "set()\n"
