"""Requests that a preflight refuses by their heads: server/http/channel.py."""

from collections.abc import Mapping

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from server.http.access import Access
from server.http.connections import LINGER_SECONDS, MAX_DISCARDED_BODY_BYTES, Connections
from server.http.klein_frontend import KleinFrontend
from server.http.limits import BodyLimits
from server.http.messages import Head, HTTPRequest, HTTPResponse, Route
from server.http.router import Router
from server.http.site import LimitedSite
from server.lifecycle import Lifecycle, State
from tests.fakes.http import Client, PlainTransport, SlowClient, chunk, request

pytestmark = pytest.mark.usefixtures("log")

TIMEOUT = 8.0
REFUSAL = HTTPResponse(429, b'{"error":"too busy"}\n', {"Retry-After": "3", "X-Model-Version": "a"})
BODY = bytes(100)


class PreflightServer:
    """A Klein front end whose POST route has a preflight, which refuses while *refuses* is set."""

    def __init__(self, *, refuses: bool = True) -> None:
        self.clock = Clock()
        self.clock.advance(64)
        self.refuses = refuses
        self.heads: list[Head] = []
        self.served: list[HTTPRequest] = []
        self.entries: list[Access] = []
        self.lifecycle = Lifecycle()
        router = Router(
            [Route("POST", "/", self._serve, preflight=self._preflight), Route("PUT", "/", _accept)]
        )
        frontend = KleinFrontend(router, clock=self.clock, lifecycle=self.lifecycle)
        self.limits = BodyLimits(max_body=1 << 20, max_held=1 << 20)
        connections = Connections(
            limits=self.limits,
            client_timeout=TIMEOUT,
            clock=self.clock,
            access_log=self.entries.append,
            draining=lambda: self.lifecycle.leaving,
        )
        self.site = LimitedSite(frontend.resource(), connections, router)

    def _preflight(self, head: Head) -> HTTPResponse | Head:
        self.heads.append(head)
        return REFUSAL if self.refuses else head

    def _serve(self, received: HTTPRequest) -> Deferred[HTTPResponse]:
        self.served.append(received)
        return _accept(received)

    def connect(self) -> Client:
        """Return a new connection."""
        return Client(self.site, self.clock)


def _accept(received: HTTPRequest) -> Deferred[HTTPResponse]:
    return succeed(HTTPResponse(200, b"served %d\n" % len(received.body)))


def post(length: int = 100, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the head of a request whose body is to follow."""
    return request(headers={"Content-Length": str(length), **(headers or {})})


def test_the_preflight_is_called_before_the_body_arrives() -> None:
    """Its head has all of the later request, except for the query and the body."""
    server = PreflightServer(refuses=False)
    client = server.connect()
    client.send(request(target="/?k=1", headers={"Content-Length": "2", "X-Request-Id": "mine"}))
    (head,) = server.heads
    assert (server.served, client.received) == ([], b"")
    server.clock.advance(1)
    client.send(b"hi")
    (served,) = server.served
    assert client.statuses == [200]
    for name in ("method", "path", "rest", "headers", "request_id", "received", "connection"):
        assert getattr(served, name) == getattr(head, name)
    assert served.headers is head.headers  # decoded once
    assert (head.method, head.path, head.request_id) == ("POST", "/", "mine")
    assert (head.headers["x-request-id"], head.received) == ("mine", 64.0)


@pytest.mark.parametrize(
    "data",
    [
        request("PUT", body=BODY),
        request("POST", "/elsewhere", BODY),
        request("POST", "http://here/", BODY),
        request("GET"),
    ],
    ids=["another method", "another path", "an absolute target", "no body"],
)
def test_other_requests_have_no_preflight(data: bytes) -> None:
    """Their endpoints check them; another spelling of the target changes nothing else."""
    server = PreflightServer()
    client = server.connect()
    client.send(data)
    assert server.heads == []
    assert len(client.answers) == 1


@pytest.mark.parametrize(
    ("segments", "admitted"),
    [
        ([post() + BODY], [True]),
        ([(post() + BODY) * 2], [True, True]),
        ([post()[:9], post()[9:] + BODY], [True]),
        ([post(), BODY], [False]),
        ([post() + BODY[:9], BODY[9:]], [False]),
        ([post() + BODY + post(), BODY], [True, False]),
        ([request("PUT", body=BODY)], []),
        ([request("POST", "http://here/", BODY)], [False]),
    ],
)
def test_a_preflight_holds_for_a_body_that_arrives_with_its_head(
    segments: list[bytes], admitted: list[bool]
) -> None:
    """If more segments arrived since, or there was no preflight, the endpoint checks again."""
    server = PreflightServer(refuses=False)
    client = server.connect()
    client.send(*segments)
    assert [served.admitted for served in server.served] == admitted
    assert len(client.answers) == max(1, len(admitted))


@pytest.mark.parametrize("cut", [1, 10_000])
def test_an_endpoint_receives_what_its_preflight_has_read(cut: int) -> None:
    """The same object, so that it need not be read again; None without a preflight."""
    server = PreflightServer(refuses=False)
    client = server.connect()
    data = post() + BODY + post() + BODY
    client.send(*(data[at : at + cut] for at in range(0, len(data), cut)))
    assert len(server.heads) == 2
    for served, head in zip(server.served, server.heads, strict=True):
        assert served.preflighted is head
    client.send(request("POST", "http://here/", BODY))
    assert server.served[-1].preflighted is None


@pytest.mark.parametrize("cut", [1, 50, 10_000])
def test_a_refused_request_keeps_its_connection(cut: int) -> None:
    """It is answered before its body arrives; the body is discarded, the next request served."""
    server = PreflightServer()
    client = server.connect()
    client.send(post())
    assert client.answer.status == 429
    assert client.answer.headers == {
        "content-type": "application/json",
        "content-length": str(len(REFUSAL.body)),
        "x-request-id": client.answer.headers["x-request-id"],
        "retry-after": "3",
        "x-model-version": "a",
        "server": "TensorFerry",
        "date": client.answer.headers["date"],
    }
    client.send(*(BODY[at : at + cut] for at in range(0, len(BODY), cut)))
    server.refuses = False
    client.send(post(), b"y" * 100)
    assert client.statuses == [429, 200]
    assert [served.body for served in server.served] == [b"y" * 100]
    assert client.is_open()
    assert (server.limits.held, client.channel.connection.busy) == (0, False)
    server.clock.advance(TIMEOUT)
    assert not server.site.connections.open


@pytest.mark.parametrize("length", [0, 100])
@pytest.mark.parametrize("at_once", [True, False])
def test_refused_requests_may_follow_each_other(length: int, at_once: bool) -> None:
    """In order, in one segment or many, with and without bodies."""
    server = PreflightServer()
    client = server.connect()
    data = [post(length, {"X-Request-Id": str(number)}) + bytes(length) for number in range(5)]
    client.send(*([b"".join(data)] if at_once else data))
    assert client.statuses == [429] * 5
    assert [answer.headers["x-request-id"] for answer in client.answers] == list("01234")
    assert server.entries == [
        Access("192.0.2.7", "POST", "/", 429, len(REFUSAL.body), number) for number in "01234"
    ]
    assert server.served == []
    assert client.is_open()


CLOSING = {
    "it expects 100": post(headers={"Expect": "100-continue"}),
    "its body is large": post(MAX_DISCARDED_BODY_BYTES + 1),
    "its body may be large": request(headers={"Transfer-Encoding": "chunked"}) + chunk(BODY),
    "it is the last request": post(headers={"Connection": "close"}),
    "it is HTTP/1.0": b"POST / HTTP/1.0\r\nContent-Length: 100\r\n\r\n",
}


@pytest.mark.parametrize("data", CLOSING.values(), ids=CLOSING.keys())
def test_a_refusal_closes_a_connection_that_is_not_worth_its_body(data: bytes) -> None:
    """Or if the next bytes could be a body or a request; no 100 is sent before."""
    server = PreflightServer()
    client = server.connect()
    client.send(data)
    assert client.received.startswith(b"HTTP/1.1 429 ")
    assert client.answer.headers["connection"] == "close"
    assert client.answer.headers["retry-after"] == "3"
    assert client.transport.half_closed
    client.send(BODY, request())
    server.clock.advance(LINGER_SECONDS)
    assert not server.site.connections.open
    assert (server.served, len(server.entries), server.limits.held) == ([], 1, 0)


def test_a_body_of_the_largest_size_is_discarded() -> None:
    """One byte more is too many; none of it is held."""
    server = PreflightServer()
    client = server.connect()
    client.send(post(MAX_DISCARDED_BODY_BYTES))
    for _ in range(4):
        client.send(bytes(MAX_DISCARDED_BODY_BYTES // 4))
        assert server.limits.held == 0
    client.send(post(0))
    assert client.statuses == [429, 429]


def test_a_draining_server_closes_the_connection_with_a_refusal() -> None:
    """The next request would be lost."""
    server = PreflightServer()
    server.lifecycle.move(State.DRAINING)
    client = server.connect()
    client.send(post())
    assert client.answer.headers["connection"] == "close"


@pytest.mark.parametrize("sent", [b"", bytes(99)])
def test_a_body_that_never_arrives_delays_nothing(sent: bytes) -> None:
    """Neither a drain, nor its own connection beyond the time of a request; no second answer."""
    server = PreflightServer()
    client = server.connect()
    client.send(post())
    client.send(*filter(None, [sent]))
    fired: list[None] = []
    server.site.connections.when_quiet().addCallback(fired.append)
    assert fired == [None]
    server.clock.advance(TIMEOUT)
    assert client.statuses == [429]
    assert not server.site.connections.open


def test_a_drain_leaves_time_to_read_a_refusal() -> None:
    """A client that is still sending would see a reset instead."""
    server = PreflightServer()
    client = server.connect()
    client.send(post())
    server.site.connections.close_idle()
    assert client.transport.half_closed
    client.send(BODY)
    assert client.statuses == [429]
    assert client.is_open()
    server.clock.advance(LINGER_SECONDS)
    assert not server.site.connections.open


@pytest.mark.parametrize("kind", [Client, SlowClient])
def test_nothing_remains_of_a_client_that_hangs_up_after_its_refusal(
    kind: type[Client | SlowClient],
) -> None:
    """No timer, no bytes."""
    server = PreflightServer()
    client = kind(server.site, server.clock)
    client.send(post())
    if isinstance(client.transport, PlainTransport):
        client.transport.lost()
    else:
        client.read_all()
        client.transport.abortConnection()
    server.clock.advance(0)
    assert not server.site.connections.open
    assert server.limits.held == 0
    assert server.clock.getDelayedCalls() == []


def test_a_client_that_reads_no_refusals_is_not_read() -> None:
    """They fill the transport as any answer does."""
    server = PreflightServer()
    client = SlowClient(server.site, server.clock)
    client.send((post() + BODY) * 2000)
    assert client.unsent
    assert client.transport.unsent < 100_000
    assert len(client.read_all()) == 2000
    assert client.unsent == b""
