"""The calls to the servers of an etcd: server/discovery/engines/etcd_client.py."""

import pytest
from twisted.internet.defer import CancelledError, ensureDeferred

from server.discovery.engine import CALL_TIMEOUT, EngineError
from server.discovery.engine_url import parse_engine_url
from server.discovery.engines.etcd_client import EtcdClient, Stream
from tests.fakes.client_reactor import ClientReactor
from tests.fakes.threads import kinds, outcomes

REVOKE = "lease/revoke"

#: Whether the first server is off, so that no connection is made; else it does not answer.
IS_OFF = pytest.mark.parametrize("is_off", [True, False], ids=["off", "stopped"])


class Called:
    """A call to the servers a and b, of which neither answers by itself."""

    def __init__(self, *, is_off: bool) -> None:
        self.reactor = ClientReactor()
        self.reactor.silent = {"a"} if is_off else set()
        self.client = EtcdClient(parse_engine_url("etcd://a,b"), self.reactor)
        self.call = ensureDeferred(self.client.call(REVOKE, {"ID": "7"}))
        self.outcome = outcomes(self.call)

    def wait(self, seconds: float) -> None:
        """Let *seconds* pass; the reactor has further turns."""
        self.reactor.advance(seconds)
        for _ in range(3):
            self.reactor.advance(0)


@IS_OFF
def test_the_next_server_is_called_when_one_does_not_answer_in_time(is_off: bool) -> None:
    """Each has its part of the time; then the reason is one line."""
    called = Called(is_off=is_off)
    called.wait(CALL_TIMEOUT / 2)
    assert called.reactor.tried == ["a", "b"]
    assert called.outcome == []
    called.wait(CALL_TIMEOUT / 2)
    (error,) = called.outcome
    assert isinstance(error, EngineError)
    assert str(error) == "etcd: no answer in time"
    assert called.reactor.getDelayedCalls() == []


@IS_OFF
def test_a_cancelled_call_ends_without_a_call_to_the_next_server(is_off: bool) -> None:
    """Otherwise a write that was given up could follow the removal of the record."""
    called = Called(is_off=is_off)
    called.call.cancel()
    called.wait(0)
    assert kinds(called.outcome) == [CancelledError]
    assert called.reactor.tried == ["a"]
    assert not any(it.is_open for it in called.reactor.connections)
    assert called.reactor.getDelayedCalls() == []


#: The parts of a body, and the lines before a line of more than 8 bytes.
BODIES: dict[str, tuple[list[bytes], list[bytes], bool]] = {
    "parts of a line": ([b"a", b"b", b"c\nd", b"\n"], [b"abc", b"d"], False),
    "empty lines": ([b"\n\na\n\n"], [b"a"], False),
    "the longest": ([b"1234", b"5678\n"], [b"12345678"], False),
    "too long in parts": ([b"a\n1234", b"56789", b"\nb\n"], [b"a"], True),
    "too long at once": ([b"a\n123456789\nb\n"], [b"a"], True),
}


@pytest.mark.parametrize(("parts", "expected", "fails"), BODIES.values(), ids=BODIES)
def test_a_stream_has_lines_of_limited_length(
    parts: list[bytes], expected: list[bytes], fails: bool
) -> None:
    """A longer one ends it."""
    lines: list[bytes] = []
    stream = Stream(lines.append, max_line=8)
    ended = outcomes(stream.ended)
    for part in parts:
        stream.dataReceived(part)
    assert lines == expected
    assert list(map(str, ended)) == (["etcd: a line has more than 8 bytes"] if fails else [])
