"""
Answer `GET /healthz` and `GET /readyz`.

The server is ready if a model is warmed up, the server is alive, and it does not drain.
Everything here runs on the reactor thread.
"""

from collections.abc import Callable
from dataclasses import asdict

import orjson
from twisted.internet.defer import Deferred, succeed

from server.heartbeat import Heartbeat
from server.http.messages import HTTPRequest, HTTPResponse
from server.lifecycle import Lifecycle, State


class HealthAPI:
    """Answers `GET /healthz` and `GET /readyz`."""

    def __init__(
        self, heartbeat: Heartbeat, lifecycle: Lifecycle, has_model: Callable[[], bool]
    ) -> None:
        """*has_model* returns whether any model takes requests."""
        self._heartbeat = heartbeat
        self._lifecycle = lifecycle
        self._has_model = has_model

    @property
    def alive(self) -> bool:
        """Whether the server is alive; it counts as alive during the start."""
        return not self._trouble()

    @property
    def ready(self) -> bool:
        """Whether the server accepts requests."""
        return self._lifecycle.state is State.READY and self.alive and self._has_model()

    @property
    def leaving(self) -> bool:
        """Whether the server drains or has stopped."""
        return self._lifecycle.leaving

    def healthz(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """
        Answer 200 while the server is alive, else 503 with the reason.

        The server counts as alive during the start, because loading a model may take long.
        """
        trouble = self._trouble()
        content: dict[str, object] = {
            "alive": not trouble,
            "reactor_lag_s": round(self._heartbeat.reactor_lag, 3),
            "model_threads": [asdict(thread) for thread in self._heartbeat.thread_health()],
        }
        return _json(not trouble, content, trouble)

    def readyz(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """
        Answer 200 while the server accepts requests, else 503 with its state.

        During the start, the answer includes the progress.
        """
        state, trouble = self._lifecycle.state, self._trouble()
        if state is State.READY and not trouble and not self._has_model():
            trouble = "no model is served"
        ready = state is State.READY and not trouble
        content: dict[str, object] = {"ready": ready, "state": state.value}
        if state is State.STARTING:
            content["progress"] = self._lifecycle.progress
        return _json(ready, content, trouble)

    def _trouble(self) -> str:
        return "" if self._lifecycle.state is State.STARTING else self._heartbeat.trouble


def _json(ok: bool, content: dict[str, object], trouble: str) -> Deferred[HTTPResponse]:
    if trouble:
        content["trouble"] = trouble
    body = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
    return succeed(HTTPResponse(200 if ok else 503, body))
