"""
The models by name: inference, what there is, and changes of what is served.

`/models` and `/models/NAME` report; `POST /models/NAME[/versions/V | /labels/L]` takes what
`POST /` takes; `load`, `unload` and `labels` change ``serving.toml`` and nothing else, so that the
folder of a model alone decides what is served.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable
from dataclasses import asdict
from re import fullmatch
from typing import Protocol

import orjson
from twisted.internet.defer import Deferred, ensureDeferred, succeed

from model.errors import ModelError
from server.api.dialect import Dialect
from server.api.inference_api import InferenceAPI
from server.api.models_paths import Target, target_of
from server.api.openapi import native
from server.http.error_statuses import HTTPError, error_response
from server.http.messages import Head, HTTPRequest, HTTPResponse, Route, json_response
from server.inference import Inference
from server.models import Models
from server.repository.version_report import ModelReport

_OTHER_METHODS = ("DELETE", "PATCH", "OPTIONS")


class Changes(Protocol):
    """What this module needs of the repository; all raise `HTTPError` or `ModelError`."""

    def reports(self) -> list[ModelReport]:
        """Return a report of each model."""

    def report(self, name: str) -> ModelReport:
        """Return the report of the model *name*; raises a 404 if there is none."""

    async def load(self, name: str, version: str | None) -> ModelReport:
        """Serve *version*, or the versions by default; return the state after the change."""

    async def unload(self, name: str, version: str | None) -> ModelReport:
        """Serve *version*, or any version, no longer; return the state after the change."""

    async def label(self, name: str, label: str, version: int | None) -> ModelReport:
        """Give *label* to *version*, or remove it; return the state after the change."""


#: Raises `HTTPError` if the request with this head may not change what is served.
Permit = Callable[[Head], None]


class ModelsAPI:
    """The routes under `/models`."""

    def __init__(
        self,
        models: Models,
        changes: Changes,
        dialect: Dialect,
        *,
        permit: Permit,
        seconds: Callable[[], float],
    ) -> None:
        """*permit* decides about changes; *seconds* is the time of the monotonic clock."""
        self._models = models
        self._changes = changes
        self._permit = permit
        self._inference = InferenceAPI(self._find, dialect, seconds=seconds)

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        write_error = self._inference.write_error
        return (
            Route("GET", "/models", self.list, operations=native.LIST_MODELS),
            Route("GET", "/models/*", self.show, operations=native.SHOW_MODEL),
            Route(
                "POST",
                "/models/*",
                self.act,
                operations=native.POST_MODEL,
                preflight=self.preflight,
                write_error=write_error,
            ),
            Route(
                "PUT",
                "/models/*",
                self.act,
                operations=native.PUT_LABEL,
                preflight=self.preflight,
            ),
            # Klein's own 405 would have the methods of all paths below /models/.
            *(Route(it, "/models/*", self.refuse, operations=()) for it in _OTHER_METHODS),
        )

    def list(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer with the reports of all models."""
        return succeed(
            json_response({"models": [asdict(each) for each in self._changes.reports()]})
        )

    def show(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer with the report of one model; raises a 404 if there is none."""
        target = target_of(request.rest)
        if target != Target(target.name):
            raise _not_allowed(request, target)
        return succeed(json_response(asdict(self._changes.report(target.name))))

    def refuse(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Raise a 405 with the methods of the path, or a 404 if there is no such path."""
        raise _not_allowed(request, target_of(request.rest))

    def preflight(self, head: Head) -> object:
        """Admit a request for inference, or for a change; else return the refusal."""
        try:
            target = self._change_of(head)
        except Exception as error:  # noqa: BLE001 - any error is the answer to this request
            return error_response(error, head.request_id)
        return self._inference.preflight(head) if target is None else target

    def act(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer a request for inference, or change what is served."""
        admitted = request.preflighted
        target = admitted if isinstance(admitted, Target) else self._change_of(request)
        if target is None:
            return self._inference.predict(request)
        if request.query:
            raise HTTPError(400, "a change of what is served takes no query")
        return ensureDeferred(self._change(target, request.body))

    def _change_of(self, head: Head) -> Target | None:
        """
        Return what the request with this head changes; None if it asks for inference.

        Raises `HTTPError` if it may not change that, or if its path has no such method.
        """
        target = target_of(head.rest)
        if head.method == "POST" and target.change is None:
            return None
        if head.method == "PUT" and target.label is None:
            raise _not_allowed(head, target)
        self._permit(head)
        return target

    async def _change(self, target: Target, body: bytes) -> HTTPResponse:
        """Make the change that *target* and *body* state; answer with the report after it."""
        try:
            if target.label is not None:
                version = _version_in(body)
                return json_response(
                    asdict(await self._changes.label(target.name, target.label, version))
                )
            if body:
                raise HTTPError(
                    400, "expected no body: /models/NAME/versions/V/... names a version"
                )
            change = self._changes.load if target.change == "load" else self._changes.unload
            return json_response(asdict(await change(target.name, target.version)))
        except ModelError as error:
            raise HTTPError(409, str(error)) from error

    def _find(self, head: Head) -> Inference:
        target = target_of(head.rest)
        return self._models.find(target.name, target.version, target.label)


def _version_in(body: bytes) -> int | None:
    """Return the version in *body*, a number or its digits, or None for null; raises a 400."""
    try:
        version = orjson.loads(body)["version"]
        if isinstance(version, str) and fullmatch("0|[1-9][0-9]{0,17}", version):
            version = int(version)
        if version is not None and (type(version) is not int or version < 0):
            raise ValueError  # noqa: TRY301 - as any other body that is wrong
    except (ValueError, TypeError, KeyError):
        raise HTTPError(400, 'expected a body such as {"version": 3}') from None
    return version


def _not_allowed(head: Head, target: Target) -> HTTPError:
    """Return the 405 for a path that names *target*, with the methods that this path has."""
    if target.label is not None:
        methods = "POST, PUT"
    elif target == Target(target.name):
        methods = "GET, HEAD, POST"
    else:
        methods = "POST"
    message = f"{head.method} {head.path}: allowed methods: {methods}"
    return HTTPError(405, message, {"Allow": methods})
