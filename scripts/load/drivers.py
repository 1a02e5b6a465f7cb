"""
Send requests when they are due, in an open or in a closed loop.

An open loop sends at the arrival times, whatever the server does, and skips no request: after a
pause of the load test itself it sends all requests that became due during the pause, and their
latency counts from when they were due.  In a closed loop each client sends its next request when
its last one is answered.  Reactor thread only; times are seconds of the monotonic clock.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from scripts.load.exchange import Exchange, Sender
from scripts.load.record import Record

#: Seconds that a client of a closed loop pauses after an unsuccessful answer or a missing answer.
#: Without the pause the load would measure how fast a server refuses the same client.
PAUSE_SECONDS = 0.05


class Timer(Protocol):
    """Calls the open loop when its next request is due."""

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Call *call* at the time *when*; replaces a pending call."""


class LoadDriver:
    """
    The part common to both loops.

    `done` fires when all requests are sent and finished, or after `give_up` or `fail`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        sender: Sender,
        requests: Iterator[bytes],
        record: Record,
    ) -> None:
        """*requests* yields the bytes of each request, without end."""
        self.done: Deferred[None] = Deferred()
        self.record = record
        self.sending = True  #: whether more requests will be sent
        self._clock = clock
        self._sender = sender
        self._requests = requests
        self._under_way = 0

    def stop(self) -> None:
        """Send no more requests; `done` fires when those in flight have finished."""
        self.sending = False
        self._end_if_done()

    def _send(self, intended: float) -> None:
        self._under_way += 1
        asked = self._clock.seconds()
        self._sender.send(Exchange(next(self._requests), intended, asked, self._finished))

    def _finished(self, exchange: Exchange) -> None:
        self._under_way -= 1
        try:
            self.record.add(exchange)
            self._after_exchange(exchange)
        except Exception:  # noqa: BLE001 - the reactor would log it, and `done` never fire
            self.fail(Failure())
        self._end_if_done()

    def give_up(self) -> None:
        """Send no more requests, and fire `done` now; the record lacks the requests in flight."""
        self.sending = False
        if not self.done.called:
            self.done.callback(None)

    def fail(self, failure: Failure) -> None:
        """
        Send no more requests, and fail `done` with *failure*, an error of the load test itself.
        """
        self.sending = False
        if not self.done.called:
            self.done.errback(failure)

    def _after_exchange(self, exchange: Exchange) -> None:
        """Called when *exchange* has been added to the record."""

    def _end_if_done(self) -> None:
        if not self.sending and not self._under_way:
            self.give_up()


class OpenLoopDriver(LoadDriver):
    """Sends at the times *arrivals*, in ascending order: seconds after `record.start`."""

    def __init__(
        self,
        clock: IReactorTime,
        sender: Sender,
        requests: Iterator[bytes],
        record: Record,
        *,
        arrivals: Iterator[float],
        timer: Timer,
    ) -> None:
        super().__init__(clock, sender, requests, record)
        self._arrivals = arrivals
        self._waker = timer
        self._next = next(arrivals, None)
        self._wake()

    def _wake(self) -> None:
        if not self.sending:
            return
        try:
            self._send_due()
        except Exception:  # noqa: BLE001 - the reactor would log it, and `done` never fire
            self.fail(Failure())

    def _send_due(self) -> None:
        start, now = self.record.start, self._clock.seconds()
        while self._next is not None and start + self._next <= now:
            self._send(start + self._next)
            self._next = next(self._arrivals, None)
        if self._next is None:
            self.stop()
        else:
            self._waker.at(start + self._next, self._wake)


class ClosedLoopDriver(LoadDriver):
    """
    Runs *clients* clients until *seconds* after `record.start`.

    Each client sends a request, waits for the answer, and sends the next one.
    """

    def __init__(
        self,
        clock: IReactorTime,
        sender: Sender,
        requests: Iterator[bytes],
        record: Record,
        *,
        clients: int,
        seconds: float,
    ) -> None:
        super().__init__(clock, sender, requests, record)
        self._ends = record.start + seconds
        for _ in range(clients):
            self._send(clock.seconds())
        clock.callLater(seconds, self.stop)

    def _after_exchange(self, exchange: Exchange) -> None:
        if exchange.ended >= self._ends:
            self.sending = False
        elif not self.sending:
            return
        elif 200 <= exchange.status < 300:
            self._send(exchange.ended)
        else:
            self._clock.callLater(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if self.sending:
            self._send(self._clock.seconds())
