"""Calls between the supervisor and a worker: server/workers/channel.py."""

import pytest
from twisted.internet.defer import Deferred

from server.workers.channel import ChannelError
from tests.fakes.threads import outcomes
from tests.fakes.worker_group import Pair


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
