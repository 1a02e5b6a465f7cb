"""
SIGTERM and SIGINT (Ctrl-C): the first drains the server, the second ends the process at once.

The first signal stops the reactor, which calls `InferenceService.stopService`: that answers every
accepted request, and then the process ends.  This module handles the second signal, and SIGHUP,
after which the files of the models are read again.  A supervisor of several workers handles the
same signals.
"""

import os
import signal
from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

_log = Logger()

#: The exit code if requests were dropped.
DROPPED = 1


class Stoppable(Protocol):
    """What a signal stops: an `InferenceService` or a `Supervisor`."""

    on_stop: list[Callable[[], object]]
    start_has_failed: bool

    def abort(self) -> None:
        """Drop the requests that are not answered yet, and stop at once."""


def end_at_once_on_second_signal(
    service: Stoppable,
    reactor: Any,
    *,
    clean_up: Callable[[], object] = lambda: None,
) -> None:
    """
    Make SIGTERM and SIGINT abort *service* once it stops; the reactor handles the first signal.

    When the stop begins, a log line states what a second signal does, because the process may
    first have to wait for the start or for a request to end.

    After the second signal, when the reactor has stopped, *clean_up* is called and the process ends
    with exit code `DROPPED`.  It does not wait for threads, because a run may still block one.

    Call this function on the main thread.  *reactor* is Any for the same reason as in
    `InferenceService`.
    """

    def end() -> None:
        clean_up()
        os._exit(DROPPED)

    def abort() -> None:
        _abort(service, reactor, end)

    def abort_soon(*_: object) -> None:
        reactor.callFromThread(abort)

    def stops() -> None:
        signal.signal(signal.SIGTERM, abort_soon)
        signal.signal(signal.SIGINT, abort_soon)
        if not service.start_has_failed:
            _log.info(
                "stopping; a second signal (Ctrl-C) stops the server at once and drops requests"
            )

    service.on_stop.append(stops)


def _abort(service: Stoppable, reactor: Any, end: Callable[[], object]) -> None:
    reactor.addSystemEventTrigger("after", "shutdown", end)
    service.abort()


def stop_on_first_signal(service: Stoppable, reactor: Any) -> Callable[[], None]:
    """
    Make the first SIGTERM or SIGINT stop *reactor*, and later ones do nothing.

    For a worker: a service manager or a terminal may send its signal to the supervisor and to all
    workers, and the supervisor sends another, at the same moment.  Return what ends the process at
    once.  Call this function on the main thread.
    """

    def ignore() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def first(*_: object) -> None:
        ignore()  # now, not in a turn of the reactor, which a second stop would fail in
        reactor.callFromThread(reactor.stop)

    def handle() -> None:
        signal.signal(signal.SIGTERM, first)
        signal.signal(signal.SIGINT, first)

    reactor.callWhenRunning(handle)  # after the reactor has set its own handlers
    service.on_stop.append(ignore)  # a stop that no signal has begun
    return lambda: _abort(service, reactor, lambda: os._exit(DROPPED))


def call_on_signal(number: signal.Signals, call: Callable[[], object], reactor: Any) -> None:
    """Call *call* on the reactor thread after each signal *number*; on the main thread."""
    signal.signal(number, lambda *_: reactor.callFromThread(call))


def reload_on_hangup(reload: Callable[[], object], reactor: Any) -> None:
    """
    Call *reload* after SIGHUP, unless the process ignores this signal, as under nohup.

    When the terminal of the process has been closed, which sends the same signal, the reactor stops
    instead.  Call this function on the main thread.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    has_terminal = os.isatty(0)

    def hung_up() -> None:
        if has_terminal and not os.isatty(0):
            reactor.stop()
        else:
            reload()

    call_on_signal(signal.SIGHUP, hung_up, reactor)
