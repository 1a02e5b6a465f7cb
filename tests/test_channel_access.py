"""Entries of the access log, and its errors: server/http/access.py, channel.py, site.py."""

import pytest
from twisted.internet.address import HostnameAddress, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from server.http.access import Access, client_name
from server.http.request import LimitedRequest
from server.settings.table import Settings
from tests.fakes.http import PEER, Client, chunk, request
from tests.fakes.server import Log
from tests.fakes.service import ServiceHarness
from tests.fakes.site import EchoServer

pytestmark = pytest.mark.usefixtures("log")


def test_each_answer_is_logged_once() -> None:
    """With all fields of an entry."""
    entries: list[Access] = []
    client = EchoServer(access_log=entries.append).connect()
    client.send(request("GET", "/a?b", headers={"X-Request-Id": "mine"}))
    client.send(request("POST", "/c", b"body", headers={"X-Request-Id": "yours"}))
    assert entries == [
        Access("192.0.2.7", "GET", "/a?b", 200, len(b"GET /a?b "), "mine"),
        Access("192.0.2.7", "POST", "/c", 200, len(b"POST /c body"), "yours"),
    ]


def test_the_timing_of_an_answer_is_logged() -> None:
    """As in its Server-Timing header."""
    entries: list[Access] = []
    server = EchoServer(at_once=False, access_log=entries.append)
    client = server.connect()
    client.send(request("GET"))
    waiting = server.resource.waiting[0].request
    assert isinstance(waiting, LimitedRequest)
    waiting.begin_answer(200, {"Server-Timing": "queue;dur=1", "Content-Length": "6"})
    server.resource.answer_all()
    assert [access.timing for access in entries] == ["queue;dur=1"]


POST = b"POST /p?q HTTP/1.1\r\n"
REFUSALS = {
    "no request": (b"hello\r\n", ("-", "-", 400)),
    "a first line too long": (b"GET /" + b"x" * 16_400, ("-", "-", 431)),
    "half a first line": (b"GET /p", ("-", "-", 408)),
    "a field too long": (POST + b"A: " + b"x" * 16_400, ("POST", "/p?q", 431)),
    "half a head": (POST, ("POST", "/p?q", 408)),
    "a field": (POST + b"no colon\r\n\r\n", ("POST", "/p?q", 400)),
    "a length": (POST + b"Content-Length: 101\r\n\r\n", ("POST", "/p?q", 413)),
    "half a body": (POST + b"Content-Length: 9\r\n\r\nhalf", ("POST", "/p?q", 408)),
    "a chunk": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(bytes(60)),
        ("POST", "/p?q", 429),
    ),
    "a path": (request("GET", "/%ff"), ("GET", "/%ff", 400)),
}


@pytest.mark.parametrize(("data", "known"), REFUSALS.values(), ids=REFUSALS.keys())
@pytest.mark.parametrize("before", [b"", request("GET", "/before"), request(body=b"hello")])
def test_each_early_refusal_is_logged_once(
    data: bytes, known: tuple[str, str, int], before: bytes
) -> None:
    """With the fields known when it is refused."""
    entries: list[Access] = []
    server = EchoServer(max_held=50, access_log=entries.append)
    client = server.connect()
    client.send(before + data)
    if known[2] == 408:
        server.clock.advance(8.0)
    answer = client.answers[-1]
    request_id = answer.headers["x-request-id"]
    assert entries[-1] == Access("192.0.2.7", *known, len(answer.body), request_id)
    client.hang_up()
    assert len(entries) == (2 if before else 1)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (PEER, "192.0.2.7"),
        (IPv6Address("TCP", "2001:db8::7", 1), "2001:db8::7"),
        (UNIXAddress(None), "unix"),
        (UNIXAddress(b"/run/a\nb"), "unix"),
        (HostnameAddress(b"example.org", 1), "-"),
    ],
)
def test_every_client_has_a_name(address: IAddress, name: str) -> None:
    """One that is safe in a line of a log, for any kind of address."""
    assert client_name(address) == name


@pytest.mark.parametrize("peer", [UNIXAddress(None), UNIXAddress(b""), PEER], ids=repr)
def test_the_server_logs_every_client(
    monkeypatch: pytest.MonkeyPatch, log: Log, peer: IAddress
) -> None:
    """Answers and refusals alike, one line each."""
    harness = ServiceHarness(monkeypatch, Settings(access_log=True))
    client = Client(harness.service.site, harness.reactor, peer=peer)
    headers = {"X-Request-Id": "mine"}
    client.send(
        request("GET", "/healthz", headers=headers), request("GET", "/none"), b"nonsense\r\n"
    )
    assert client.statuses == [200, 404, 400]
    name = client_name(peer)
    first, second, third = log.lines()
    assert first == f"{name} GET /healthz 200 {len(client.answers[0].body)} mine "
    assert second.startswith(f"{name} GET /none 404 ")
    assert third.startswith(f"{name} - - 400 {len(client.answers[2].body)} ")


@pytest.mark.parametrize("data", [request("GET"), b"nonsense\r\n"], ids=["answer", "refusal"])
def test_a_log_that_fails_breaks_no_answer(data: bytes, log: Log) -> None:
    """Its error is logged, and the connection works on."""

    def fail(_: Access) -> None:
        raise OSError(28, "No space left on device")

    server = EchoServer(access_log=fail)
    client = server.connect()
    client.send(data)
    assert len(client.answers) == 1
    assert server.when_quiet() == [None]
    server.clock.advance(30)
    assert not server.site.connections.open
    (line,) = log.flush(OSError)
    assert line.startswith("the access log failed")


def test_a_header_that_was_set_is_sent_unchanged() -> None:
    """Encoded once, beside those of `begin_answer`."""
    server = EchoServer(at_once=False)
    client = server.connect()
    client.send(request("GET"))
    waiting = server.resource.waiting[0].request
    assert isinstance(waiting, LimitedRequest)
    waiting.setHeader("X-Label", "café")  # type: ignore[no-untyped-call]  # Twisted's
    waiting.begin_answer(200, {"Content-Length": "6", "X-Other": "thé"})
    server.resource.answer_all()
    assert "X-Label: café\r\n".encode() in client.received
    assert "X-Other: thé\r\n".encode() in client.received
