"""
The factory of HTTP connections, and what answers their requests: endpoints directly, or Klein.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IAddress, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from zope.interface import implementer

from server.http.channel import HTTP1Channel
from server.http.connections import Connections
from server.http.exchange import Exchange
from server.http.options import server_options
from server.http.request_head import HeadLimits
from server.http.router import Router


@implementer(IProtocolNegotiationFactory)
class HTTPSite(Factory):
    """
    Accepts connections, and lets the routes of *router* answer their requests.

    *answer_others* answers the requests that match no route, and with *by_routes* false all: those
    of the Klein front end.
    """

    noisy = False

    def __init__(
        self,
        router: Router,
        connections: Connections,
        answer_others: Callable[[Exchange], object],
        *,
        by_routes: bool = True,
        head_limits: HeadLimits | None = None,
    ) -> None:
        self.router = router
        self.connections = connections
        self.head_limits = head_limits or HeadLimits()
        self._answer_others = answer_others
        self._by_routes = by_routes
        self._options = server_options(router.routes)

    def buildProtocol(self, addr: IAddress | None) -> HTTP1Channel:
        """Return the protocol of a new connection."""
        return HTTP1Channel(self)

    def acceptableProtocols(self) -> list[bytes]:
        """Return the protocols to offer (ALPN) at an endpoint with a certificate of its own."""
        return [b"http/1.1"]

    def answer(self, exchange: Exchange) -> None:
        """Answer *exchange*, whose request is complete."""
        if exchange.match is not None and self._by_routes:
            exchange.answer_from(exchange.match.route)
        elif exchange.head.raw_path == b"*" and exchange.head.method == "OPTIONS":
            exchange.answer(self._options)
        else:
            self._answer_others(exchange)
