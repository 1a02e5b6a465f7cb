"""
Lend out connections: a free one, a new one, or, where there are as many as may be, a place in line.

Decides what is tried again: a request on a kept connection that the server had closed meanwhile,
once and on a new connection, as clients do.  All else that fails is told.  Reactor thread only.
"""

from collections import deque
from collections.abc import Callable
from typing import cast

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from scripts.load.connection import Connection
from scripts.load.exchange import Exchange


class _Connections(Factory):
    noisy = False

    def __init__(self, build: Callable[[], Connection]) -> None:
        self.build = build

    def buildProtocol(self, addr: object) -> Connection:
        return self.build()


class Pool:
    """The connections to one server."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        *,
        limit: int,
        timeout: float,
        seconds: Callable[[], float],
    ) -> None:
        """*limit* connections at most; *timeout* seconds from when a request was due."""
        self.opened = 0  #: connections ever opened
        self.retried = 0  #: requests sent once more since the connection was stale
        self.waited = 0  #: requests that had to wait for one of *limit* connections
        self._endpoint = endpoint
        self._limit = limit
        self._timeout = timeout
        self._seconds = seconds
        self._factory = _Connections(lambda: Connection(self, seconds))
        self._free: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening = 0
        self._closed = False
        self._line: deque[Exchange] = deque()
        self._under_way: dict[Exchange, Connection | None] = {}

    @property
    def in_flight(self) -> int:
        """Requests that were handed over and have not finished."""
        return len(self._under_way)

    def send(self, exchange: Exchange) -> None:
        """Send it on the connection that was used last, on a new one, or when one is free."""
        self._under_way[exchange] = None
        self._place(exchange)

    def _place(self, exchange: Exchange) -> None:
        if not self._begins(exchange):
            self.waited += 1
            self._line.append(exchange)

    def _begins(self, exchange: Exchange) -> bool:
        """Send *exchange* on a free connection or on a new one, and return whether there is one."""
        while self._free:
            connection = self._free.pop()
            if connection.reusable:  # or it is about to be lost
                self._lend(connection, exchange)
                return True
        if len(self._all) + self._opening >= self._limit:
            return False
        self._open(exchange)
        return True

    def _lend(self, connection: Connection, exchange: Exchange) -> None:
        self._under_way[exchange] = connection
        connection.send(exchange)

    def _open(self, exchange: Exchange) -> None:
        self._opening += 1
        self.opened += 1

        def opened(protocol: IProtocol) -> None:
            connection = cast("Connection", protocol)
            self._opening -= 1
            self._all.add(connection)
            if self._closed:
                connection.close()
            elif exchange in self._under_way:
                self._lend(connection, exchange)
            else:  # its time ran out meanwhile
                self._give_back(connection)

        def failed(failure: Failure) -> None:
            self._opening -= 1
            self._end(exchange, _in_words(failure))
            self._next_in_line()

        self._endpoint.connect(self._factory).addCallbacks(opened, failed)

    def answered(self, connection: Connection, exchange: Exchange) -> None:
        """Lend *connection* to the next in line, and finish *exchange*."""
        del self._under_way[exchange]
        if connection.reusable:
            self._give_back(connection)
        exchange.finish(exchange)

    def _give_back(self, connection: Connection) -> None:
        self._free.append(connection)
        self._next_in_line()

    def _next_in_line(self) -> None:
        while self._line:
            exchange = self._line.popleft()
            if exchange in self._under_way:
                if not self._begins(exchange):
                    self._line.appendleft(exchange)
                return

    def lost(self, connection: Connection, exchange: Exchange | None, reason: str) -> None:
        """Forget *connection*; what it was to bring is tried again or fails with *reason*."""
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if exchange is not None and exchange in self._under_way:
            if connection.stale and not exchange.retried:
                exchange.retried = True
                self.retried += 1
                self._under_way[exchange] = None
                self._open(exchange)  # in the place of the connection that was lost
                return
            self._end(exchange, reason)
        self._next_in_line()

    def expire(self) -> None:
        """Give up what was due longer ago than the timeout; to be called now and then."""
        due = self._seconds() - self._timeout
        late: list[Exchange] = []
        for exchange in self._under_way:  # in the order they were due
            if exchange.intended > due:
                break
            late.append(exchange)
        for exchange in late:
            connection = self._under_way.get(exchange)
            what = "no connection" if connection is None else "no answer"
            self._end(exchange, f"{what} within {self._timeout:g} s")
            if connection is not None:
                connection.abort()

    def _end(self, exchange: Exchange, reason: str) -> None:
        if exchange not in self._under_way:
            return
        del self._under_way[exchange]
        exchange.ended = self._seconds()
        exchange.detail = reason
        exchange.finish(exchange)

    def close(self) -> None:
        """End every connection; what is under way never finishes."""
        self._closed = True
        self._under_way.clear()
        self._line.clear()
        for connection in self._all:
            if connection in self._free:
                connection.close()
            else:
                connection.abort()


def _in_words(failure: Failure) -> str:
    if failure.check(Refused):
        return "the connection was refused"
    if failure.check(ConnectTimeout, CancelledError):
        return "the connection timed out"
    return f"no connection: {failure.getErrorMessage()}"
