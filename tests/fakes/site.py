"""A site that answers with a copy of the request, at once or on demand."""

from dataclasses import dataclass

from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from server.http.access import AccessLog
from server.http.connections import Connections
from server.http.limits import BodyLimits
from server.http.request import LimitedRequest
from server.http.site import LimitedSite
from tests.fakes.http import PEER, Client, HalfCloseable, PlainTransport, SlowClient
from tests.fakes.threads import outcomes


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request that waits for its answer."""

    request: Request
    body: bytes

    def answer(self) -> None:
        """Answer with the request itself."""
        self.request.write(self.body)
        self.request.finish()


class EchoResource(Resource):
    """Answers each request with its method, its target and its body."""

    isLeaf = True

    def __init__(self, *, at_once: bool, padding: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self.at_once = at_once
        self._padding = bytes(padding)
        self.waiting: list[WaitingRequest] = []
        self.ids: list[str] = []

    def render(self, request: Request) -> bytes | int:
        """Answer *request*, or let it wait."""
        assert isinstance(request, LimitedRequest)
        self.ids.append(request.request_id)
        content = request.content
        assert content is not None
        body = b"%s %s %s" % (request.method, request.uri, content.read()) + self._padding
        request.begin_answer(200, {"Content-Length": str(len(body))})
        if self.at_once:
            return body
        waiting = WaitingRequest(request, body)
        self.waiting.append(waiting)
        request.notifyFinish().addErrback(lambda _: self.waiting.remove(waiting))
        return NOT_DONE_YET

    def answer_all(self) -> None:
        """Answer the requests that wait, and those that follow them."""
        while self.waiting:
            self.waiting.pop(0).answer()


class EchoServer:
    """A site whose resource is an `EchoResource`, and its clock."""

    def __init__(
        self,
        *,
        at_once: bool = True,
        padding: int = 0,  # bytes at the end of each answer
        max_body: int = 100,
        max_held: int = 1000,
        client_timeout: float = 8.0,
        access_log: AccessLog | None = None,
    ) -> None:
        self.clock = Clock()
        self.resource = EchoResource(at_once=at_once, padding=padding)
        self.limits = BodyLimits(max_body=max_body, max_held=max_held)
        connections = Connections(
            limits=self.limits,
            client_timeout=client_timeout,
            clock=self.clock,
            access_log=access_log,
        )
        self.site = LimitedSite(self.resource, connections)

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
        """Return a list that receives an entry when the site is quiet."""
        return outcomes(self.site.connections.when_quiet())
