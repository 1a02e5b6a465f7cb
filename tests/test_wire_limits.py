"""The limits of heads, connections and requests, by any front end: server/http/."""

from collections.abc import Callable, Mapping, Sequence
from math import inf

import pytest
from twisted.internet.base import DelayedCall
from twisted.internet.task import Clock

from server.http.connection_limits import (
    MAX_REFUSED_CONNECTIONS,
    MAX_RESERVED_DESCRIPTORS,
    ConnectionLimits,
    connections_for,
)
from server.http.exchange import Exchange
from server.http.klein_frontend import KleinFrontend
from server.http.request_head import HeadLimits
from server.http.serving import connection_limits, site_for
from server.http.site import HTTPSite
from server.settings.http_settings import FrontEnd as FrontEndName
from server.settings.http_settings import HTTPSettings
from tests.fakes.http import HalfCloseable, PlainTransport, chunk, head, request
from tests.fakes.server import Log
from tests.fakes.wire import FRONT_ENDS, FrontEnd, WireServer
from tests.test_wire import check_answers, check_end, run
from tests.wire_cases import (
    BODY,
    BUSY,
    BUSY_HEAD,
    CHUNKED,
    CLOSED,
    EXPECT,
    GET,
    LATE,
    LINGERS,
    OPEN,
    POST,
    REFUSED,
    End,
    Step,
    answer,
)

pytestmark = pytest.mark.usefixtures("log")

by_each_front_end = pytest.mark.parametrize("front_end", FRONT_ENDS.values(), ids=FRONT_ENDS)

SHORT_HEAD = {"header_timeout": 2.0}
SHORT_IDLE = {"keep_alive_timeout": 2.0}
TWO_REQUESTS = {"max_requests": 2}
YOUNG = {"max_age": 100.0}  # 95 s, by the chance of the server
NONE_IN_FLIGHT = {"max_in_flight": 0}
NO_CONNECTION = {"max_connections": 0}
LATE_HEAD = "408 the head of the request did not arrive within 2 seconds"
MANY = "503 after 1: the server answers 0 requests, the limit is 0"
FULL = "- - 503 after 1: the server has 0 connections, the limit"

# fmt: off
CASES: list[tuple[str, Mapping[str, float], Sequence[Step], str, End]] = [
    # the time of a head
    ("nothing, in time", SHORT_HEAD, (1.5,), "", OPEN),
    ("nothing", SHORT_HEAD, (2.0,), "", CLOSED),
    ("line ends", SHORT_HEAD, (1.5, b"\r\n", 0.5), "", CLOSED),
    ("a head, in time", SHORT_HEAD, (1.5, b"G", 1.5), "", BUSY),
    ("a head", SHORT_HEAD, (1.5, b"G", 2.0), f"- - {LATE_HEAD}", LINGERS),
    ("a slow head", SHORT_HEAD, (POST[:9], 1.0, POST[9:20], 1.0), LATE_HEAD, LINGERS),
    ("a second head", SHORT_HEAD, (GET, 7.0, GET[:9], 2.0), f"200 | {LATE_HEAD}", LINGERS),
    ("a pipelined head", SHORT_HEAD, (GET + GET[:9], 100.0, answer, 2.0), f"200 | {LATE_HEAD}",
        LINGERS),
    ("a body may take longer", SHORT_HEAD, (POST[:-1], 7.0), "", BUSY),
    ("head and body together", SHORT_HEAD, (POST[:9], 1.5, POST[9:-1], 6.5), f"POST / {LATE}",
        LINGERS),
    ("an answer may take longer", SHORT_HEAD, (POST, 100.0, answer), "200 hello", OPEN),
    ("between requests", SHORT_HEAD, (GET, 7.0, GET), "200 | 200", OPEN),
    ("a shorter time of a request", {"client_timeout": 2.0}, (b"G", 2.0), LATE_HEAD, LINGERS),
    # the time between requests
    ("idle, in time", SHORT_IDLE, (GET, *(1.5, GET) * 5), " | ".join(["200"] * 6), OPEN),
    ("idle", SHORT_IDLE, (GET, 2.0), "200", CLOSED),
    ("idle before the first request", SHORT_IDLE, (7.0, GET), "200", OPEN),
    ("idle behind a refusal", SHORT_IDLE, (BUSY_HEAD + BODY, 2.0), REFUSED, CLOSED),
    ("a slow refused body", SHORT_IDLE, (BUSY_HEAD, 7.0, BODY, GET), f"{REFUSED} | 200", OPEN),
    ("a head is not idle", SHORT_IDLE, (GET + GET[:9], 7.0), "200", BUSY),
    # the requests of a connection
    ("one of two", TWO_REQUESTS, (GET,), "200", OPEN),
    ("two of two", TWO_REQUESTS, (GET, POST), "200 | 200 hello", CLOSED),
    ("three of two", TWO_REQUESTS, (GET + POST + POST,), "200 | 200 hello", CLOSED),
    ("no route", TWO_REQUESTS, (GET, request("GET", "/none")), "200 | 404 ...", CLOSED),
    ("the second is refused", TWO_REQUESTS, (GET + BUSY_HEAD,), f"200 | {REFUSED}", LINGERS),
    ("refused ones count", TWO_REQUESTS, ((BUSY_HEAD + BODY) * 2,), f"{REFUSED} | {REFUSED}",
        LINGERS),
    # the age of a connection
    ("young", YOUNG, (GET, *(7.0, GET) * 13), " | ".join(["200"] * 14), OPEN),
    ("old", YOUNG, (GET, *(7.0, GET) * 14), " | ".join(["200"] * 15), CLOSED),
    ("old with its answer", YOUNG, (POST, 95.0, answer), "200 hello", CLOSED),
    ("old, refused", YOUNG, (GET, *(7.0, GET) * 13, 4.0, BUSY_HEAD),
        " | ".join([*["200"] * 14, REFUSED]), LINGERS),
    # requests in flight
    ("too many", NONE_IN_FLIGHT, (POST,), f"POST / {MANY}", OPEN),
    ("too many, by the head", NONE_IN_FLIGHT, (head("Content-Length: 100"), BODY + GET),
        f"{MANY} | 200", OPEN),
    ("too many, 100 expected", NONE_IN_FLIGHT, (head("Content-Length: 9", EXPECT),), MANY, LINGERS),
    ("too many, chunked", NONE_IN_FLIGHT, (CHUNKED + chunk(b"x"),), MANY, LINGERS),
    ("too many, too long", NONE_IN_FLIGHT, (head("Content-Length: 101"),),
        "413 the body is 101 bytes, the limit is 100", LINGERS),
    ("too many, no path", NONE_IN_FLIGHT, (request("POST", "/none"),), MANY, OPEN),
    ("too many, but a GET", NONE_IN_FLIGHT, (GET,), "200", OPEN),
    ("too many, but OPTIONS", NONE_IN_FLIGHT, (request("OPTIONS", "/none"),), "404 ...", OPEN),
    ("too many, but HEAD", NONE_IN_FLIGHT, (request("HEAD", "/state"),), "200", OPEN),
    # connections
    ("full", NO_CONNECTION, (), FULL, LINGERS),
    ("full, with a request", NO_CONNECTION, (POST,), FULL, LINGERS),
]

LIMITS = HeadLimits(line=32, fields_bytes=40, fields=2)
LONG_LINE = "414 the request line is over 32 bytes"
LONG_HEAD = "431 the header fields are over 40 bytes"
HEADS: list[tuple[str, bytes, str, End]] = [
    ("the longest line", request("GET", "/state?" + "x" * 12), "200", OPEN),
    ("a longer line", request("GET", "/state?" + "x" * 13), LONG_LINE, LINGERS),
    ("a longer line, no end", b"GET /" + b"x" * 29, LONG_LINE, LINGERS),
    ("the longest fields", head("A: " + "x" * 18, method="GET", target="/state"), "200", OPEN),
    ("longer fields", head("A: " + "x" * 19, method="GET", target="/state"), LONG_HEAD, LINGERS),
    ("the most fields", head("A: b", method="GET", target="/state"), "200", OPEN),
    ("more fields", head("A:b", "A:b"), "431 the head has more than 2 header fields", LINGERS),
]
# fmt: on


@by_each_front_end
@pytest.mark.parametrize(
    ("limits", "steps", "answers", "end"), [it[1:] for it in CASES], ids=[it[0] for it in CASES]
)
def test_connections_and_requests_are_limited(
    limits: Mapping[str, float], steps: Sequence[Step], answers: str, end: End, front_end: FrontEnd
) -> None:
    """In segments of any size, with TCP and TLS."""
    for kind, cut in ((HalfCloseable, 100_000), (PlainTransport, 3)):
        server = WireServer(front_end, limits=limits, later=answer in steps)
        client = server.connect(kind=kind)
        run(server, client, steps, 100_000 if answers.startswith("- - 503") else cut)
        check_answers(server, client, answers.split(" | ") if answers else [])
        assert server.connections.in_flight == (end is BUSY and POST[:-1] in steps)
        check_end(server, client, end)


@by_each_front_end
@pytest.mark.parametrize(
    ("data", "text", "end"), [it[1:] for it in HEADS], ids=[it[0] for it in HEADS]
)
def test_heads_are_limited(data: bytes, text: str, end: End, front_end: FrontEnd) -> None:
    """By the bytes of the line, those of the fields, and the number of fields."""
    for cut in (100, 1):
        server = WireServer(front_end)
        assert isinstance(server.site, HTTPSite)
        server.site.head_limits = LIMITS
        client = server.connect()
        run(server, client, (data,), cut)
        check_answers(server, client, [text])
        check_end(server, client, end)


@by_each_front_end
def test_connections_over_the_limit_are_refused(front_end: FrontEnd, log: Log) -> None:
    """
    With an answer, unless too many are being refused; others are served.

    Each is counted, and the log has a line, at most every 10 s.
    """
    server = WireServer(front_end, limits={"max_connections": 2, "keep_alive_timeout": 99.0})
    first, second = server.connect(), server.connect()
    refused = [server.connect() for _ in range(MAX_REFUSED_CONNECTIONS)]
    assert {client.answer.status for client in refused} == {503}
    assert {client.answer.headers["connection"] for client in refused} == {"close"}
    aborted = server.connect()
    assert (aborted.received, aborted.transport.aborted) == (b"", True)
    assert server.connections.refused == MAX_REFUSED_CONNECTIONS + 1
    assert not server.connections.busy
    server.clock.advance(2.0)
    assert len(server.connections.open) == 2
    first.hang_up()
    third = server.connect()
    for client in (second, third):
        client.send(POST)
        assert client.statuses == [200]
    assert server.connections.accepted == MAX_REFUSED_CONNECTIONS + 4
    server.clock.advance(6.0)
    for _ in range(3):
        server.connect()
        server.clock.advance(3.0)
    line = "connections are refused, {} so far: --max-connections 2 are open"
    assert log.lines() == [line.format(1), line.format(MAX_REFUSED_CONNECTIONS + 3)]


#: What ends a request that is in flight, after its first bytes.
ENDS: dict[str, tuple[bytes, Callable[[WireServer], object]]] = {
    "it is answered": (POST, WireServer.answer),
    "it has no route": (request("POST", "/none"), lambda _: None),
    "it is refused by its head": (BUSY_HEAD, lambda _: None),
    "its body is too long": (head("Content-Length: 101"), lambda _: None),
    "its body is malformed": (CHUNKED + b"many\r\n", lambda _: None),
    "its body is late": (POST[:-1], lambda server: server.clock.advance(8.0)),
}


@by_each_front_end
@pytest.mark.parametrize(("data", "ends"), ENDS.values(), ids=ENDS)
def test_a_request_is_in_flight_until_it_ends(
    data: bytes, ends: Callable[[WireServer], object], front_end: FrontEnd
) -> None:
    """However it ends; a request over the limit is refused until then."""
    server = WireServer(front_end, limits={"max_in_flight": 1}, later=True)
    server.connect().send(data)
    if server.connections.in_flight:
        second = server.connect()
        second.send(POST)
        assert second.answer.status == 503
        ends(server)
    assert server.connections.in_flight == 0
    third = server.connect()
    third.send(POST)
    assert server.connections.in_flight == 1
    server.answer()
    assert third.statuses == [200]


@by_each_front_end
@pytest.mark.parametrize("data", [POST, POST[:-1]])
def test_a_request_is_in_flight_until_its_client_hangs_up(data: bytes, front_end: FrontEnd) -> None:
    """Whether it is received or answered."""
    server = WireServer(front_end, later=True)
    client = server.connect()
    client.send(data)
    assert server.connections.in_flight == 1
    client.hang_up()
    assert server.connections.in_flight == 0
    assert server.is_clean()


@by_each_front_end
def test_a_preflight_counts_a_request_that_is_one_too_many(front_end: FrontEnd) -> None:
    """It receives the error with which the request is refused."""
    server = WireServer(front_end, limits=NONE_IN_FLIGHT)
    client = server.connect()
    client.send(request("POST", "/judged", b"x"))
    assert client.answer.status == 503
    assert [str(it.refusal) for it in server.heads] == [client.answer.json()["error"]]


@by_each_front_end
def test_a_request_sets_no_timer(front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """One timer for each connection is enough; it is moved at most once a time limit."""
    timers: list[float] = []

    def count(kind: type, name: str) -> None:
        counted = getattr(kind, name)

        def call(self: object, seconds: float, *more: object) -> object:
            timers.append(seconds)
            return counted(self, seconds, *more)

        monkeypatch.setattr(kind, name, call)

    count(Clock, "callLater")
    count(DelayedCall, "reset")
    server = WireServer(front_end, limits={"keep_alive_timeout": 16.0})
    client = server.connect()
    for _ in range(1000):
        client.send(POST)
        server.clock.advance(1 / 64)
    assert client.statuses == [200] * 1000
    assert 0 < len(timers) < 8


@pytest.mark.parametrize(
    ("descriptors", "connections"),
    [(100, 50), (1024, 1024 - MAX_RESERVED_DESCRIPTORS), (20_000, 19_744), (inf, 1 << 20)],
)
def test_the_limit_of_descriptors_limits_the_connections(
    descriptors: float, connections: int
) -> None:
    """Some descriptors are kept for other uses."""
    assert connections_for(descriptors) == connections


def test_the_settings_are_applied() -> None:
    """Each of them; by default the process limits the connections."""
    settings = HTTPSettings(
        max_request_line_bytes=1,
        max_header_bytes=2,
        max_header_fields=3,
        header_timeout=4.0,
        client_timeout=5.0,
        keep_alive_timeout=6.0,
        max_connections=7,
        max_requests_in_flight=8,
        max_connection_requests=9,
        max_connection_age=10.0,
    )
    assert connection_limits(settings) == ConnectionLimits(4.0, 5.0, 6.0, 7, 8, 9, 10.0)
    server = WireServer()
    site = site_for(settings, server.router, server.connections)
    assert site.head_limits == HeadLimits(line=1, fields_bytes=2, fields=3)
    by_default = site_for(HTTPSettings(), server.router, server.connections)
    assert by_default.head_limits == HeadLimits()
    assert 0 < connection_limits(HTTPSettings()).max_connections < inf


@pytest.mark.parametrize(("name", "by_klein"), [("express", 0), ("klein", 1)])
def test_a_setting_chooses_the_front_end(
    name: FrontEndName, by_klein: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Klein answers all requests, or those that no route matches."""
    answered: list[Exchange] = []
    answer = KleinFrontend.answer

    def counted(self: KleinFrontend, exchange: Exchange) -> None:
        answered.append(exchange)
        answer(self, exchange)

    monkeypatch.setattr(KleinFrontend, "answer", counted)
    server = WireServer()
    server.site = site_for(HTTPSettings(front_end=name), server.router, server.connections)
    client = server.connect()
    client.send(POST)
    assert len(answered) == by_klein
    client.send(request("GET", "/none"))
    assert len(answered) == by_klein + 1
    assert client.statuses == [200, 404]
