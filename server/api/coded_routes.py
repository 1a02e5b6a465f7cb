"""
The content codings of all routes: endpoints receive decoded bodies, and reports are compressed.

Bodies are decoded on decode threads: a few bytes may become very many.  What they become counts as
bytes that the server holds.  Runs on the reactor thread.
"""

from dataclasses import replace
from functools import partial

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from model.execution.decode_pool import DecodePool, PoolNotRunning
from server.api.preflight import Admitted
from server.http.content_encoding import (
    coding_of,
    compressed,
    decoded,
    may_compress,
    preferred_coding,
)
from server.http.error_statuses import HTTPError
from server.http.limits import BodyLimits
from server.http.messages import Endpoint, Head, HTTPRequest, HTTPResponse, Preflight, Route

#: Reports with more bytes are compressed on a decode thread: to compress 32 KiB takes about as long
#: as the change to such a thread and back, 0.25 ms.
MAX_BYTES_COMPRESSED_AT_ONCE = 1 << 15


class CodedRoutes:
    """Adds the codings to routes."""

    def __init__(self, pool: DecodePool, limits: BodyLimits) -> None:
        """*limits* apply to decoded bodies, too."""
        self._pool = pool
        self._limits = limits

    def coded(self, *routes: Route, reports: bool = True) -> tuple[Route, ...]:
        """
        Return *routes* whose bodies are decoded, and with *reports* answers to GET compressed.

        Those of the v2 protocol are not: the asynchronous client of Triton accepts gzip in each
        request, and does not decode it.
        """
        return tuple(self._coded(route, reports) for route in routes)

    def _coded(self, route: Route, reports: bool) -> Route:
        if route.method != "GET":
            return replace(
                route,
                endpoint=partial(self._post, route.endpoint),
                preflight=route.preflight and partial(_preflight, route.preflight),
            )
        return replace(route, endpoint=partial(self._report, route.endpoint)) if reports else route

    # --- bodies

    def _post(self, endpoint: Endpoint, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Return the answer of *endpoint* to *request* with its body decoded."""
        if "content-encoding" not in request.headers:
            return endpoint(request)
        coding = coding_of(request.headers)
        if not coding or not request.body:
            return endpoint(request)
        body = self._decoded(request, coding)
        return body.addCallback(partial(self._answer, endpoint, request))

    def _decoded(self, request: HTTPRequest, coding: str) -> Deferred[bytes]:
        work = partial(decoded, request.body, coding, self._limits.max_body)
        admitted = request.preflighted
        if isinstance(admitted, Admitted):
            return admitted.inference.run_before(work, admitted.options)
        return self._pool.run(work)

    def _answer(
        self, endpoint: Endpoint, request: HTTPRequest, body: bytes
    ) -> Deferred[HTTPResponse]:
        """Return the answer of *endpoint*; *body* is held until then."""
        size = len(body)
        self._limits.hold(0, size)
        # Other requests may have arrived since it was admitted.
        request = replace(request, body=body, admitted=False)
        del body  # the traceback of an error would keep it

        def release(result: object) -> object:
            self._limits.release(size)
            return result

        try:
            answer = endpoint(request)
        except BaseException:
            release(None)
            raise
        answer.addBoth(release)
        return answer

    # --- answers

    def _report(self, endpoint: Endpoint, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Return the answer of *endpoint*, compressed if the client accepts that."""
        return endpoint(request).addCallback(
            self._compressed, request.headers.get("accept-encoding", "")
        )

    def _compressed(
        self, answer: HTTPResponse, accepted: str
    ) -> HTTPResponse | Deferred[HTTPResponse]:
        if not may_compress(answer):
            return answer
        coding = preferred_coding(accepted)
        answer = replace(answer, headers={**answer.headers, "Vary": "Accept-Encoding"})
        if len(answer.body) <= MAX_BYTES_COMPRESSED_AT_ONCE or not coding:
            return compressed(answer, coding)

        def plain(failure: Failure) -> HTTPResponse:
            failure.trap(PoolNotRunning)
            return answer

        return self._pool.run(compressed, answer, coding).addErrback(plain)


def _preflight(preflight: Preflight, head: Head) -> object:
    """Return what *preflight* returns; a body in an unknown coding need not be received."""
    try:
        coding_of(head.headers)
    except HTTPError as error:
        head.refusal = head.refusal or error
    return preflight(head)
