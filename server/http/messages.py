"""
The request as an endpoint receives it, and its answer, for any front end.

Pure data.  Endpoints run on the reactor thread.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import orjson

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from server.call import Timing


@dataclass(slots=True)
class Head:
    """The part of a request that is known before its body has been received."""

    method: str
    path: str  #: decoded, without the query
    rest: str  #: what follows the prefix of a prefix route, as sent; empty for a literal route
    headers: Mapping[str, str]  #: names in lower case; repeated fields joined by a comma
    request_id: str  #: the client's own, or a new one
    received: float  #: when its head was received; seconds of the monotonic clock
    connection: object  #: equal for all requests of one connection
    #: With this error the request is refused, whatever its preflight returns, which is called to
    #: count it; None: its preflight decides.
    refusal: Exception | None = field(default=None, kw_only=True)


@dataclass(slots=True)
class HTTPRequest(Head):
    """
    One complete request.

    It is also the head that its preflight received; then its query and body were empty.
    """

    query: Mapping[str, tuple[str, ...]]  #: values by name, decoded, in the order of the URL
    body: bytes
    #: What the preflight of its route returned; None if no preflight was called.
    preflighted: Any = None  # Any: a preflight and its endpoint agree on the type
    #: Whether its preflight has admitted it and its body was received together with its head: then
    #: admission need not be checked again.
    admitted: bool = False


@dataclass(slots=True)
class HTTPResponse:
    """An answer to one request; its length, request id and connection headers are added later."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"  #: empty: the answer never has a body
    timing: "Timing | None" = None  #: of a request for inference, for the log
    #: The errors of the server behind this answer, which the front end logs.
    faults: "Sequence[Failure]" = ()
    #: The error that it reports, if an endpoint writes the answer to an error by itself.
    error: BaseException | None = None


def json_response(content: object) -> HTTPResponse:
    """Return the answer 200 with *content* as JSON, and a newline."""
    return HTTPResponse(200, orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE))


#: Answers one request.  If it raises or its Deferred fails, the front end writes an error answer;
#: if the client hangs up, the front end cancels the Deferred.
Endpoint = Callable[[HTTPRequest], "Deferred[HTTPResponse]"]

#: Returns an `HTTPResponse`, the refusal to send before the body is read, or admits the request:
#: any other value becomes `HTTPRequest.preflighted`.  Never raises.
Preflight = Callable[[Head], Any]


@runtime_checkable
class Preflighted(Protocol):
    """What a preflight may return for an admitted request, to be called when it ends early."""

    def end_early(self, error: BaseException | None) -> None:
        """
        Called if the request ends without an answer of its endpoint.

        It ends with *error*, or if that is None, because the client has hung up.  Also called if
        its endpoint has failed or was cancelled, and then does nothing.
        """


#: Returns the answer for an error and a request id; never raises.
WriteError = Callable[["Failure | Exception", str], HTTPResponse]


@dataclass(frozen=True, slots=True)
class Operation:
    """A path of a route, described for users; server/api/openapi/parts.py makes most of them."""

    path: str  #: the whole path, with names in braces, such as ``/models/{model}``
    id: str  #: the name of a function for it in a generated client
    #: The other members of an Operation Object of OpenAPI 3.1, as JSON: at least "tags", "summary"
    #: and "responses".
    content: Mapping[str, Any]
    #: Whether it changes what is served, so that a permit decides whether it is answered.
    is_change: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """
    One row of the table of routes; server/http/router.py matches requests to them.

    A *path* that ends with ``/*`` is a prefix: it matches all paths that begin with what precedes
    the star, in upper or lower case if *ignores_case*.  Any other path is literal.  Both are ASCII
    without escapes.
    """

    method: str
    path: str
    endpoint: Endpoint
    _: KW_ONLY
    #: What `GET /openapi.json` describes: for a prefix, each path that is answered.  Empty only for
    #: a route that refuses every request, and for those of the registry, which has no such page.
    operations: tuple[Operation, ...]
    preflight: Preflight | None = None  #: called as soon as the head is complete
    #: Writes the error answers of its requests; None: `server.http.error_statuses.error_response`.
    write_error: WriteError | None = None
    ignores_case: bool = False

    @property
    def name(self) -> str:
        """The name of this route in a Klein app."""
        return f"{self.method} {self.path}"

    @property
    def prefix(self) -> str | None:
        """What precedes the star of a prefix, with its last slash; None for a literal path."""
        return self.path[:-1] if self.path.endswith("/*") else None
