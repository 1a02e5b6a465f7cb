"""
Assign each request a connection: a free one, a new one, or, at the limit, the next free one.

A request is sent again in one case, as HTTP clients do: the server had already closed the kept
connection.  It is sent again once, on a new connection.  Every other failure is recorded.  Reactor
thread only.
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


class ConnectionPool:
    """The connections to one server."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        *,
        limit: int,
        timeout: float,
        seconds: Callable[[], float],
        connection: type[Connection] = Connection,
    ) -> None:
        """
        *limit* is the largest number of connections at a time.

        A request fails *timeout* seconds after it was due; *seconds* returns the time of the clock.
        *connection* may keep more of the answers.
        """
        self.opened = 0  #: connections ever opened
        self.retried = 0  #: requests sent again because the connection was stale
        self.waited = 0  #: requests that waited because *limit* connections were busy
        self._endpoint = endpoint
        self._limit = limit
        self._timeout = timeout
        self._seconds = seconds
        self._factory = _Connections(lambda: connection(self, seconds))
        self._free: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening = 0
        self._closed = False
        self._waiting: deque[Exchange] = deque()
        self._under_way: dict[Exchange, Connection | None] = {}

    @property
    def in_flight(self) -> int:
        """The number of requests that were passed to `send` and have not finished."""
        return len(self._under_way)

    def send(self, exchange: Exchange) -> None:
        """
        Send *exchange* on the free connection used last, else on a new connection.

        At the limit of connections, it waits until a connection is free.
        """
        self._under_way[exchange] = None
        self._start_or_queue(exchange)

    def _start_or_queue(self, exchange: Exchange) -> None:
        if not self._try_start(exchange):
            self.waited += 1
            self._waiting.append(exchange)

    def _try_start(self, exchange: Exchange) -> bool:
        """
        Send *exchange* on a free or a new connection; return False if there is none at the limit.
        """
        while self._free:
            connection = self._free.pop()
            if connection.reusable:  # else its end has yet to be reported
                self._assign(connection, exchange)
                return True
        if len(self._all) + self._opening >= self._limit:
            return False
        self._open(exchange)
        return True

    def _assign(self, connection: Connection, exchange: Exchange) -> None:
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
                self._assign(connection, exchange)
            else:  # it timed out meanwhile
                self._release(connection)

        def failed(failure: Failure) -> None:
            self._opening -= 1
            self._end(exchange, _reason_text(failure))
            self._start_next()

        self._endpoint.connect(self._factory).addCallbacks(opened, failed)

    def answered(self, connection: Connection, exchange: Exchange) -> None:
        """
        Called when *exchange* is answered: reuse *connection* if possible, then call `finish`.
        """
        del self._under_way[exchange]
        if connection.reusable:
            self._release(connection)
        exchange.finish(exchange)

    def _release(self, connection: Connection) -> None:
        self._free.append(connection)
        self._start_next()

    def _start_next(self) -> None:
        while self._waiting:
            exchange = self._waiting.popleft()
            if exchange in self._under_way:
                if not self._try_start(exchange):
                    self._waiting.appendleft(exchange)
                return

    def lost(self, connection: Connection, exchange: Exchange | None, reason: str) -> None:
        """Called when *connection* has ended: send its exchange again or fail it with *reason*."""
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
        self._start_next()

    def expire(self) -> None:
        """
        Fail the requests that were due more than the timeout ago; the caller calls it periodically.
        """
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
        """
        End every connection; `finish` is not called for the requests that are waiting or in flight.
        """
        self._closed = True
        self._under_way.clear()
        self._waiting.clear()
        for connection in self._all:
            if connection in self._free:
                connection.close()
            else:
                connection.abort()


def _reason_text(failure: Failure) -> str:
    if failure.check(Refused):
        return "the connection was refused"
    if failure.check(ConnectTimeout, CancelledError):
        return "the connection timed out"
    return f"no connection: {failure.getErrorMessage()}"
