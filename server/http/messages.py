"""
A request as an endpoint sees it, and its answer, whichever door they pass.

Pure data.  Endpoints run on the reactor thread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a request before its body has come."""

    method: str
    path: str  #: decoded, without the query
    headers: Mapping[str, str]  #: names in lower case; repeated ones joined with a comma
    request_id: str  #: the client's own, or a new one
    received: float  #: when its head was read; seconds of the monotonic clock
    connection: object  #: the same for all requests of one connection


@dataclass(frozen=True, slots=True)
class HTTPRequest(Head):
    """One request, read to its end."""

    query: Mapping[str, tuple[str, ...]]  #: decoded, in the order of the URL
    body: bytes
    disconnected: "Deferred[None]"  #: fires when the client hangs up before the answer
    #: Whether its preflight has let it in, and nothing has happened since: its body came with it.
    admitted: bool = False


@dataclass(frozen=True, slots=True)
class HTTPResponse:
    """An answer; the door adds the length, the request id and the connection's own headers."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


#: Answers one request; may raise, and may fail: the door turns both into an error answer.
Endpoint = Callable[[HTTPRequest], "Deferred[HTTPResponse]"]

#: Returns the answer to a request that is refused before its body is read, else None; never raises.
Preflight = Callable[[Head], HTTPResponse | None]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table of routes."""

    method: str
    path: str  #: literal
    endpoint: Endpoint
    preflight: Preflight | None = None  #: asked as soon as the head is complete

    @property
    def name(self) -> str:
        """The name of this route in a Klein app."""
        return f"{self.method} {self.path}"
