"""
twisted.web's factory of connections, for the `Connections` of a server.
"""

from typing import cast

from twisted.web import http
from twisted.web.resource import IResource
from twisted.web.server import Site

from server.http.channel import LimitedChannel
from server.http.connections import Connections
from server.http.request import LimitedRequest
from server.http.router import Router


class LimitedSite(Site):
    """Accepts connections for the Klein front end, or for any one resource."""

    # HTTP/1.1 only: twisted.web's own factory would choose HTTP/2 under TLS if it can.
    protocol = LimitedChannel  # type: ignore[assignment]  # a channel like any other
    requestFactory = LimitedRequest
    noisy = False

    def __init__(
        self, resource: IResource, connections: Connections, router: Router | None = None
    ) -> None:
        """
        *resource* answers every request; it has no child resources.

        *router* has the routes, whose preflights are called.
        """
        # The endpoints parse forms, and `Connection` limits time; twisted.web must do neither.
        super().__init__(
            resource, parsePOSTFormSubmission=False, timeout=None, reactor=connections.clock
        )
        self.connections = connections
        self.router = router or Router(())

    def log(self, request: http.Request) -> None:
        """Count the answer to *request*, and write it to the access log."""
        self.connections.answered(request.code)
        if self.connections.access_log is not None:  # collecting an entry costs time
            self.connections.log(cast("LimitedRequest", request).access())
