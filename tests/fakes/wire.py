"""A server of a few routes without sockets, for any front end; `fakes.http` has its clients."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from server.http.connection_limits import ConnectionLimits
from server.http.connections import Connections
from server.http.cors import Cors
from server.http.error_statuses import Refusal, refusal_for
from server.http.klein_frontend import KleinFrontend
from server.http.limits import BodyLimits
from server.http.messages import Endpoint, Head, HTTPRequest, HTTPResponse, Route
from server.http.router import Router
from server.http.site import HTTPSite
from server.lifecycle import Lifecycle
from tests.fakes.http import (
    PEER,
    Client,
    ConnectionFactory,
    HalfCloseable,
    PlainTransport,
    SlowClient,
)
from tests.fakes.threads import outcomes

if TYPE_CHECKING:
    from server.http.access import Access

#: Returns the factory of a server's connections.
FrontEnd = Callable[[Router, Connections], ConnectionFactory]


def express_front_end(router: Router, connections: Connections) -> HTTPSite:
    """Return the site whose endpoints answer directly."""
    return HTTPSite(router, connections, KleinFrontend(router).answer)


def klein_front_end(router: Router, connections: Connections) -> HTTPSite:
    """Return the site of the Klein front end."""
    return HTTPSite(router, connections, KleinFrontend(router).answer, by_routes=False)


FRONT_ENDS: dict[str, FrontEnd] = {"express": express_front_end, "klein": klein_front_end}


def own_error(problem: Failure | Exception, request_id: str) -> HTTPResponse:
    """Return an error answer in text."""
    error = problem.value if isinstance(problem, Failure) else problem
    status = refusal_for(error).status
    return HTTPResponse(status, f"{error} {request_id}".encode(), content_type="text/plain")


#: Answers whose bodies may not be sent.
NO_CONTENT, NOT_MODIFIED = HTTPResponse(204, b"no"), HTTPResponse(304, b"no")


class WireServer:
    """
    A server whose literal routes answer with the body, its prefix routes with name and rest.

    ``POST /judged`` has a preflight that admits, ``POST /busy`` one that refuses; ``GET /empty``
    answers 204, ``GET /same`` 304.  With *prefixes*
    there are prefix routes, and two that write errors as `own_error`.  With *later*, answers wait
    for `answer_all`.  Each has *padding* zero bytes at its end; *endpoint* replaces all endpoints.
    """

    def __init__(
        self,
        front_end: FrontEnd = express_front_end,
        *,
        later: bool = False,
        padding: int = 0,
        client_timeout: float = 8.0,
        limits: Mapping[str, float] | None = None,
        endpoint: Endpoint | None = None,
        prefixes: bool = False,
        more: tuple[Route, ...] = (),
        order: int = 1,
        clock: Clock | None = None,
        cors: Cors | None = None,
        body_limits: BodyLimits | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.clock.advance(64)
        self.lifecycle = Lifecycle()
        self.limits = body_limits or BodyLimits(max_body=100, max_held=1000)
        self.others = 0  #: bytes that are held for none of its connections
        self.later = later
        self.heads: list[Head] = []  #: those that the preflights have received
        self.seen: list[HTTPRequest] = []  #: those that the endpoints have received
        self.waiting: list[tuple[Deferred[HTTPResponse], HTTPResponse]] = []
        self.entries: list[Access] = []
        self._padding = bytes(padding)
        self._endpoint = endpoint
        routes = [
            *map(self._route, ("POST /", "GET /state", "PUT /state", "PUT /busy")),
            replace(self._route("POST /judged"), preflight=self._admit),
            replace(self._route("POST /busy"), preflight=self._refuse),
            replace(self._route("GET /empty"), endpoint=lambda _: self._answer(NO_CONTENT)),
            replace(self._route("GET /same"), endpoint=lambda _: self._answer(NOT_MODIFIED)),
            *more,
        ]
        if prefixes:
            names = ("GET /models/*", "GET /models/list", "GET /models/pets/*", "POST /models/*")
            routes += map(self._route, (*names, "PUT /models/list"))
            own = map(self._route, ("POST /own", "POST /own/*"))
            routes += (replace(route, write_error=own_error) for route in own)
        times = ConnectionLimits(*[client_timeout] * 3)
        self.connections = Connections(
            limits=self.limits,
            connection_limits=replace(times, **limits or {}),
            chance=lambda: 0.5,
            clock=self.clock,
            access_log=self.entries.append,
            draining=lambda: self.lifecycle.leaving,
            cors=cors,
        )
        self.router = Router(routes[::order])
        self.site = front_end(self.router, self.connections)

    def _route(self, name: str) -> Route:
        method, path = name.split(" ")

        def endpoint(received: HTTPRequest) -> Deferred[HTTPResponse]:
            self.seen.append(received)
            if self._endpoint is not None:
                return self._endpoint(received)
            body = received.body if not path.endswith("*") else f"{name} {received.rest}".encode()
            return self._answer(HTTPResponse(200, body + self._padding))

        return Route(method, path, endpoint, operations=())

    def _answer(self, answer: HTTPResponse) -> Deferred[HTTPResponse]:
        if not self.later:
            return succeed(answer)
        waiting: Deferred[HTTPResponse] = Deferred()
        self.waiting.append((waiting, answer))
        return waiting

    def _admit(self, head: Head) -> HTTPResponse | Head:
        self.heads.append(head)
        return head

    def _refuse(self, head: Head) -> HTTPResponse | Head:
        self.heads.append(head)
        return Refusal(429, "too busy", {"Retry-After": "3", "X-Model-Version": "a"}).response(
            head.request_id
        )

    def hold(self, count: int) -> None:
        """Hold *count* bytes of other bodies."""
        self.others = count
        self.limits.held += count

    def answer(self) -> None:
        """Answer the request that has waited longest."""
        waiting, answer = self.waiting.pop(0)
        if not waiting.called:  # else its client has hung up
            waiting.callback(answer)

    def answer_all(self) -> None:
        """Answer the requests that wait, and those that follow them."""
        while self.waiting:
            self.answer()

    def connect(
        self,
        *,
        kind: type[PlainTransport] = HalfCloseable,
        closes: bool = True,
        peer: IAddress = PEER,
    ) -> Client:
        """Return a new connection; without *closes* its close never completes."""
        # A transport with a clock that stands still never closes.
        return Client(self.site, self.clock if closes else Clock(), transport=kind, peer=peer)

    def connect_slow(self, *, room: int = 0) -> SlowClient:
        """Return a new connection whose client reads only on request."""
        return SlowClient(self.site, self.clock, room=room)

    def when_quiet(self) -> list[object]:
        """Return a list that receives an entry when no connection is busy."""
        return outcomes(self.connections.when_quiet())

    def is_clean(self) -> bool:
        """Whether no connection, no byte of a body and no timer is left."""
        held = self.limits.held - self.others
        return not (self.connections.open or held or self.clock.getDelayedCalls())
