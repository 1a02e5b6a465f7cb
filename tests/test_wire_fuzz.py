"""Random and mutated bytes break nothing, in either front end."""

from random import Random

import pytest

from server.http.access import Access
from server.http.connection import ABORT_SECONDS, LINGER_SECONDS
from tests.fakes.wire import FRONT_ENDS, WireServer
from tests.wire_cases import POST, TIMEOUT
from tests.wire_fuzz import fuzzed
from tests.wire_judge import judged

pytestmark = pytest.mark.usefixtures("log")

#: How many clients send such bytes to a server.
COUNT = 300


def method_of(entry: Access) -> str:
    """Return the method of an answered request; that of a malformed one may be no word."""
    return entry.method if entry.method.isalpha() else "GET"


def fuzz(server: WireServer, random: Random, count: int) -> None:
    """Let *count* clients send such bytes, one after the other."""
    for number in range(count):
        server.entries.clear()
        client, good = server.connect(), server.connect()
        segments = fuzzed(random)
        for segment in segments:
            if client.is_open():
                client.send(segment)
            server.answer_all()
        if random.random() < 0.2 and client.transport.connected:
            client.hang_up()
        good.send(POST)
        server.answer_all()
        assert good.answer.body == b"hello"
        good.hang_up()
        methods = [method_of(entry) for entry in server.entries[:-1]]
        for seconds in (TIMEOUT, LINGER_SECONDS, ABORT_SECONDS):
            server.clock.advance(seconds)
        assert server.is_clean(), (number, segments)
        methods += [method_of(entry) for entry in server.entries[len(methods) + 1 :]]
        judged(client.received, methods, closed=True)
        server.seen.clear()
        server.heads.clear()


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("later", [False, True])
def test_no_bytes_break_the_server(front_end: str, later: bool) -> None:
    """Each connection ends within its limits, h11 reads its answers, and the next client's."""
    random = Random(7)  # noqa: S311  # the same bytes each time
    fuzz(WireServer(FRONT_ENDS[front_end], later=later), random, COUNT)
