"""
The routes of TensorFlow Serving's REST API, and of version 1 of KServe's protocol, below `/v1/`.

The model is found before the body is read, but a request for an unknown model is answered after
its body: TensorFlow Serving checks the JSON first.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from model.execution.decode_pool import DecodePool
from server.api.inference_api import InferenceAPI
from server.api.openapi import native
from server.api.openapi import tfserving as described
from server.api.request_end import end_of
from server.api.tfserving.dialect import dialect, is_small
from server.api.tfserving.documents import Body
from server.api.tfserving.paths import (
    Target,
    allowed_methods,
    inference_target,
    malformed,
    shown_target,
)
from server.api.tfserving.reports import metadata_content, not_known, status_content
from server.http.error_statuses import HTTPError
from server.http.messages import Head, HTTPRequest, HTTPResponse, Route, json_response
from server.inference import Inference
from server.models import Models, NotServed, UnknownModel
from server.repository.version_report import ModelReport
from server.request_counts import RequestCounts

_OTHER_METHODS = ("PUT", "DELETE", "PATCH", "OPTIONS")


class Reports(Protocol):
    """What this module needs of the repository."""

    def reports(self) -> list[ModelReport]:
        """Return a report of each model."""

    def report(self, name: str) -> ModelReport:
        """Return the report of the model *name*; raises a 404 if there is none."""


class _NotServed(HTTPError):
    """The model, version or label that a path names is not served."""

    def __init__(self, target: Target, requests: RequestCounts | None) -> None:
        """*requests* is as in `NotServed`."""
        error = target.not_found()
        super().__init__(error.status, str(error))
        self.requests = requests


class TFServingAPI:
    """The routes under `/v1`."""

    def __init__(
        self,
        models: Models,
        reports: Reports,
        pool: DecodePool,
        *,
        max_bytes: int,
        seconds: Callable[[], float],
    ) -> None:
        """
        *max_bytes* limits a body, and its examples with their context.

        *seconds* is the time of the monotonic clock.  Bodies for unknown models are read in *pool*.
        """
        self._models = models
        self._reports = reports
        self._pool = pool
        self._max_bytes = max_bytes
        self._inference = InferenceAPI(self._find, dialect(max_bytes), seconds=seconds)

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        write_error = self._inference.write_error
        others = [
            Route(
                method,
                "/v1/*",
                _refuse_method,
                operations=(),
                write_error=write_error,
                ignores_case=True,
            )
            for method in _OTHER_METHODS
        ]
        return (
            Route("GET", "/", _alive, operations=native.ALIVE),
            Route(
                "GET",
                "/v1/*",
                self.show,
                operations=described.SHOWN,
                write_error=write_error,
                ignores_case=True,
            ),
            Route(
                "POST",
                "/v1/*",
                self.infer,
                operations=described.POSTED,
                preflight=self.preflight,
                write_error=write_error,
                ignores_case=True,
            ),
            *others,
        )

    def show(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer with the names of the models, or with the status or the signatures of one."""
        target = shown_target(request)
        if not target.name:
            if target != Target(""):
                raise HTTPError(400, "Missing model name in request.")
            return succeed(
                json_response({"models": [report.name for report in self._reports.reports()]})
            )
        if target.action:
            return succeed(json_response(metadata_content(self._find_target(target).model)))
        return succeed(json_response(status_content(self._report(target), target)))

    def _report(self, target: Target) -> ModelReport:
        """Return the report of the model that *target* names; raises the error if it is unknown."""
        try:
            report = self._reports.report(target.name)
        except HTTPError:
            if self._models.starting:
                self._models.find(target.name)  # raises the reason why it is not ready
            raise not_known(target) from None
        if not report.versions:
            raise not_known(target)
        return report

    def preflight(self, head: Head) -> object:
        """Admit a request for inference, also for an unknown model; else return the refusal."""
        try:
            self._find(head)
        except Exception as error:  # noqa: BLE001 - any error is the answer to this request
            if isinstance(error, NotServed | _NotServed) and error.requests is not None:
                error.requests.receive().end(end_of(error))
            if isinstance(error, _NotServed):
                return error
            return self._inference.write_error(error, head.request_id)
        return self._inference.preflight(head)

    def infer(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer a request for inference; one for an unknown model once its body is checked."""
        checked = request.preflighted
        if checked is None:
            checked = self.preflight(request)
            request = replace(request, preflighted=checked)
        if isinstance(checked, HTTPResponse):
            return succeed(checked)
        if isinstance(checked, _NotServed):
            return self._refuse(request, checked)
        return self._inference.predict(request)

    def _refuse(self, request: HTTPRequest, error: HTTPError) -> Deferred[HTTPResponse]:
        """Answer with what is wrong in the body of *request*; with *error* if nothing is."""

        def answer(result: object) -> HTTPResponse:
            if isinstance(result, Failure):
                if result.check(CancelledError):
                    result.raiseException()
                return self._inference.write_error(result, request.request_id)
            return self._inference.write_error(error, request.request_id)

        def read() -> object:
            action = inference_target(request).action
            body = Body(request.body, self._max_bytes)
            return body.read(action) if is_small(body) else self._pool.run(body.read, action)

        return maybeDeferred(read).addBoth(answer)

    def _find(self, head: Head) -> Inference:
        return self._find_target(inference_target(head))

    def _find_target(self, target: Target) -> Inference:
        """Return the model that *target* names; raises `ModelNotReady` and `_NotServed`."""
        try:
            return self._models.find(target.name, target.version, target.label)
        except UnknownModel as error:
            raise _NotServed(target, error.requests) from None


def _alive(_: HTTPRequest) -> Deferred[HTTPResponse]:
    return succeed(json_response({"status": "alive"}))


def _refuse_method(request: HTTPRequest) -> Deferred[HTTPResponse]:
    raise HTTPError(405, malformed(request), {"Allow": allowed_methods(request)})
