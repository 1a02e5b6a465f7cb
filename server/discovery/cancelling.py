"""
End the wait for a call at once when it is cancelled, whatever the call makes of that.

A call over the network may report its cancellation as another error, as twisted.web and its
endpoints do, or begin its next step.  Then a timeout is not recognised, and a stop waits.
Imports nothing of ours.  Runs on the reactor thread.
"""

from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred

T = TypeVar("T")


def ended_when_cancelled(call: Deferred[T]) -> Deferred[T]:
    """
    Return a Deferred with the outcome of *call*, which fails at once when it is cancelled.

    *call* is cancelled then, too, and what becomes of it is dropped.
    """

    def cancel(outcome: Deferred[T]) -> None:
        outcome.errback(CancelledError())
        call.cancel()

    outcome: Deferred[T] = Deferred(cancel)
    call.addBoth(lambda result: None if outcome.called else outcome.callback(result))
    return outcome
