"""Bytes in, bytes out, and what becomes of the connection: server/http/, by any front end."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from twisted.internet.address import HostnameAddress, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress

from server.http.connection import ABORT_SECONDS, LINGER_SECONDS
from server.http.error_statuses import HTTPError
from server.http.head import http_date
from server.http.messages import Head, HTTPResponse
from tests.fakes.http import (
    PEER,
    Answer,
    Client,
    HalfCloseable,
    PlainTransport,
    SlowClient,
    chunk,
    head,
    request,
)
from tests.fakes.server import Log
from tests.fakes.wire import FRONT_ENDS, FrontEnd, WireServer
from tests.wire_cases import BODY, BUSY_HEAD, CASES, CHUNKED, GET, POST, ROUTED, TIMEOUT, End, Step
from tests.wire_rules import RULES

pytestmark = pytest.mark.usefixtures("log")

#: What is sent before a case, the bytes of a segment, whether answers wait, and the transport.
VARIATIONS: list[tuple[bytes, int, bool, type[PlainTransport]]] = [
    (b"", 100_000, False, HalfCloseable),
    (b"", 1, True, PlainTransport),
    (GET, 100_000, True, PlainTransport),
    (GET, 1, False, HalfCloseable),
    (POST, 100_000, False, PlainTransport),
    (POST, 7, True, HalfCloseable),
]


@pytest.fixture(params=list(FRONT_ENDS))
def front_end(request: pytest.FixtureRequest) -> FrontEnd:
    """Each front end in turn."""
    return FRONT_ENDS[request.param]


def summary(answer: Answer) -> str:
    """Return the status, Retry-After, and the body or the error, without blanks at the end."""
    fields = answer.headers
    text = answer.body.decode("latin-1")
    if answer.status >= 400:
        error = answer.json()
        assert error == {
            "error": error["error"],
            "status": answer.status,
            "request_id": fields["x-request-id"],
        }
        assert fields["content-type"] == "application/json"
        text = error["error"]
    assert (answer.status in (429, 503)) == ("retry-after" in fields)
    assert "allow" in fields or answer.status != 405
    text = text or fields.get("allow", "")
    assert text.endswith(fields.get("allow", ""))
    assert ("content-type" in fields) == (
        answer.status not in {100, 204} and text != fields.get("allow")
    )
    after = f"after {fields['retry-after']}: " if "retry-after" in fields else ""
    return f"{answer.status} {after}{text}".strip()


def check_answers(server: WireServer, client: Client, expected: Sequence[str]) -> None:
    """
    Compare what *client* has received, and the entries of the access log, with *expected*.

    Each answer is counted.
    """
    answers = client.answers
    statuses = Counter(answer.status for answer in answers if answer.status != 100)
    assert server.connections.answers == statuses
    assert len(answers) == len(expected), [summary(answer) for answer in answers]
    entries = iter(server.entries)
    for answer, text in zip(answers, expected, strict=True):
        found = summary(answer)
        if answer.status != 100:
            entry = next(entries)
            assert {"server", "date"} <= answer.headers.keys()
            assert (entry.client, entry.status, entry.sent, entry.request_id) == (
                "192.0.2.7",
                answer.status,
                len(answer.body),
                answer.headers["x-request-id"],
            )
            if not text[0].isdigit():
                found = f"{entry.method} {entry.uri} {found}"
        beginning = text.removesuffix("...")
        assert (found if beginning == text else found[: len(beginning)]) == beginning
    assert list(entries) == []


def check_end(server: WireServer, client: Client, end: End) -> None:
    """Check that the connection of *client* ends as *end*, and that nothing remains of it."""
    if end is End.BUSY:
        assert client.is_open()
        assert server.connections.busy
        return
    answered, transport = client.received, client.transport
    closes = bool(answered) and "connection" in client.answers[-1].headers
    assert closes or not server.lifecycle.leaving
    assert server.limits.held == server.others
    assert server.when_quiet() == [None]
    if end is End.OPEN:
        assert client.is_open()
        assert not closes
        server.clock.advance(TIMEOUT)
    elif end is End.CLOSED:
        assert not client.is_open()
    else:
        assert closes
        assert transport.half_closed == isinstance(transport, HalfCloseable)
        for _ in range(8):
            client.send(BODY, b"\r\n\r\n" + GET)
            server.clock.advance(LINGER_SECONDS / 16)
        server.connections.close_idle()
        assert client.is_open()
        server.clock.advance(LINGER_SECONDS / 2)
    server.clock.advance(0)
    assert server.is_clean()
    assert client.received == answered


def run(server: WireServer, client: Client, steps: Sequence[Step], cut: int) -> None:
    """Make *steps*, in segments of up to *cut* bytes; unless a step answers, all are answered."""
    answers_itself = any(step in (WireServer.answer, WireServer.answer_all) for step in steps)
    for step in steps:
        if isinstance(step, bytes):
            for at in range(0, len(step), cut):
                client.send(step[at : at + cut])
                if not answers_itself:
                    server.answer_all()
        elif isinstance(step, float):
            server.clock.advance(step)
        else:
            step(server)


@pytest.mark.parametrize(
    ("steps", "answers", "end"),
    [case[1:] for case in CASES + RULES],
    ids=[case[0] for case in CASES + RULES],
)
def test_a_client_receives_its_answers(
    steps: Sequence[Step], answers: str, end: End, front_end: FrontEnd
) -> None:
    """In segments of any size, behind other requests, answered at once or later, TCP and TLS."""
    calls = any(callable(step) for step in steps)
    sent = [step for step in steps if isinstance(step, bytes)]
    server = WireServer(front_end)
    for before, most, later, kind in VARIATIONS:
        if before and (calls or b"HEAD " in b"".join(sent)):
            continue
        if calls:
            server = WireServer(front_end)
        server.later = later or calls
        server.entries.clear()
        server.connections.answers.clear()
        client = server.connect(kind=kind)
        client_steps = list(steps)
        expected = answers.split(" | ") if answers else []
        if before:
            expected.insert(0, "200" if before == GET else "200 hello")
            place = steps.index(sent[0]) if sent else 0
            client_steps[place : place + bool(sent)] = [b"".join([before, *sent[:1]])]
        longest = max(map(len, sent), default=0)
        cut = longest + 1000 if calls else max(most, longest // 200)
        run(server, client, client_steps, cut)
        check_answers(server, client, expected)
        check_end(server, client, end)
        client.hang_up()


@pytest.mark.parametrize(("method", "target", "answer"), ROUTED)
def test_literal_routes_precede_prefixes_and_longer_ones_shorter_ones(
    method: str, target: str, answer: str, front_end: FrontEnd
) -> None:
    """In any order of the table; an endpoint receives the rest as the client has sent it."""
    for order in (1, -1):
        server = WireServer(front_end, prefixes=True, order=order)
        client = server.connect()
        client.send(request(method, target))
        check_answers(server, client, [answer])
        assert all("%" not in seen.path.partition("s")[0] for seen in server.seen)


def test_each_byte_of_an_answer_is_as_documented(front_end: FrontEnd) -> None:
    """Of an endpoint, and of a refusal; fields of an endpoint override those of the front end."""
    fields = {"X-Extra": "café", "Server-Timing": "queue;dur=1"}
    answer = HTTPResponse(799, b"\0\xff", fields, content_type="image/png")
    answers: Deferred[HTTPResponse] = Deferred()
    server = WireServer(front_end, endpoint=lambda _: answers)
    client = server.connect()
    own = {"X-Request-Id": "mine"}
    client.send(request(headers=own), head("Content-Length: 101", "X-Request-Id: yours"))
    answers.callback(answer)
    date = client.received.partition(b"Date: ")[2].partition(b"\r\n")[0]
    lines = client.received.replace(date, b"DATE").split(b"\r\n")
    assert (lines[0], sorted(lines[1:8]), lines[8]) == (
        b"HTTP/1.1 799 Unknown Status",
        [
            b"Content-Length: 2", b"Content-Type: image/png", b"Date: DATE",
            b"Server-Timing: queue;dur=1", b"Server: TensorFerry",
            "X-Extra: café".encode(), b"X-Request-Id: mine",
        ],
        b"",
    )  # fmt: skip
    assert lines[9:] == [
        b"\0\xffHTTP/1.1 413 Request Entity Too Large", b"Server: TensorFerry",
        b"Content-Type: application/json", b"Content-Length: 86", b"X-Request-Id: yours",
        b"Date: DATE", b"Connection: close", b"",
        b'{"error":"the body is 101 bytes, the limit is 100","status":413,"request_id":"yours"}\n',
    ]  # fmt: skip
    assert [entry.server_timing for entry in server.entries] == ["queue;dur=1", ""]
    assert http_date(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize("value", ["a{}Evil: 1", "{}Evil: 1", "a{}", "a{0}{0}"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_no_value_adds_a_line(value: str, end: str, front_end: FrontEnd) -> None:
    """Nor ends the head."""
    fields = {"First": value.format(end), "Last": value.format(end)}
    answer = HTTPResponse(200, b"body", fields)
    client = WireServer(front_end, endpoint=lambda _: succeed(answer)).connect()
    client.send(request())
    assert client.answer.body == b"body"
    assert {"first", "last"} <= client.answer.headers.keys()
    assert not {"evil", "a"} & client.answer.headers.keys()


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        *[(own, True) for own in (b"a", b"!~", b"0f-" * 42, b"x" * 128)],
        *[
            (own, False)
            for own in (b"", b"a b", b"x" * 129, b"a\tb", b"\x7f", b"\xff", b"\xc3\xa9")
        ],
        *[(own, False) for own in (b"a\rEvil: 1", b"\x1b[31m", b"\0")],
    ],
)
def test_a_clients_own_request_id_is_kept_if_it_is_printable_and_short(
    own: bytes, kept: bool, front_end: FrontEnd
) -> None:
    """The endpoint, the header, a refusal's body and the log have the same id; else a new one."""
    ids = []
    for line in (b"GET /state", b"POST /") * 2:
        server = WireServer(front_end)
        client = server.connect()
        length = b"Content-Length: 101\r\n" if line == b"POST /" else b""
        client.send(
            line + b" HTTP/1.1\r\nHost: a\r\nX-Request-Id: " + own + b"\r\n" + length + b"\r\n"
        )
        check_answers(server, client, [summary(client.answer)])
        assert "evil" not in client.answer.headers
        ids.append(client.answer.headers["x-request-id"])
        assert [seen.request_id for seen in server.seen] in ([], ids[-1:])
    assert (set(ids) == {own.decode("latin-1")}) == kept
    assert len(set(ids)) == (1 if kept else 4)
    assert all(re.fullmatch("[!-~]{1,128}", each) for each in ids)


@pytest.mark.parametrize(
    ("data", "status", "error"),
    [
        (head("Content-Length: 101"), 413, "the body is 101 bytes, the limit is"),
        (CHUNKED + chunk(bytes(101)), 413, "the body is more than 100 bytes"),
        (CHUNKED + chunk(bytes(60)), 429, "the server holds 950 bytes of"),
        (head("Content-Length: 9"), 408, "the request did not arrive within 8 sec"),
        (CHUNKED + b"many\r\n", 400, "the body of this request is not"),
        (head(target="/?%ff=1"), 400, "the query is not UTF-8"),
        (head(), 409, "no"),
    ],
)
@pytest.mark.parametrize("path", [b"/own", b"/own/x", b"/%6fwn", b"/own?k=1"])
def test_a_route_writes_its_errors_in_its_own_form(
    data: bytes, status: int, error: str, path: bytes, front_end: FrontEnd
) -> None:
    """As soon as its head is complete and its route is found."""
    if b"%" in path and b"/ " in data and status != 409:
        return  # the route of an escaped path is found when the request is complete
    conflict = HTTPError(409, "no")
    server = WireServer(front_end, prefixes=True, endpoint=lambda _: fail(conflict))
    server.hold(950)
    client = server.connect()
    client.send(data.replace(b"/", path, 1).replace(b"\r\n", b"\r\nX-Request-Id: mine\r\n", 1))
    server.clock.advance(TIMEOUT)
    answer = client.answer
    assert (answer.status, answer.headers["content-type"]) == (status, "text/plain")
    assert answer.body.decode().startswith(error)
    assert answer.body.endswith(b" mine")
    assert answer.headers["x-request-id"] == "mine"


# --- preflights


def test_the_preflight_is_called_before_the_body_arrives(front_end: FrontEnd) -> None:
    """Its head has all of the later request, except for the query and the body."""
    server = WireServer(front_end)
    client = server.connect()
    client.send(request(target="/judged?k=1", headers={"Content-Length": "2", "X-A": "1"}))
    (given,) = server.heads
    assert (server.seen, client.received) == ([], b"")
    server.clock.advance(1)
    client.send(b"hi")
    (served,) = server.seen
    assert client.statuses == [200]
    for name in ("method", "path", "rest", "headers", "request_id", "received", "connection"):
        assert getattr(served, name) == getattr(given, name)
    assert served.headers is given.headers  # decoded once
    assert (given.method, given.path, given.received) == ("POST", "/judged", 64.0)
    assert (given.headers["x-a"], served.preflighted) == ("1", given)


JUDGED = head("Content-Length: 100", target="/judged")


@pytest.mark.parametrize(
    ("segments", "admitted"),
    [
        ([JUDGED + BODY], [True]),
        ([(JUDGED + BODY) * 2], [True, True]),
        ([JUDGED[:9], JUDGED[9:] + BODY], [True]),
        ([JUDGED, BODY], [False]),
        ([JUDGED + BODY[:9], BODY[9:]], [False]),
        ([JUDGED + BODY + JUDGED, BODY], [True, False]),
        ([request("POST", "http://here/judged", BODY)], [True]),
    ],
)
def test_a_preflight_holds_for_a_body_that_arrives_with_its_head(
    segments: list[bytes], admitted: list[bool], front_end: FrontEnd
) -> None:
    """If more segments arrived since, or there was no preflight, the endpoint checks again."""
    server = WireServer(front_end)
    client = server.connect()
    client.send(*segments)
    assert [served.admitted for served in server.seen] == admitted
    assert len(client.answers) == len(admitted)
    preflighted: list[Head | None] = [*server.heads] or [None]
    assert [served.preflighted for served in server.seen] == preflighted


def test_a_refusal_by_the_head_has_the_fields_of_the_preflight(front_end: FrontEnd) -> None:
    """And those of every answer; no other."""
    client = WireServer(front_end).connect()
    client.send(BUSY_HEAD)
    assert client.answer.headers.keys() == {
        "content-type", "content-length", "x-request-id", "retry-after", "x-model-version",
        "server", "date",
    }  # fmt: skip


def test_a_drain_leaves_time_to_read_a_refusal(front_end: FrontEnd) -> None:
    """Also where its connection is kept: a client that still sends would see a reset instead."""
    server = WireServer(front_end)
    client = server.connect()
    client.send(BUSY_HEAD + b"half")
    server.connections.close_idle()
    assert client.transport.half_closed
    client.send(BODY)
    assert client.statuses == [429]
    assert client.is_open()
    server.clock.advance(LINGER_SECONDS)
    assert server.is_clean()


@pytest.mark.parametrize("data", [BUSY_HEAD, head("Content-Length: 101")])
@pytest.mark.parametrize("kind", [Client, SlowClient])
def test_nothing_remains_of_a_client_that_hangs_up_after_its_refusal(
    kind: type[Client | SlowClient], data: bytes, front_end: FrontEnd
) -> None:
    """No timer, no bytes."""
    server = WireServer(front_end)
    client = kind(server.site, server.clock)
    client.send(data)
    if isinstance(client, Client):
        client.hang_up()
    else:
        client.read_all()
        client.transport.abortConnection()
    server.clock.advance(0)
    assert server.is_clean()


# --- requests as endpoints receive them


def test_an_endpoint_receives_the_request_decoded(front_end: FrontEnd) -> None:
    """With header names in lower case, repeated ones joined, and a decoded path."""
    server = WireServer(front_end)
    client = server.connect()
    client.send(
        b"POST /?b=1&a=%C3%A9&b=+2&c= HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n"
        b"X-Twice: one\r\nx-tWICE: two\r\nX-Latin: \xe9\r\nContent-Length: 3\r\n\r\n"
    )
    server.clock.advance(2)
    client.send(b"\0\xff.", request("GET", "/%73tate?x=%2F"))
    other = server.connect()
    other.send(GET)
    first, second, third = server.seen
    assert (first.method, first.path, first.body) == ("POST", "/", b"\0\xff.")
    assert dict(first.query) == {"b": ("1", " 2"), "a": ("é",), "c": ("",)}
    assert (first.headers["x-twice"], first.headers["x-latin"]) == ("one, two", "é")
    assert (first.request_id, first.received) == ("mine", 64.0)  # when its head was read
    assert (second.path, second.received) == ("/state", 66.0)
    assert first.connection is second.connection
    assert first.connection is not third.connection


# --- bodies


def _sends_the_rest(server: WireServer, client: Client) -> None:
    client.send(bytes(20))
    server.answer_all()


def _sends_too_much(_: WireServer, client: Client) -> None:
    client.send(b"\x80\r\n" + bytes(30))


def _hangs_up(_: WireServer, client: Client) -> None:
    client.hang_up()


def _hangs_up_waiting(_: WireServer, client: Client) -> None:
    client.send(bytes(20))
    client.hang_up()


def _is_too_slow(server: WireServer, _: Client) -> None:
    server.clock.advance(TIMEOUT)


def _is_cut_off(server: WireServer, _: Client) -> None:
    server.connections.abort_all()
    server.clock.advance(0)


DECLARED = head("Content-Length: 100")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        *((DECLARED, end) for end in (_sends_the_rest, _hangs_up, _hangs_up_waiting)),
        *((start, end) for start in (DECLARED, CHUNKED) for end in (_is_too_slow, _is_cut_off)),
        (CHUNKED, _sends_too_much),
    ],
)
def test_the_bytes_of_a_body_are_released(
    start: bytes, end: Callable[[WireServer, Client], None], front_end: FrontEnd
) -> None:
    """However its request ends; until then other bodies may get a 429."""
    server = WireServer(front_end, later=True)
    server.limits.max_held = 150
    first, second, third = (server.connect() for _ in range(3))
    first.send(start, bytes(80) if start == DECLARED else chunk(bytes(80)))
    assert server.limits.held == 80
    second.send(CHUNKED + chunk(bytes(70)))
    assert second.received == b""
    second.send(b"1\r\nx")
    text = "429 after 1: the server holds 150 bytes of requests, the limit is 150"
    assert summary(second.answer) == text
    assert server.limits.held == 80
    second.hang_up()
    assert server.limits.held == 80
    end(server, first)
    assert server.limits.held == 0
    if third.is_open():
        third.send(request(body=bytes(100)))
        server.answer_all()
        assert third.statuses == [200]
        assert server.limits.held == 0


# --- the ends of connections


@pytest.mark.parametrize(
    ("first", "rest"), [(POST[:5], POST[5:]), (POST[:5], POST[5:] + b"\r\n"), (POST + b"GET", None)]
)
@pytest.mark.parametrize("later", [False, True])
def test_a_server_is_quiet_when_all_requests_are_answered(
    first: bytes, rest: bytes | None, later: bool, front_end: FrontEnd
) -> None:
    """Idle connections and line ends do not count; nor do requests of a client that hangs up."""
    server = WireServer(front_end, later=later)
    server.connect()
    client = server.connect()
    client.send(first)
    fired = server.when_quiet()
    assert not fired
    if rest is None:
        client.hang_up()
    else:
        client.send(rest)
        assert bool(fired) != later
    server.answer_all()
    assert fired == [None]
    assert len(server.connections.open) == (1 if rest is None else 2)


@pytest.mark.parametrize("data", [GET, b"GET / HT", b"nonsense\r\n"])
def test_a_drain_closes_the_idle_connections_alone(data: bytes, front_end: FrontEnd) -> None:
    """Those that send a request or wait for an answer stay; later bytes of others are ignored."""
    server = WireServer(front_end, later=True)
    idle, sending, waiting, served = (server.connect() for _ in range(4))
    sending.send(b"GET / HT")
    served.send(POST)
    server.answer_all()
    waiting.send(POST)
    answered = served.received
    server.connections.close_idle()
    idle.send(data)
    served.send(data)
    server.clock.advance(0)
    clients = (idle, sending, waiting, served)
    assert [client.is_open() for client in clients] == [False, True, True, False]
    assert (server.connections.accepted, len(server.connections.open)) == (4, 2)
    assert (idle.received, served.received) == (b"", answered)
    server.connections.abort_all()
    server.clock.advance(0)
    assert [client.transport.aborted for client in clients] == [False, True, True, False]
    server.answer_all()
    assert server.is_clean()


@pytest.mark.parametrize(("timeout", "data"), [(8.0, b""), (1.0, b"hello\r\n")])
def test_a_connection_that_does_not_close_is_cut_off(
    timeout: float, data: bytes, front_end: FrontEnd
) -> None:
    """Its client may have vanished; the linger does not depend on the time of a request."""
    server = WireServer(front_end, client_timeout=timeout)
    client = server.connect(closes=False)
    client.send(*[data] * bool(data))
    seconds = LINGER_SECONDS if data else timeout
    server.clock.advance(seconds - 0.5)
    assert client.is_open()
    server.clock.advance(0.5)
    assert not client.is_open()
    server.clock.advance(ABORT_SECONDS - 0.5)
    assert not client.transport.aborted
    server.clock.advance(0.5)
    assert client.transport.aborted


# --- the access log


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        (PEER, "192.0.2.7"),
        (IPv6Address("TCP", "2001:db8::7", 1), "2001:db8::7"),
        (UNIXAddress(None), "unix"),
        (UNIXAddress(b"/run/a\nb"), "unix"),
        (HostnameAddress(b"example.org", 1), "-"),
    ],
)
@pytest.mark.parametrize("data", [GET, b"nonsense\r\n"], ids=["answer", "refusal"])
def test_each_client_has_a_name_that_is_safe_in_a_log(
    data: bytes, peer: IAddress, name: str, front_end: FrontEnd
) -> None:
    """For any kind of address."""
    server = WireServer(front_end)
    server.connect(peer=peer).send(data)
    assert [entry.client for entry in server.entries] == [name]


@pytest.mark.parametrize("data", [GET, b"nonsense\r\n"], ids=["answer", "refusal"])
def test_a_log_that_fails_breaks_no_answer(data: bytes, front_end: FrontEnd, log: Log) -> None:
    """Its error is logged, and the connection works on."""

    def fail_to_write(_: object) -> None:
        raise OSError(28, "No space left on device")

    server = WireServer(front_end)
    server.connections.access_log = fail_to_write
    client = server.connect()
    client.send(data)
    assert len(client.answers) == 1
    assert server.when_quiet() == [None]
    server.clock.advance(30)
    assert server.is_clean()
    (line,) = log.flush(OSError)
    assert line.startswith("the access log failed")
