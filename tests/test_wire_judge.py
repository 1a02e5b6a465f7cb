"""h11 as an independent judge of the wire: of the answers, and of the requests."""

import pytest

from tests.fakes.wire import FRONT_ENDS, WireServer
from tests.wire_cases import CASES, End
from tests.wire_judge import judged, refused
from tests.wire_rules import RULES

pytestmark = pytest.mark.usefixtures("log")

#: The cases that are bytes alone.
SENT: list[tuple[str, bytes, End]] = [
    (name, b"".join(step for step in steps if isinstance(step, bytes)), end)
    for name, steps, _, end in CASES + RULES
    if steps and all(isinstance(step, bytes) for step in steps)
]

#: The requests that h11 refuses, and this server answers as the RFCs have it.
ANSWERED = {
    "9112 2.2 line ends before the first line": "9112 2.2: ignore at least one; here all",
    **dict.fromkeys(
        ("9112 2.2 line ends between requests", "a line end", "a line end behind a body"),
        "the same",
    ),
    **dict.fromkeys(
        ("9112 9.3 HTTP/1.0 with keep-alive", "9112 9.3 keep-alive in any case"),
        "9112 9.3: HTTP/1.0 may be kept; h11 never keeps it",
    ),
    "9112 7.1.1 the extension b' ; a = b'": "9112 7.1.1: there may be blanks",
}


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_h11_accepts_every_answer(front_end: str) -> None:
    """As a client that has sent these methods; nothing follows an answer that closes."""
    server = WireServer(FRONT_ENDS[front_end])
    for name, steps, _, end in CASES + RULES:
        if any(callable(step) for step in steps):
            continue
        server.entries.clear()
        client = server.connect()
        for step in steps:
            if isinstance(step, bytes):
                client.send(step)
            elif isinstance(step, float):
                server.clock.advance(step)
        methods = [it.method if it.method.isalpha() else "GET" for it in server.entries]
        statuses = [entry.status for entry in server.entries]
        closed = end in (End.CLOSED, End.LINGERS)
        answers = judged(client.received, methods, closed=closed)
        assert [it.status for it in answers if it.status != 100] == statuses, name
        assert all({"date", "server", "x-request-id"} <= it.headers.keys() for it in answers[-1:])
        lengths = [it for it in answers if "content-length" not in it.headers]
        assert {it.status for it in lengths} <= {100, 204}, name
        client.hang_up()


@pytest.mark.parametrize(("name", "sent", "end"), SENT, ids=[name for name, _, _ in SENT])
def test_no_request_that_h11_refuses_is_answered(name: str, sent: bytes, end: End) -> None:
    """But by a refusal that closes; behind the last request, the server reads nothing."""
    if end in (End.OPEN, End.BUSY):
        assert bool(refused(sent)) == (name in ANSWERED), refused(sent)
