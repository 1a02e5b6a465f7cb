"""
All connections of one server: their limits, their access log, and how they end while draining.
"""

from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web import http
from twisted.web.resource import IResource
from twisted.web.server import Site

from server.http.access import Access, AccessLog
from server.http.channel import LimitedChannel
from server.http.limits import BodyLimits
from server.http.request import LimitedRequest
from server.http.router import Router

_log = Logger()


class LimitedSite(Site):
    """Accepts the connections of one server, and knows which of them are busy."""

    # HTTP/1.1 only: twisted.web's own factory would choose HTTP/2 under TLS if it can.
    protocol = LimitedChannel  # type: ignore[assignment]  # a channel like any other
    requestFactory = LimitedRequest
    noisy = False

    def __init__(
        self,
        resource: IResource,
        *,
        limits: BodyLimits,
        client_timeout: float,
        clock: IReactorTime,
        access_log: AccessLog | None = None,
        router: Router | None = None,
        draining: Callable[[], bool] = bool,
    ) -> None:
        """
        *resource* answers every request; it has no child resources.

        *router* has the routes, whose preflights are called.  *draining* returns whether the server
        drains.  *client_timeout* is how long, in seconds, a request may take to arrive and an idle
        connection stays open.
        """
        # The endpoints parse forms; twisted.web must not parse them as well.
        super().__init__(
            resource, parsePOSTFormSubmission=False, timeout=client_timeout, reactor=clock
        )
        self.limits = limits
        self.draining = draining
        self.router = router or Router(())
        self.seconds = clock.seconds
        self.channels: set[LimitedChannel] = set()
        self._waiting_for_quiet: list[Deferred[None]] = []
        self._access_log = access_log
        #: Connections accepted so far.
        self.accepted = 0

    def log(self, request: http.Request) -> None:
        """Write the answer to *request* to the access log."""
        if self._access_log is not None:  # collecting an entry costs time
            self.log_access(cast("LimitedRequest", request).access())

    def log_access(self, access: Access) -> None:
        """Write *access* to the access log; an error is logged, and the answer is still sent."""
        if self._access_log is None:
            return
        try:
            self._access_log(access)
        except Exception:  # noqa: BLE001  # no error of the log may break an answer
            _log.failure("the access log failed")

    def channel_opened(self, channel: LimitedChannel) -> None:
        """Add *channel* to the open connections, and count it."""
        self.accepted += 1
        self.channels.add(channel)

    def channel_closed(self, channel: LimitedChannel) -> None:
        """Remove *channel* from the open connections."""
        self.channels.discard(channel)
        self.check_quiet()

    def check_quiet(self) -> None:
        """Fire the Deferreds of `when_quiet` if no connection is busy."""
        if self._waiting_for_quiet and not self.busy:
            waiting, self._waiting_for_quiet = self._waiting_for_quiet, []
            for quiet in waiting:
                quiet.callback(None)

    @property
    def busy(self) -> bool:
        """Whether any connection receives or answers a request."""
        return any(channel.busy for channel in self.channels)

    def when_quiet(self) -> Deferred[None]:
        """Return a Deferred that fires when no connection receives or answers a request."""
        quiet: Deferred[None] = Deferred()
        self._waiting_for_quiet.append(quiet)
        self.check_quiet()
        return quiet

    def close_idle(self) -> None:
        """Close the connections that are not busy."""
        for channel in list(self.channels):
            channel.close_if_idle()

    def abort_all(self) -> None:
        """Abort every connection."""
        for channel in list(self.channels):
            channel.forceAbortClient()
