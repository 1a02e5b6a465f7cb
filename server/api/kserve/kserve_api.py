"""
The routes under ``/v2``: health, models, inference, statistics, and the repository.

``load`` and ``unload`` edit ``serving.toml`` by the same code as the routes under ``/models``, for
the same clients.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable, Collection, Iterable
from time import time  # noqa: TID251 - clients read the time of the last request as a date

import orjson
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from model.errors import ModelError
from model.signature import FeedError
from server.api.health import HealthAPI
from server.api.inference_api import InferenceAPI
from server.api.json_text import read_json
from server.api.kserve.infer import V2
from server.api.kserve.metadata import (
    is_settled,
    load_failures,
    model_config,
    model_metadata,
    model_statistics,
    repository_index,
    server_metadata,
)
from server.api.kserve.paths import Target, target_of
from server.api.models_api import Changes, Permit
from server.api.openapi.kserve import operations_of
from server.api.preflight import Admitted
from server.http.error_statuses import HTTPError
from server.http.messages import Head, HTTPRequest, HTTPResponse, Route
from server.inference import Inference
from server.models import ModelNotReady, Models, NotServed, UnknownModel, there_are

#: The methods of HTTP for which a path under ``/v2`` has an answer in the form of the protocol.
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")

#: The longest body of a request to the repository, in bytes: it is read on the reactor thread.
MAX_REPOSITORY_BYTES = 1024

_FROM_FILES = (
    "a model is loaded from the files of the repository, and configured there by model.toml and "
    "serving.toml"
)

#: Seconds between two looks at a model that is loaded now.
POLL_SECONDS = 0.05


class KServeAPI:
    """The routes of the v2 protocol."""

    def __init__(
        self,
        models: Models,
        changes: Changes,
        health: HealthAPI,
        *,
        permit: Permit,
        clock: IReactorTime,
        epoch: Callable[[], float] = time,
    ) -> None:
        """
        *permit* decides about changes.

        *clock* is monotonic; *epoch* returns the time in seconds since 1970.
        """
        self._models = models
        self._changes = changes
        self._health = health
        self._permit = permit
        self._clock = clock
        self._epoch = epoch
        self._inference = InferenceAPI(self._find, V2, seconds=clock.seconds)

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        return tuple(
            Route(
                method,
                path,
                self.answer,
                operations=operations_of(method, path),
                preflight=self.preflight,
                write_error=self._inference.write_error,
            )
            for method in _METHODS
            for path in ("/v2", "/v2/*")
        )

    def preflight(self, head: Head) -> object:
        """Admit a request for inference, or return what another one asks for, or the refusal."""
        try:
            target = self._permitted(head)
        except Exception as error:  # noqa: BLE001 - any error is the answer to this request
            return self._inference.write_error(error, head.request_id)
        return self._inference.preflight(head) if target.action == "infer" else target

    def answer(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer a request; errors become answers of the front end, by the route."""
        checked = request.preflighted
        if isinstance(checked, Admitted):
            return self._inference.predict(request)
        target = checked if isinstance(checked, Target) else self._permitted(request)
        match target.action:
            case "infer":
                return self._inference.predict(request)
            case "load" | "unload":
                return ensureDeferred(self._change(target, request.body))
            case "index":
                index = repository_index(self._changes.reports(), ready=_ready_only(request.body))
                return succeed(_json(index))
        return succeed(self._report(target))

    def _permitted(self, head: Head) -> Target:
        """Return what *head* asks for; raises `HTTPError` if it may not, or if there is nothing."""
        target = target_of(head)
        if target.action in {"load", "unload"}:
            self._permit(head)
        return target

    def _report(self, target: Target) -> HTTPResponse:
        """Return the answer to a request that changes and runs nothing."""
        if target.name:
            return self._model_report(target)
        match target.action:
            case "server":
                return _json(server_metadata())
            case "live":
                return _state("live", self._health.alive)
            case "ready server":
                return _state("ready", self._health.ready)
        every = (self._models.versions(name).values() for name in self._models.names)
        return self._statistics(it for versions in every for it in versions)

    def _model_report(self, target: Target) -> HTTPResponse:
        """Return the answer to a request for facts about a model."""
        name, version = target.name, target.version
        if target.action == "ready":
            return self._model_ready(name, version)
        found = self.find(name, version)
        match target.action:
            case "config":
                return _json(model_config(found.model))
            case "stats":
                every = self._models.versions(name).values()
                return self._statistics(every if version is None else [found])
        return _json(model_metadata(found.model, self._models.versions(name)))

    def _model_ready(self, name: str, version: str | None) -> HTTPResponse:
        try:
            model = self.find(name, version).model
        except ModelNotReady as error:
            return _json({"name": name, "ready": False, "error": str(error)}, 503)
        return _json({"name": model.name, "ready": True})

    def _statistics(self, inferences: Iterable[Inference]) -> HTTPResponse:
        now, epoch = self._clock.seconds(), self._epoch()
        return _json({"model_stats": [model_statistics(it, now, epoch) for it in inferences]})

    # Models by what a path names.

    def _find(self, head: Head) -> Inference:
        target = target_of(head)
        return self.find(target.name, target.version)

    def find(self, name: str, version: str | None = None) -> Inference:
        """
        Return the *version* of the model *name*; None: its default version.

        A *version* that is none may be a label.  Raises `UnknownModel` and `ModelNotReady`, with
        the texts of this protocol.
        """
        try:
            if version is None or version in self._models.versions(name):
                return self._models.find(name, version)
            try:
                return self._models.find(name, label=version)
            except UnknownModel:
                return self._models.find(name, version)
        except NotServed as error:
            refusal: NotServed
            if isinstance(error, ModelNotReady):
                refusal = ModelNotReady(_unknown(name, version, f"is not at ready state; {error}"))
            else:
                refusal = self._missing(name, version)
            refusal.requests = error.requests
            raise refusal from None

    def _missing(self, name: str, version: str | None) -> UnknownModel | ModelNotReady:
        """Return the error for a model of which *version*, or any version, takes no requests."""
        try:
            report = self._changes.report(name)
        except HTTPError:
            known = there_are(self._models.names)
            return UnknownModel(_unknown(name, None, f"is not found; {known}"))
        states = {it.version: it.state for it in report.versions}
        if version is None:
            return UnknownModel(_unknown(name, None, "has no available versions"))
        if version in states:
            return ModelNotReady(
                _unknown(name, version, f"is not at ready state; it is {states[version]}")
            )
        return UnknownModel(_unknown(name, version, f"is not found; {there_are(states)}"))

    # Changes.

    async def _change(self, target: Target, body: bytes) -> HTTPResponse:
        """Make the change that *target* states; after a load, wait until the model is served."""
        name, action = target.name, target.action
        _check_parameters(body, {"unload_dependents"} if action == "unload" else set())
        try:
            if action == "unload":
                await self._changes.unload(name, None)
                return HTTPResponse(200, b"")
            report = await self._changes.load(name, None)
            while not is_settled(report) and not self._health.leaving:
                await deferLater(self._clock, POLL_SECONDS)
                report = self._changes.report(name)
        except ModelError as error:
            raise HTTPError(409, f"failed to {action} {name!r}, {error}") from error
        except HTTPError as error:
            message = f"failed to {action} {name[:80]!r}, {error}"
            raise HTTPError(error.status, message, error.headers) from error
        if not is_settled(report):
            raise HTTPError(503, f"failed to load {name!r}, the server is shutting down")
        if failures := load_failures(report):
            raise HTTPError(400, f"failed to load {name!r}, {failures}")
        return HTTPResponse(200, b"")


def _unknown(name: str, version: str | None, problem: str) -> str:
    which = f"{name[:80]!r}" if version is None else f"{name[:80]!r} version {version[:80]}"
    return f"Request for unknown model: {which} {problem}"


def _ready_only(body: bytes) -> bool:
    """Return the value of "ready" in *body*, which may be empty; raises `FeedError`."""
    content = _object_in(body)
    ready = content.get("ready", False)
    if not isinstance(ready, bool):
        raise FeedError("ready: expected true or false")
    return ready


def _check_parameters(body: bytes, known: Collection[str]) -> None:
    """Raise `FeedError` for a parameter in *body*, which may be empty, that is not *known*."""
    parameters = _object_in(body).get("parameters") or {}
    if not isinstance(parameters, dict):
        raise FeedError("parameters: expected an object")
    for key in parameters:
        if key == "config" or key.startswith("file:"):
            raise FeedError(f"parameter {key[:80]!r}: {_FROM_FILES}")
        if key not in known:
            raise FeedError(f"unknown parameter {key[:80]!r}")


def _object_in(body: bytes) -> dict[str, object]:
    if len(body) > MAX_REPOSITORY_BYTES:
        raise FeedError(
            f"the body has {len(body)} bytes, the limit is {MAX_REPOSITORY_BYTES}; {_FROM_FILES}"
        )
    content = read_json(body) if body.strip() else {}
    if not isinstance(content, dict):
        raise FeedError("the body: expected an object")
    return content


def _state(name: str, holds: bool) -> HTTPResponse:
    return _json({name: holds}, 200 if holds else 503)


def _json(content: object, status: int = 200) -> HTTPResponse:
    return HTTPResponse(status, orjson.dumps(content))
