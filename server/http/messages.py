"""
The request as an endpoint receives it, and its answer, for any front end.

Pure data.  Endpoints run on the reactor thread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


@dataclass(frozen=True, slots=True)
class Head:
    """The part of a request that is known before its body has been received."""

    method: str
    path: str  #: decoded, without the query
    headers: Mapping[str, str]  #: names in lower case; repeated fields joined by a comma
    request_id: str  #: the client's own, or a new one
    received: float  #: when its head was received; seconds of the monotonic clock
    connection: object  #: equal for all requests of one connection


@dataclass(frozen=True, slots=True)
class HTTPRequest(Head):
    """One complete request."""

    query: Mapping[str, tuple[str, ...]]  #: values by name, decoded, in the order of the URL
    body: bytes
    disconnected: "Deferred[None]"  #: fires when the client hangs up before the answer
    #: Whether its preflight has admitted it and its body was received together with its head: then
    #: admission need not be checked again.
    admitted: bool = False
    preflighted: Any = None  #: what its preflight returned; None if there was none


@dataclass(frozen=True, slots=True)
class HTTPResponse:
    """An answer; the front end adds its length, the request id and connection headers."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


#: Answers one request.  If it raises or its Deferred fails, the front end writes an error answer.
Endpoint = Callable[[HTTPRequest], "Deferred[HTTPResponse]"]

#: Returns a refusal to send before the body is read, or else what becomes
#: `HTTPRequest.preflighted`; never raises.
Preflight = Callable[[Head], object]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table of routes; server/http/router.py matches requests to them."""

    method: str
    path: str  #: literal, without parameters
    endpoint: Endpoint
    preflight: Preflight | None = None  #: called as soon as the head is complete

    @property
    def name(self) -> str:
        """The name of this route in a Klein app."""
        return f"{self.method} {self.path}"
