"""Calls to a registry: server/discovery/engines/one_call.py."""

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from server.discovery.engine import CALL_TIMEOUT, EngineError
from server.discovery.engines.one_call import OneCall
from tests.fakes.threads import kinds, outcomes


async def after(waiting: Deferred[None], done: list[str], name: str) -> None:
    """Add *name* to *done* when *waiting* has fired."""
    await waiting
    done.append(name)


def test_a_later_call_ends_an_earlier_one() -> None:
    """So that a record that is withdrawn is not written again."""
    calls, done = OneCall(Clock()), list[str]()
    first, second = Deferred[None](), Deferred[None]()
    put = outcomes(calls.run(after(first, done, "put")))
    withdraw = outcomes(calls.run(after(second, done, "withdraw")))
    first.callback(None)
    second.callback(None)
    assert [repr(it) for it in put] == [repr(EngineError("the call was given up"))]
    assert (withdraw, done) == ([None], ["withdraw"])


def test_a_call_that_its_caller_cancels_is_cancelled() -> None:
    """Not refused by the registry, so that nothing is tried again or logged."""
    call = OneCall(Clock()).run(after(Deferred(), [], "put"))
    cancelled = outcomes(call)
    call.cancel()
    assert kinds(cancelled) == [CancelledError]


def test_a_call_fails_in_time() -> None:
    """No timer is left."""
    clock = Clock()
    late = outcomes(OneCall(clock).run(after(Deferred(), [], "put")))
    clock.advance(CALL_TIMEOUT - 0.1)
    assert late == []
    clock.advance(0.2)
    assert [repr(it) for it in late] == [repr(EngineError("no answer within 3 s"))]
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("error", [EngineError("refused"), KeyError("a bug")], ids=repr)
def test_other_errors_stay_as_they_are(error: Exception) -> None:
    """A mistake of ours is not taken for one of the registry."""
    waiting = Deferred[None]()
    failed = outcomes(OneCall(Clock()).run(after(waiting, [], "put")))
    waiting.errback(error)
    assert failed == [error]
