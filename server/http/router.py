"""
Match a request to its route by method and path.

The channel does so once for each request, when the head is complete; the match is stored on the
request.  Pure; may import neither twisted.web nor Klein.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from server.http.error_statuses import error_response
from server.http.messages import Route, WriteError


@dataclass(frozen=True, slots=True)
class Match:
    """The route of a request."""

    route: Route
    rest: str = ""  #: see `Head.rest`


class Router:
    """
    A table of routes.

    Literal routes precede prefixes, and longer prefixes precede shorter ones.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._literals = {
            (route.method.encode(), route.path.encode()): Match(route)
            for route in self.routes
            if route.prefix is None
        }
        prefixes = [(route, route.prefix) for route in self.routes if route.prefix is not None]
        prefixes.sort(key=lambda row: len(row[1]), reverse=True)
        self._prefixes = [
            (route.method.encode(), _prefix_pattern(prefix, route.ignores_case), route)
            for route, prefix in prefixes
        ]

    def match(self, method: bytes, path: bytes) -> Match | None:
        """
        Return the match of *method* and *path*, or None.

        *path* is as the client sent it, without the query.  For a path with escapes, such as
        ``/%73tatus``, and for the method HEAD, it returns None, and Klein finds the route; Klein
        does not ignore case, so that prefixes that do so are matched here with escapes, too.
        """
        match = self._literals.get((method, path))
        if match is not None or not self._prefixes or not path.isascii():
            return match
        escaped = b"%" in path
        for its_method, prefix, route in self._prefixes:
            if method != its_method or (escaped and not route.ignores_case):
                continue
            if found := prefix.match(path):
                return Match(route, path[found.end() :].decode("ascii"))
        return None


def _prefix_pattern(prefix: str, ignores_case: bool) -> re.Pattern[bytes]:
    return re.compile(re.escape(prefix.encode()), re.IGNORECASE if ignores_case else 0)


def rest_of(route: Route, path: bytes) -> str:
    """
    Return what follows the prefix of *route* in *path*, as sent; "" for a literal route.

    *path* matches the route; any character of the prefix may be escaped in it.
    """
    if route.prefix is None:
        return ""
    start = 0
    for _ in route.prefix:
        start += 3 if path.startswith(b"%", start) else 1
    return path[start:].decode(errors="replace")


def error_writer(route: Route | None) -> WriteError:
    """Return the function that writes the error answers of *route*; None: no route is known."""
    return (route and route.write_error) or error_response
