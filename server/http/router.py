"""
Match a request to its route by method and literal path.

The one place where a route is looked up: the channel does so for the preflight, the request and the
Klein front end for the endpoint.  Pure.
"""

from collections.abc import Iterable

from server.http.messages import Route


class Router:
    """A table of routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._by_target = {
            (route.method.encode(), route.path.encode()): route for route in self.routes
        }

    def match(self, method: bytes, path: bytes) -> Route | None:
        """
        Return the route of *method* and *path*, or None.

        *path* is as the client sent it, without the query.  For a path with escapes, such as
        ``/%73tatus``, and for the method HEAD, it returns None, and Klein finds the route.
        """
        return self._by_target.get((method, path))
