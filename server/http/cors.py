"""
Cross-origin requests of browsers (CORS): which origins may read the answers, and preflights.

Decides by the Origin header alone.  Answers permit no credentials.  Pure; may import neither
twisted.web nor Klein, so that every front end uses it.
"""

from collections.abc import Collection, Mapping

from server.http.messages import HTTPResponse

#: Permits every origin.
ANY_ORIGIN = "*"

#: The methods that pages may use; for every path, because the answer to another one is a 405.
ALLOWED_METHODS = ("GET", "HEAD", "POST", "PUT")

#: The headers of answers that pages may read, besides those that browsers always show.
EXPOSED_HEADERS = (
    "X-Request-Id",
    "X-Model-Version",
    "Server-Timing",
    "Retry-After",
    "Inference-Header-Content-Length",
)

#: Seconds for which a browser keeps the answer to a preflight: the most that Chromium accepts.
MAX_AGE_SECONDS = 7200

_PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": ", ".join(ALLOWED_METHODS),
    # The star does not include Authorization.
    "Access-Control-Allow-Headers": "*, Authorization",
    "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
}


class Cors:
    """The header fields that permit pages of some origins to read the answers."""

    def __init__(self, origins: Collection[str]) -> None:
        """*origins* are as browsers write them: ``https://example.org``; or `ANY_ORIGIN`."""
        self._origins = frozenset(origins)
        self._any = ANY_ORIGIN in self._origins

    def fields(self, origin: str | None) -> Mapping[str, str]:
        """
        Return the fields to add to each answer, errors and refusals included.

        *origin* is the Origin header of the request; None if it has none.
        """
        if not self._allows(origin):
            return {"Vary": "Origin"}  # for caches: to another origin the answer differs
        return {
            "Access-Control-Allow-Origin": ANY_ORIGIN if self._any else str(origin),
            "Access-Control-Expose-Headers": ", ".join(EXPOSED_HEADERS),
            "Vary": "Origin",
        }

    def preflight_answer(
        self, method: str, origin: str | None, asked_method: str | None
    ) -> HTTPResponse | None:
        """
        Return the answer to a preflight of a permitted *origin*, without the `fields`.

        *method* is that of the request, and *asked_method* its header
        Access-Control-Request-Method.  None for any other request, which is served as usual.
        """
        if method != "OPTIONS" or asked_method is None or not self._allows(origin):
            return None
        return HTTPResponse(204, b"", _PREFLIGHT_HEADERS)

    def _allows(self, origin: str | None) -> bool:
        return origin is not None and (self._any or origin in self._origins)
