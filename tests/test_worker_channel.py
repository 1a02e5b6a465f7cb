"""Calls between the supervisor and a worker: server/workers/channel.py."""

from collections.abc import Mapping

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from server.workers.channel import Channel, ChannelError, Handler
from tests.fakes.threads import outcomes


class Pair:
    """Two ends of a connection, whose bytes `exchange` carries over."""

    def __init__(self, left: Mapping[str, Handler], right: Mapping[str, Handler]) -> None:
        self.clock = Clock()
        self.lost: list[str] = []
        self.left = Channel(left, self.clock, lambda: self.lost.append("left"))
        self.right = Channel(right, self.clock, lambda: self.lost.append("right"))
        self.wires = (StringTransport(), StringTransport())
        self.left.makeConnection(self.wires[0])  # type: ignore[no-untyped-call]  # Twisted's
        self.right.makeConnection(self.wires[1])  # type: ignore[no-untyped-call]  # the same

    def exchange(self) -> None:
        """Carry bytes in pieces of 3 until there are none."""
        moved = True
        while moved:
            moved = False
            for wire, other in zip(self.wires, (self.right, self.left), strict=True):
                data = wire.value()
                wire.clear()
                for start in range(0, len(data), 3):
                    other.dataReceived(data[start : start + 3])  # type: ignore[no-untyped-call]  # the same
                moved = moved or bool(data)


def test_calls_go_in_both_directions() -> None:
    """Each with its own argument and answer."""
    pair = Pair({"double": lambda it: it * 2}, {"name": lambda _: "right"})
    answers = [pair.right.call("double", 4), pair.right.call("double", "a"), pair.left.call("name")]
    pair.exchange()
    assert [outcomes(it) for it in answers] == [[8], ["aa"], ["right"]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("fails", "integer division or modulo by zero"), ("missing", "no call 'missing'")],
    ids=["fails", "missing"],
)
def test_an_error_of_the_other_end_fails_the_call(name: str, reason: str) -> None:
    """With its message."""
    pair = Pair({}, {"fails": lambda _: 1 // 0})
    answer = outcomes(pair.left.call(name))
    pair.exchange()
    assert [repr(it) for it in answer] == [repr(ChannelError(reason))]


def test_a_call_without_an_answer_fails_in_time() -> None:
    """An answer that comes later is ignored."""
    late: Deferred[str] = Deferred()
    pair = Pair({}, {"slow": lambda _: late})
    answer = outcomes(pair.left.call("slow", timeout=2))
    pair.exchange()
    pair.clock.advance(2)
    assert [repr(it) for it in answer] == [repr(ChannelError("slow: no answer within 2 s"))]
    late.callback("late")
    pair.exchange()
    assert len(answer) == 1


def test_a_lost_connection_fails_all_calls() -> None:
    """Those that wait and those that are made later."""
    pair = Pair({}, {"slow": lambda _: Deferred()})
    first = outcomes(pair.left.call("slow"))
    pair.left.connectionLost()
    second = outcomes(pair.left.call("slow"))
    assert [repr(it) for it in (*first, *second)] == [
        repr(ChannelError("the process has ended")),
        repr(ChannelError("slow: the process has ended")),
    ]
    assert pair.lost == ["left"]
