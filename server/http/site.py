"""
The connections of one server.
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
    """The connections of one server; knows which of them are busy."""

    # Without HTTP/2, which twisted.web's own factory would choose under TLS where it can.
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
        The routes of *router* may have preflights; *draining* returns whether connections end soon.

        The requests themselves are *resource*'s to route, all of them: it is a leaf.
        """
        # Form bodies are parsed where they are understood, and never twice.
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
        """Tell the access log of an answer."""
        if self._access_log is not None:  # what it is told costs something to find out
            self.log_access(cast("LimitedRequest", request).access())

    def log_access(self, access: Access) -> None:
        """Tell the access log; where that fails, the answer goes its way all the same."""
        if self._access_log is None:
            return
        try:
            self._access_log(access)
        except Exception:  # noqa: BLE001  # whatever it is: an answer and its connection hang on it
            _log.failure("the access log failed")

    def channel_opened(self, channel: LimitedChannel) -> None:
        """Count a connection."""
        self.accepted += 1
        self.channels.add(channel)

    def channel_closed(self, channel: LimitedChannel) -> None:
        """Forget a connection."""
        self.channels.discard(channel)
        self.check_quiet()

    def check_quiet(self) -> None:
        """Look whether all connections are at rest."""
        if self._waiting_for_quiet and not self.busy:
            waiting, self._waiting_for_quiet = self._waiting_for_quiet, []
            for quiet in waiting:
                quiet.callback(None)

    @property
    def busy(self) -> bool:
        """Whether any connection reads or answers a request."""
        return any(channel.busy for channel in self.channels)

    def when_quiet(self) -> Deferred[None]:
        """Return a Deferred that fires when no connection reads or answers a request."""
        quiet: Deferred[None] = Deferred()
        self._waiting_for_quiet.append(quiet)
        self.check_quiet()
        return quiet

    def close_idle(self) -> None:
        """Close the connections that are at rest."""
        for channel in list(self.channels):
            channel.close_if_idle()

    def abort_all(self) -> None:
        """Cut every connection off."""
        for channel in list(self.channels):
            channel.forceAbortClient()
