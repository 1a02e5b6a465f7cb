"""
Send requests when they are due, in an open or in a closed loop.

An open loop sends when the arrivals say, whatever the server does, and never skips one: after a
pause of its own it sends what fell due meanwhile, late, and the latency counts from when it was
due.  In a closed loop each client sends its next request when it has its answer.  Reactor thread
only; times are seconds of the monotonic clock.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from scripts.load.exchange import Exchange, Sender
from scripts.load.record import Record

#: How long a client of a closed loop pauses, in seconds, after anything but a success: nobody
#: learns anything from how quickly a server refuses the same client again.
PAUSE = 0.05


class Waker(Protocol):
    """What wakes the open loop."""

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Call *call* at the time *when*; the last one set counts."""


class Drive:
    """What both loops have in common: `done` fires when all that was sent has finished."""

    def __init__(
        self,
        clock: IReactorTime,
        sender: Sender,
        requests: Iterator[bytes],
        record: Record,
    ) -> None:
        """*requests* never ends."""
        self.done: Deferred[None] = Deferred()
        self.record = record
        self.sending = True  #: whether more will be sent
        self._clock = clock
        self._sender = sender
        self._requests = requests
        self._under_way = 0

    def stop(self) -> None:
        """Send no more; what is under way may still finish."""
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
            self._go_on(exchange)
        except Exception:  # noqa: BLE001 - the reactor would log it and wait for ever
            self.fail(Failure())
        self._end_if_done()

    def give_up(self) -> None:
        """Wait no longer for what is under way; it is left out of the record."""
        self.sending = False
        if not self.done.called:
            self.done.callback(None)

    def fail(self, failure: Failure) -> None:
        """Let `done` fail, for something here is wrong."""
        self.sending = False
        if not self.done.called:
            self.done.errback(failure)

    def _go_on(self, exchange: Exchange) -> None:
        """Do what follows the end of *exchange*."""

    def _end_if_done(self) -> None:
        if not self.sending and not self._under_way:
            self.give_up()


class OpenDrive(Drive):
    """Sends when *arrivals* say: seconds from the record's start, in order."""

    def __init__(
        self,
        clock: IReactorTime,
        sender: Sender,
        requests: Iterator[bytes],
        record: Record,
        *,
        arrivals: Iterator[float],
        waker: Waker,
    ) -> None:
        super().__init__(clock, sender, requests, record)
        self._arrivals = arrivals
        self._waker = waker
        self._next = next(arrivals, None)
        self._wake()

    def _wake(self) -> None:
        if not self.sending:
            return
        try:
            self._send_due()
        except Exception:  # noqa: BLE001 - the reactor would log it and wait for ever
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


class ClosedDrive(Drive):
    """Has *clients* that each send, wait for the answer and send again, for *seconds*."""

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

    def _go_on(self, exchange: Exchange) -> None:
        if exchange.ended >= self._ends:
            self.sending = False
        elif not self.sending:
            return
        elif 200 <= exchange.status < 300:
            self._send(exchange.ended)
        else:
            self._clock.callLater(PAUSE, self._resume)

    def _resume(self) -> None:
        if self.sending:
            self._send(self._clock.seconds())
