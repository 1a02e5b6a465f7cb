"""
`python -m benchmarks.known_server`: a server that answers each request after a known time.

Its purpose is to check the figures of a load test.  Each answer has a body of two bytes, at so
little cost that the load test itself limits the rate.
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

reactor: Any = installed  # Any: no type declares both timers and sockets

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class KnownTimes:
    """Calls functions in the order in which they were passed to `call`, each after a known time."""

    def __init__(self, delay: float, stall_at: int, stall: float) -> None:
        """
        Each function is called *delay* seconds after it was passed to `call`, or after a stall.

        The stall begins with call number *stall_at* and lasts *stall* seconds; there is no stall if
        *stall_at* is 0.  Functions that are passed during the stall are not called before its end.
        """
        self._delay = delay
        self._stall_at = stall_at
        self._stall = stall
        self._calls = 0
        self._not_before = 0.0
        self._seconds = MonotonicTime(reactor).seconds
        self._timer = PreciseTimer(reactor)
        self._due: deque[tuple[float, Callable[[], object]]] = deque()

    def call(self, function: Callable[[], object]) -> None:
        """
        Call *function* after the delay; at once if the delay is 0 and no earlier function waits.
        """
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
    """One connection; answers requests in their order."""

    def __init__(self, times: KnownTimes) -> None:
        self._times = times
        self._parser = HttpRequestParser(self)

    def connectionMade(self) -> None:
        """
        Called when the connection is made: turn off Nagle's algorithm, which delays small answers.
        """
        cast("ITCPTransport", self.transport).setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        """Called when a part of a request arrives."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Called by llhttp when a request is complete: answer it."""
        self._times.call(self._answer)

    def _answer(self) -> None:
        cast("ITCPTransport", self.transport).write(ANSWER)


class KnownFactory(Factory):
    """Builds the protocol of each connection."""

    noisy = False

    def __init__(self, times: KnownTimes) -> None:
        self._times = times

    def buildProtocol(self, addr: object) -> KnownProtocol:
        """Return the protocol of a new connection."""
        return KnownProtocol(self._times)


@click.command()
@click.option("--port", default=0, show_default=True, help="On 127.0.0.1; 0: any free port.")
@click.option("--delay", type=Duration(zero=True), default="0s", help="The time of an answer.")
@click.option(
    "--stall-at", default=0, help="The number of the request that begins a stall; 0: none."
)
@click.option("--stall", type=Duration(zero=True), default="0s", help="The length of the stall.")
def main(port: int, delay: float, stall_at: int, stall: float) -> None:
    """Print the port and answer requests until a signal ends the program."""
    factory = KnownFactory(KnownTimes(delay, stall_at, stall))
    listening = reactor.listenTCP(port, factory, backlog=1024, interface="127.0.0.1")
    click.echo(listening.getHost().port)
    reactor.run()


if __name__ == "__main__":
    main()
