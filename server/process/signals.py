"""
Let a second signal end at once what the first one began.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from server.lifecycle import State
from server.service import InferenceService

_log = Logger()

#: The exit code of a server that dropped requests.
DROPPED = 1


def end_at_once_on_second_signal(
    service: InferenceService, reactor: Any, *, clean_up: Callable[[], object] = lambda: None
) -> None:
    """
    Make SIGTERM and SIGINT abort *service* once it drains; the reactor took the first of them.

    A line in the log says so, since a start or a request may have to end first.

    The process then ends with `DROPPED`, after *clean_up*, as soon as the reactor has stopped,
    without waiting for threads: one of them may be in a run that nobody waits for any more.  Called
    on the main thread.  Any: see `InferenceService`.
    """

    def leave() -> None:
        clean_up()
        os._exit(DROPPED)

    def abort() -> None:
        reactor.addSystemEventTrigger("after", "shutdown", leave)
        service.abort()

    def abort_soon(*_: object) -> None:
        reactor.callFromThread(abort)

    def watch(state: State) -> None:
        if state is State.DRAINING:
            signal.signal(signal.SIGTERM, abort_soon)
            signal.signal(signal.SIGINT, abort_soon)
            if not service.start_has_failed:
                _log.info("stopping; a second signal (Ctrl-C) ends at once")

    service.lifecycle.observe(watch)
