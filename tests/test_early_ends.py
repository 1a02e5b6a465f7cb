"""What a preflight has returned is called when its request ends early: server/http/messages.py."""

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred, succeed

from server.http.error_statuses import HTTPError
from server.http.limits import BodyTooLarge
from server.http.messages import Endpoint, Head, HTTPRequest, HTTPResponse, Route
from tests.fakes.http import Client, chunk, head
from tests.fakes.server import Log
from tests.fakes.wire import WireServer

HEAD = head("Content-Length: 2", target="/counted?k=%ff")
GOOD = head("Content-Length: 2", target="/counted")
CHUNKED = head("Transfer-Encoding: chunked", target="/counted")


class Ends:
    """A preflight that admits all requests but those that are refused, and keeps their ends."""

    def __init__(self) -> None:
        self.ends: list[BaseException | None] = []
        self.refusals: list[Exception | None] = []

    def __call__(self, head: Head) -> "Ends":
        """Admit the request."""
        self.refusals.append(head.refusal)
        return self

    def end_early(self, error: BaseException | None) -> None:
        """Keep *error*."""
        self.ends.append(error)


def answered(request: HTTPRequest) -> Deferred[HTTPResponse]:
    """Answer with the body."""
    return succeed(HTTPResponse(200, request.body))


def failing(request: HTTPRequest) -> Deferred[HTTPResponse]:
    """Raise an error."""
    raise KeyError(request.path)


def unwritable(_: HTTPRequest) -> Deferred[HTTPResponse]:
    """Answer with a header that cannot be encoded."""
    return succeed(HTTPResponse(200, b"", {"X-A": "\udcff"}))


def never(_: HTTPRequest) -> Deferred[HTTPResponse]:
    """Answer only if the client hangs up."""
    return Deferred()


Steps = Callable[[WireServer, Client], object]


def sent(*pieces: bytes) -> Steps:
    """Return the step that sends *pieces*."""
    return lambda _, client: client.send(*pieces)


def hung_up(*pieces: bytes) -> Steps:
    """Return the steps that send *pieces* and hang up."""

    def steps(_: WireServer, client: Client) -> None:
        client.send(*pieces)
        client.hang_up()

    return steps


def timed_out(server: WireServer, client: Client) -> None:
    """Send a part of a request until its time is up."""
    client.send(GOOD)
    server.clock.advance(8.0)


@pytest.mark.parametrize(
    ("endpoint", "steps", "status", "ends"),
    [
        (answered, sent(GOOD, b"{}"), [200], []),
        (answered, hung_up(GOOD, b"{}"), [200], []),
        (answered, hung_up(GOOD), [], [type(None)]),
        (never, hung_up(GOOD, b"{}"), [], [type(None)]),
        (answered, timed_out, [408], [HTTPError]),
        (answered, sent(CHUNKED, chunk(bytes(200))), [413], [BodyTooLarge]),
        (answered, sent(CHUNKED, b"zz\r\n"), [400], [HTTPError]),
        (answered, sent(HEAD, b"{}"), [400], [HTTPError]),
        (failing, sent(GOOD, b"{}"), [500], [KeyError]),
        (unwritable, sent(GOOD, b"{}"), [500], [UnicodeEncodeError]),
    ],
)
def test_each_request_without_an_answer_of_its_endpoint_ends_early(
    endpoint: Endpoint, steps: Steps, status: list[int], ends: list[type], log: Log
) -> None:
    """With the error that the client reads; if it has hung up, without one."""
    kept = Ends()
    server = WireServer(more=(Route("POST", "/counted", endpoint, operations=(), preflight=kept),))
    client = server.connect()
    steps(server, client)
    assert (client.statuses, [type(end) for end in kept.ends]) == (status, ends)
    assert kept.refusals == [None]
    client.hang_up()
    log.flush_errors()


def test_a_preflight_sees_the_refusal_of_a_body_that_is_declared_too_long() -> None:
    """Its client reads that refusal, whatever the preflight returns."""
    kept = Ends()
    server = WireServer(more=(Route("POST", "/counted", answered, operations=(), preflight=kept),))
    client = server.connect()
    client.send(head("Content-Length: 101", target="/counted"))
    assert client.statuses == [413]
    assert [str(it) for it in kept.refusals] == ["the body is 101 bytes, the limit is 100"]
