"""
Answer OPTIONS, as RFC 9110, 9.3.7, has it: with the methods of a path, or of the whole server.

Routes know no OPTIONS: they refuse it with a 405 that has the methods of the path.  Pure.
"""

from collections.abc import Sequence

from server.http.messages import HTTPResponse, Route


def path_options(method: str, answer: HTTPResponse) -> HTTPResponse:
    """Return *answer* to a request with *method*, or if it refuses OPTIONS, its methods."""
    if method != "OPTIONS" or answer.status != 405:
        return answer
    return _options(answer.headers["Allow"])


def server_options(routes: Sequence[Route]) -> HTTPResponse:
    """Return the answer to ``OPTIONS *``: the methods of *routes*, which answer some path."""
    # A registry has no description; in it, every route answers some path.
    methods = {it.method for it in routes if it.operations} or {it.method for it in routes}
    return _options(", ".join(sorted({*methods, "HEAD"} - {"OPTIONS"})))


def _options(allowed: str) -> HTTPResponse:
    return HTTPResponse(200, b"", {"Allow": f"{allowed}, OPTIONS"}, content_type="")
