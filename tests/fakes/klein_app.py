"""A Klein front end with three routes or more, and clients of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from treq import testing
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from server.http.connections import Connections
from server.http.klein_frontend import KleinFrontend
from server.http.limits import BodyLimits
from server.http.messages import HTTPRequest, HTTPResponse, Route
from server.http.router import Router
from server.http.site import LimitedSite
from server.lifecycle import Lifecycle
from tests.fakes.http import Answer, Client
from tests.fakes.threads import outcomes

_StubTreq: Any = testing.StubTreq  # Any: treq declares none of its functions


@dataclass
class KleinServer:
    """
    A Klein front end whose routes, POST / and GET and PUT /state, call *answer*.

    *more* are further routes, with endpoints of their own.
    """

    answer: Callable[[HTTPRequest], Deferred[HTTPResponse]] = field(
        default=lambda _: succeed(HTTPResponse(200, b"yes\n", {"X-Extra": "more"}))
    )
    more: tuple[Route, ...] = ()

    def __post_init__(self) -> None:
        """Build the front end and a site."""
        self.clock = Clock()
        self.clock.advance(64)
        self.lifecycle = Lifecycle()
        self.seen: list[HTTPRequest] = []
        self.logged: list[str] = []

        def endpoint(received: HTTPRequest) -> Deferred[HTTPResponse]:
            self.seen.append(received)
            return self.answer(received)

        router = Router(
            (
                Route("POST", "/", endpoint),
                Route("GET", "/state", endpoint),
                Route("PUT", "/state", endpoint),
                *self.more,
            )
        )
        frontend = KleinFrontend(router, clock=self.clock, lifecycle=self.lifecycle)
        self.stub: Any = _StubTreq(frontend.resource())
        connections = Connections(
            limits=BodyLimits(max_body=100, max_held=1000),
            client_timeout=8.0,
            clock=self.clock,
            access_log=lambda access: self.logged.append(access.request_id),
        )
        self.site = LimitedSite(frontend.resource(), connections, router)

    def ask(
        self,
        method: str = "POST",
        target: str = "/",
        body: bytes = b"",
        headers: Mapping[str, str | list[str]] | None = None,
    ) -> Answer:
        """Send a request to a plain `twisted.web` Site, and return the answer."""
        url = "http://localhost" + target
        arrived = self.stub.request(method, url, data=body, headers=dict(headers or {}))
        self.stub.flush()
        response: Any
        (response,) = outcomes(arrived)
        (content,) = outcomes(self.stub.content(response))
        assert isinstance(content, bytes)
        return Answer(response.code, _flat(response.headers), content)

    def connect(self) -> Client:
        """Return a connection to the server's own Site."""
        return Client(self.site, self.clock)


def _flat(headers: Headers) -> dict[str, str]:
    pairs = {name.decode().lower(): values for name, values in headers.getAllRawHeaders()}
    assert all(len(values) == 1 for values in pairs.values())
    return {name: values[0].decode() for name, values in pairs.items()}
