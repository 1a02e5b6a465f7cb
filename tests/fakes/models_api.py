"""The routes under /models on a server without sockets, with changes that are only recorded."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock

from server.api.models_api import ModelsAPI, Permit
from server.api.native import NATIVE
from server.api.permit import permit_any
from server.http.error_statuses import HTTPError
from server.models import Models, Versions
from server.repository.version_report import ModelReport, VersionReport
from tests.fakes.http import Client, request
from tests.fakes.server import FakeInference
from tests.fakes.wire import WireServer

#: The report of the only model.
REPORT = ModelReport(
    "pets",
    (VersionReport("2", "serving"), VersionReport("1", "failed", "no graph", ("stable",))),
    "2",
    {"stable": "1"},
)
#: The JSON of `REPORT`.
PETS: dict[str, Any] = {
    "name": "pets",
    "default_version": "2",
    "labels": {"stable": "1"},
    "weight": 1.0,
    "problem": "",
    "notes": [],
    "versions": [
        {"version": "2", "state": "serving", "reason": "", "labels": []},
        {"version": "1", "state": "failed", "reason": "no graph", "labels": ["stable"]},
    ],
}


class FakeChanges:
    """Records changes; raises `error` if it is set."""

    def __init__(self) -> None:
        self.made: list[tuple[object, ...]] = []
        self.error: Exception | None = None

    def reports(self) -> list[ModelReport]:
        """Return one report."""
        return [REPORT]

    def report(self, name: str) -> ModelReport:
        """Return the report of pets."""
        if name != "pets":
            raise HTTPError(404, f"no model {name!r}")
        return REPORT

    async def load(self, name: str, version: str | None) -> ModelReport:
        """Record the call."""
        return self._record("load", name, version)

    async def unload(self, name: str, version: str | None) -> ModelReport:
        """Record the call."""
        return self._record("unload", name, version)

    async def label(self, name: str, label: str, version: int | None) -> ModelReport:
        """Record the call."""
        return self._record("label", name, label, version)

    def _record(self, *call: object) -> ModelReport:
        self.made.append(call)
        if self.error is not None:
            raise self.error
        return REPORT


class ModelsServer:
    """The routes on a server without sockets, with versions 1 and 2 of pets."""

    def __init__(self, permit: Permit = permit_any) -> None:
        clock = Clock()
        self.inferences = {version: FakeInference(clock) for version in ("1", "2")}
        self.models = Models()
        self.models.starting = False
        self.models.route("pets", Versions(self.inferences, "2", {"stable": "1"}))
        self.changes = FakeChanges()
        api = ModelsAPI(self.models, self.changes, NATIVE, permit=permit, seconds=clock.seconds)
        self.server = WireServer(more=api.routes())
        self.server.limits.max_body = 1 << 16

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Client:
        """Send a request, and return its client."""
        client = self.server.connect()
        client.send(request(method, path, body, dict(headers or {})))
        return client
