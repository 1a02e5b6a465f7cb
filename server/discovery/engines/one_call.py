"""
One call at a time to a registry, which ends in time.

Runs on the reactor thread.
"""

from collections.abc import Coroutine
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from server.discovery.engine import CALL_TIMEOUT, EngineError


class OneCall:
    """
    Runs the calls of a `Registrar`.

    A later call ends an earlier one that is still going, so that a record that is withdrawn is
    not written again by a call that began before.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._running: Deferred[None] | None = None

    def run(self, call: Coroutine[Any, Any, None]) -> Deferred[None]:  # Any: what it awaits
        """
        Run *call*; its Deferred fails with `EngineError` when it fails, or is late or ended.

        If the Deferred is cancelled, it fails with CancelledError.
        """
        self.end()
        running = self._running = ensureDeferred(call)
        running.addTimeout(CALL_TIMEOUT, self._clock)
        return running.addErrback(self._as_engine_error, running)

    def end(self) -> None:
        """End the call that is still going, if there is one."""
        if self._running is not None:
            running, self._running = self._running, None
            running.cancel()

    def _as_engine_error(self, failure: Failure, running: Deferred[None]) -> None:
        """Raise the error of *running* in the words of a registry."""
        if failure.check(defer.TimeoutError):
            raise EngineError(f"no answer within {CALL_TIMEOUT:g} s")
        if failure.check(CancelledError) and self._running is not running:
            raise EngineError("the call was given up")
        failure.raiseException()
