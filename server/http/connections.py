"""
The connections of one server, for any front end: what all of them share.

May import neither twisted.web nor Klein; everything here runs on the reactor thread.
"""

from collections.abc import Callable
from random import random

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from server.http.access import Access, AccessLog
from server.http.connection import Connection
from server.http.connection_limits import ConnectionLimits, TooMany
from server.http.cors import Cors
from server.http.limits import BodyLimits
from server.http.receiver import Receiver

_log = Logger()

#: The least seconds between two lines of the log about refused connections.
MIN_LINE_INTERVAL_SECONDS = 10.0


class Connections:
    """All connections of one server: their limits, their access log, and how they are drained."""

    def __init__(
        self,
        *,
        limits: BodyLimits,
        connection_limits: ConnectionLimits,
        clock: IReactorTime,
        access_log: AccessLog | None = None,
        draining: Callable[[], bool] = bool,
        cors: Cors | None = None,
        chance: Callable[[], float] = random,
    ) -> None:
        """
        *draining* returns whether the server drains.  *cors* has the origins whose pages may read
        the answers; None: there are none.  *chance*, from 0 to 1, decides the age at which a
        connection closes.
        """
        self.limits = limits
        self.connection_limits = connection_limits
        self.clock = clock
        self.chance = chance
        self.access_log = access_log
        self.draining = draining
        self.cors = cors
        self.open: set[Connection] = set()
        #: Connections accepted so far.
        self.accepted = 0
        #: Those of them that were refused, because too many were open.
        self.refused = 0
        #: Requests whose head is complete, and that are not answered.
        self.in_flight = 0
        #: Answers so far, by status.
        self.answers: dict[int, int] = {}
        self._next_line = 0.0  # when the log may have the next line about refused connections
        self._waiting_for_quiet: list[Deferred[None]] = []

    def accept(self, receiver: Receiver) -> Connection:
        """Return the new connection of *receiver*, which is idle; called when it is made."""
        connection = Connection(receiver, self)
        self.accepted += 1
        self.open.add(connection)
        return connection

    def count_refused(self) -> None:
        """Count a connection that is one too many; log that, but not for each one."""
        self.refused += 1
        now = self.clock.seconds()
        if now >= self._next_line:
            self._next_line = now + MIN_LINE_INTERVAL_SECONDS
            _log.warn(
                "connections are refused, {refused} so far: --max-connections {most} are open",
                refused=self.refused,
                most=self.connection_limits.max_connections,
            )

    def refusal(self, method: str) -> TooMany | None:
        """
        Return the error for a further request, if too many are in flight; else None.

        Methods that only ask are always answered: probes and metrics are needed most at such a
        time.
        """
        most = self.connection_limits.max_in_flight
        if self.in_flight < most or method in ("GET", "HEAD", "OPTIONS"):
            return None
        return TooMany(f"the server answers {self.in_flight} requests, the limit is {most}")

    def answered(self, status: int) -> None:
        """Count an answer, early or not; called once for each, when it has been written."""
        self.answers[status] = self.answers.get(status, 0) + 1

    def log(self, access: Access) -> None:
        """Write *access* to the access log; an error is logged, and the answer is still sent."""
        if self.access_log is None:
            return
        try:
            self.access_log(access)
        except Exception:  # noqa: BLE001  # no error of the log may break an answer
            _log.failure("the access log failed")

    def check_quiet(self) -> None:
        """Fire the Deferreds of `when_quiet` if no connection is busy."""
        if self._waiting_for_quiet and not self.busy:
            waiting, self._waiting_for_quiet = self._waiting_for_quiet, []
            for quiet in waiting:
                quiet.callback(None)

    @property
    def busy(self) -> bool:
        """Whether any connection receives or answers a request."""
        return any(connection.busy for connection in self.open)

    def when_quiet(self) -> Deferred[None]:
        """Return a Deferred that fires when no connection receives or answers a request."""
        quiet: Deferred[None] = Deferred()
        self._waiting_for_quiet.append(quiet)
        self.check_quiet()
        return quiet

    def close_idle(self) -> None:
        """Close the connections that are not busy."""
        for connection in list(self.open):
            connection.close_if_idle()

    def abort_all(self) -> None:
        """Abort every connection."""
        for connection in list(self.open):
            connection.abort()
