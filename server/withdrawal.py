"""
Remove a server from its registry before it stops.

Runs on the reactor thread.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

#: How long a stop waits for a registry.
MAX_WITHDRAW_SECONDS = 5.0

_log = Logger()


async def withdraw_in_time(
    withdraw: Callable[[], Deferred[None]],
    clock: IReactorTime,
    *,
    is_aborted: Callable[[], bool],
) -> None:
    """
    Wait until *withdraw* is done, but no longer than `MAX_WITHDRAW_SECONDS`; a failure is logged.

    Raises CancelledError if *is_aborted* returns True when the wait is cancelled.
    """
    try:
        await maybeDeferred(withdraw).addTimeout(MAX_WITHDRAW_SECONDS, clock)
    except Exception:
        if is_aborted():
            raise
        _log.failure("the server was not withdrawn from its registry")
