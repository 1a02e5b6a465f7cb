"""
Answer `GET /openapi.json`: the description of the API, with the models that serve now.

Runs on the reactor thread, one model in a turn; what was written for a model is kept as long as the
model is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import orjson
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from server.api.openapi import native
from server.api.openapi.document import described_routes, path_items, written
from server.api.openapi.served import operations_of
from server.http.messages import HTTPRequest, HTTPResponse, Route
from server.models import Models

if TYPE_CHECKING:
    from server.inference import Inference

#: The most models with paths of their own; if there are more, the first ones by name.
MAX_DESCRIBED_MODELS = 100


class DescriptionAPI:
    """Answers `GET /openapi.json`."""

    def __init__(
        self,
        models: Models,
        routes: Callable[[], Sequence[Route]],
        *,
        token: bool,
        clock: IReactorTime,
    ) -> None:
        """
        *routes* returns the table of routes, this one included.

        *token* is whether changes of what is served need the token of an administrator.
        """
        self._models = models
        self._routes = routes
        self._token = token
        self._clock = clock
        self._generic: Mapping[str, Any] = {}
        self._written: WeakKeyDictionary[Inference, dict[str, orjson.Fragment]] = (
            WeakKeyDictionary()
        )

    def route(self) -> Route:
        """Return the route."""
        return Route("GET", "/openapi.json", self.openapi, operations=native.OPENAPI)

    def openapi(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer with the document."""
        return ensureDeferred(self._answer())

    async def _answer(self) -> HTTPResponse:
        if not self._generic:
            self._generic = described_routes(self._routes(), token=self._token)
        paths = dict(self._generic)
        for name in self._models.names[:MAX_DESCRIBED_MODELS]:
            paths |= await self._paths_of(name)
        return HTTPResponse(200, written(paths))

    async def _paths_of(self, name: str) -> Mapping[str, Any]:
        """Return the paths of the model *name*, which may have been unloaded since."""
        inference = self._models.default(name)
        if inference is None:
            return {}
        paths = self._written.get(inference)
        if paths is None:
            paths = {
                path: orjson.Fragment(orjson.dumps(item, option=orjson.OPT_SERIALIZE_NUMPY))
                for path, item in path_items(operations_of(inference.model), {}).items()
            }
            self._written[inference] = paths
            await deferLater(self._clock, 0)  # requests are served between two models
        return paths
