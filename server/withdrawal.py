"""
Remove a server from its registry before it stops, and serve those that have its address already.

Runs on the reactor thread.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from server.discovery.announcer import MAX_CLOSE_SECONDS, MAX_WITHDRAW_SECONDS
from server.discovery.cancelling import ended_when_cancelled
from server.settings.table import Settings

#: How long a stop of the server waits for that of its announcer, which ends in time by itself.
MAX_ANNOUNCER_STOP_SECONDS = MAX_WITHDRAW_SECONDS + MAX_CLOSE_SECONDS + 0.5

#: How long a server that was registered accepts connections after it is withdrawn, by default:
#: clients keep answers of the DNS for 2 s, and HAProxy asks once a second.
ANNOUNCED_DRAIN_SECONDS = 3.0

_log = Logger()


async def withdraw_in_time(
    withdraw: Callable[[], Coroutine[Deferred[Any], Any, None]],
    clock: IReactorTime,
    *,
    is_aborted: Callable[[], bool],
) -> None:
    """
    Wait until *withdraw* is done, up to `MAX_ANNOUNCER_STOP_SECONDS`; a failure is logged.

    Raises CancelledError if *is_aborted* returns True when the wait is cancelled.
    """
    withdrawing = ended_when_cancelled(ensureDeferred(withdraw()))
    try:
        await withdrawing.addTimeout(MAX_ANNOUNCER_STOP_SECONDS, clock)
    except Exception:
        if is_aborted():
            raise
        _log.failure("the server was not withdrawn from its registry")


def drain_seconds(settings: Settings) -> float:
    """Return how long a server accepts new connections after a stop signal, in seconds."""
    if settings.drain_delay is not None:
        return settings.drain_delay
    return 0.0 if settings.announce is None else ANNOUNCED_DRAIN_SECONDS
