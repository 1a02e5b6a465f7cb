"""
`python -m benchmarks.known_server`: a server whose every answer takes a known time.

What a load test says of it can be checked, and as the cheapest server there is it shows what the
load test itself can send.  It reads requests and answers two bytes.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import click
from httptools import HttpRequestParser
from twisted.internet import reactor as installed
from twisted.internet.protocol import Factory, Protocol

from scripts.load.precise_timer import PreciseTimer
from scripts.load.units import Duration
from server.clock import MonotonicTime

if TYPE_CHECKING:
    from twisted.internet.interfaces import ITCPTransport

reactor: Any = installed  # Any: no type says that it has timers and sockets at once

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class KnownTimes:
    """Calls back what it is given in order, each a known time later."""

    def __init__(self, delay: float, stall_at: int, stall: float) -> None:
        """All are seconds but *stall_at*, the number of the call that begins the stall; 0: none."""
        self._delay = delay
        self._stall_at = stall_at
        self._stall = stall
        self._calls = 0
        self._not_before = 0.0
        self._seconds = MonotonicTime(reactor).seconds
        self._timer = PreciseTimer(reactor)
        self._due: deque[tuple[float, Callable[[], object]]] = deque()

    def call(self, function: Callable[[], object]) -> None:
        """Call *function* when its time has come: at once, where there is nothing to wait for."""
        now = self._seconds()
        self._calls += 1
        if self._calls == self._stall_at:
            self._not_before = now + self._stall
        when = max(now + self._delay, self._not_before)
        if when <= now and not self._due:
            function()
            return
        self._due.append((when, function))
        if len(self._due) == 1:
            self._timer.at(when, self._wake)

    def _wake(self) -> None:
        now = self._seconds()
        while self._due and self._due[0][0] <= now:
            _, function = self._due.popleft()
            function()
        if self._due:
            self._timer.at(self._due[0][0], self._wake)


class KnownProtocol(Protocol):
    """One connection; requests are answered in their order."""

    def __init__(self, times: KnownTimes) -> None:
        self._times = times
        self._parser = HttpRequestParser(self)

    def connectionMade(self) -> None:
        """Send small answers at once."""
        cast("ITCPTransport", self.transport).setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        """Read a piece of a request."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answer; llhttp calls this."""
        self._times.call(self._answer)

    def _answer(self) -> None:
        cast("ITCPTransport", self.transport).write(ANSWER)


class KnownFactory(Factory):
    """Makes the connections."""

    noisy = False

    def __init__(self, times: KnownTimes) -> None:
        self._times = times

    def buildProtocol(self, addr: object) -> KnownProtocol:
        """Return the protocol of a new connection."""
        return KnownProtocol(self._times)


@click.command()
@click.option("--port", default=0, show_default=True, help="On 127.0.0.1; 0 takes any.")
@click.option("--delay", type=Duration(zero=True), default="0s", help="How long an answer takes.")
@click.option("--stall-at", default=0, help="The request at which it stalls.")
@click.option("--stall", type=Duration(zero=True), default="0s", help="For how long.")
def main(port: int, delay: float, stall_at: int, stall: float) -> None:
    """Answer requests until a signal ends it; prints the port."""
    factory = KnownFactory(KnownTimes(delay, stall_at, stall))
    listening = reactor.listenTCP(port, factory, backlog=1024, interface="127.0.0.1")
    click.echo(listening.getHost().port)
    reactor.run()


if __name__ == "__main__":
    main()
