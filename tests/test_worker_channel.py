"""Calls between the supervisor and a worker: server/workers/channel.py."""

from collections.abc import Callable
from typing import Any

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


def _fail(error: Exception) -> object:
    raise error


@pytest.mark.parametrize(
    ("name", "handler", "reason"),
    [
        ("call", lambda _: 1 // 0, "integer division or modulo by zero"),
        ("other", lambda _: None, "no call 'call'"),
        ("call", lambda _: object(), "Type is not JSON serializable: object"),
        ("call", lambda _: _fail(OSError("no \udcff.toml")), "no \\udcff.toml"),
    ],
    ids=["fails", "missing", "an answer that is no JSON", "a message that is no JSON"],
)
def test_an_error_of_the_other_end_fails_the_call(
    name: str,
    handler: Callable[[Any], Any],  # Any: JSON
    reason: str,
) -> None:
    """With its message."""
    pair = Pair({}, {name: handler})
    answer = outcomes(pair.left.call("call"))
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


def test_a_lost_connection_fails_each_call_once() -> None:
    """Also if the failure of one call cancels another."""
    pair = Pair({}, {"slow": lambda _: Deferred()})
    calls = [pair.left.call("slow") for _ in range(3)]
    ended = [outcomes(it.addBoth(_cancel(calls))) for it in calls]
    pair.left.connectionLost()
    assert [len(it) for it in ended] == [1, 1, 1]
    assert pair.lost == ["left"]


def _cancel(calls: list[Deferred[Any]]) -> Callable[[object], object]:
    """Return a callback that cancels *calls*, and returns what it is called with."""

    def callback(result: object) -> object:
        for call in calls:
            call.cancel()
        return result

    return callback
