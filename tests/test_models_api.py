"""The routes under /models, and which requests may change: server/api/models_api.py, permit.py."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson
import pytest
from twisted.internet.task import Clock

from model.errors import ModelError
from server.api.inference_api import InferenceAPI
from server.api.models_api import ModelsAPI, Permit, Target, target_of
from server.api.native import NATIVE
from server.api.permit import PermitToken, permit_any, permit_none
from server.http.error_statuses import HTTPError
from server.models import Models, Versions
from server.repository.version_report import ModelReport, VersionReport
from tests.fakes.endpoint import IMAGE
from tests.fakes.http import Client, head, http_request, read_answers, request
from tests.fakes.server import FakeInference, scored
from tests.fakes.wire import WireServer

if TYPE_CHECKING:
    from server.inference import Inference

pytestmark = pytest.mark.usefixtures("log")

REPORT = ModelReport(
    "pets",
    (VersionReport("2", "serving"), VersionReport("1", "failed", "no graph", ("stable",))),
    "2",
    {"stable": "1"},
)
PETS: dict[str, Any] = {
    "name": "pets",
    "default_version": "2",
    "labels": {"stable": "1"},
    "weight": 1.0,
    "problem": "",
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


class Served:
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


# --- reports


def test_models_are_reported_as_json() -> None:
    """All in a list, or one by its name."""
    served = Served()
    for path, content in (("/models", {"models": [PETS]}), ("/models/pets", PETS)):
        answer = served.send("GET", path).answer
        assert (answer.status, answer.json()) == (200, content)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/models/cars", 404, "no model 'cars'"),
        ("GET", "/models/pe%2Fts", 404, "no model 'pe/ts'"),
        ("GET", "/models/pets/1", 404,
            "expected /models/NAME, followed by /versions/V, /labels/L, /load or /unload"),
        ("POST", "/models/cars", 404, "no model 'cars' is served; there are: pets"),
        ("POST", "/models/pets/versions/3", 404, "no version '3' of pets; there are: 1, 2"),
        ("POST", "/models/pets/labels/new", 404, "no label 'new' of pets; there are: stable"),
        ("POST", "/models/pets/versions", 404,
            "expected /models/NAME, followed by /versions/V, /labels/L, /load or /unload"),
        ("POST", "/models/pets/labels/stable/load", 404,
            "expected /models/NAME, followed by /versions/V, /labels/L, /load or /unload"),
        ("POST", "/models/pets/versions/01", 404, "no version '01' of pets; there are: 1, 2"),
        ("POST", "/models/pets/versions/+1", 404, "no version '+1' of pets; there are: 1, 2"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_404(method: str, path: str, status: int, message: str) -> None:
    """And no change is made."""
    served = Served()
    client = served.send(method, path, IMAGE if method == "POST" else b"")
    assert (client.answer.status, client.answer.json()["error"]) == (status, message)
    assert served.changes.made == []


@pytest.mark.parametrize(
    ("rest", "target"),
    [
        ("pets", Target("pets")),
        ("pets/versions/3", Target("pets", "3")),
        ("pets/versions/load", Target("pets", "load")),
        ("pets/labels/load", Target("pets", label="load")),
        ("pets/load", Target("pets", change="load")),
        ("pets/versions/3/unload", Target("pets", "3", change="unload")),
        ("a%2Fb/labels/%C3%A9", Target("a/b", label="é")),
        ("", None),
        ("pets/", None),
        ("/load", None),
        ("pets/versions/", None),
        ("pets/labels/", None),
        ("pets/versions/3/", None),
        ("pets/versions/3/start", None),
        ("pets/start", None),
    ],
)
def test_a_path_names_a_model_a_version_a_label_or_a_change(
    rest: str, target: Target | None
) -> None:
    """Escapes are decoded after the path is split; any other path is a 404."""
    if target is not None:
        assert target_of(rest) == target
        return
    with pytest.raises(HTTPError) as caught:
        target_of(rest)
    assert caught.value.status == 404


# --- inference


@pytest.mark.parametrize(
    ("path", "version"),
    [("/models/pets", "2"), ("/models/pets/versions/1", "1"), ("/models/pets/labels/stable", "1")],
)
def test_a_request_is_answered_by_the_version_that_it_names(path: str, version: str) -> None:
    """As at `POST /`."""
    served = Served()
    client = served.send("POST", path, IMAGE)
    (call,) = served.inferences[version].calls
    call.answer.callback(scored(0.25, 0.5, 0.125))
    assert client.answer.status == 200
    assert b"dog" in client.answer.body


def test_a_version_that_was_replaced_while_the_body_arrived_takes_no_new_call() -> None:
    """The version that serves now answers."""
    clock = Clock()
    old, new = FakeInference(clock), FakeInference(clock)
    current: list[Inference] = [old]
    api = InferenceAPI(lambda _: current[0], NATIVE, seconds=clock.seconds)
    admitted = api.preflight(http_request())
    retired: list[object] = []
    old.retire().addCallback(retired.append)
    current[0] = new
    api.predict(http_request(IMAGE, preflighted=admitted)).addErrback(lambda _: None)
    assert (len(old.calls), len(new.calls), retired) == (0, 1, [None])
    assert len(new.admission.admitted) == 1


# --- changes


@pytest.mark.parametrize(
    ("method", "path", "body", "change"),
    [
        ("POST", "/models/pets/load", b"", ("load", "pets", None)),
        ("POST", "/models/pets/unload", b"", ("unload", "pets", None)),
        ("POST", "/models/pets/versions/3/load", b"", ("load", "pets", "3")),
        ("POST", "/models/pets/versions/3/unload", b"", ("unload", "pets", "3")),
        ("PUT", "/models/pets/labels/new", b'{"version": 3}', ("label", "pets", "new", 3)),
        ("PUT", "/models/pets/labels/new", b'{"version": "3"}', ("label", "pets", "new", 3)),
        ("PUT", "/models/pets/labels/new", b'{"version": null}', ("label", "pets", "new", None)),
    ],
)
def test_a_change_is_answered_with_the_report_of_the_model(
    method: str, path: str, body: bytes, change: tuple[object, ...]
) -> None:
    """After it was made."""
    served = Served()
    answer = served.send(method, path, body).answer
    assert (answer.status, answer.json(), served.changes.made) == (200, PETS, [change])


@pytest.mark.parametrize(
    "body",
    [b"", b"3", b"[]", b'"version"', b"{}", b'{"version": -1}', b'{"version": 1.5}',
        b'{"version": true}', b'{"version": "new"}', b'{"version": ' + b"[" * 500,
        b'{"version": "01"}', b'{"version": "+1"}', b'{"version": "\xd9\xa1"}', b'{"version": ""}',
        b'{"version": 1e400}', b'{"version": "' + b"9" * 900 + b'"}'],
)  # fmt: skip
def test_a_body_that_names_no_version_is_a_400(body: bytes) -> None:
    """The message has the form of a right one."""
    served = Served()
    answer = served.send("PUT", "/models/pets/labels/new", body).answer
    expected = 'expected a body such as {"version": 3}'
    assert (answer.status, answer.json()["error"]) == (400, expected)
    assert served.changes.made == []


def test_a_body_that_would_be_ignored_is_a_400() -> None:
    """It would unload all versions instead of the one that the client means."""
    served = Served()
    answer = served.send("POST", "/models/pets/unload", b'{"version": 1}').answer
    assert (answer.status, served.changes.made) == (400, [])


@pytest.mark.parametrize(
    ("error", "status"), [(ModelError("serving.toml: bad"), 409), (HTTPError(404, "gone"), 404)]
)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/models/pets/load", b""),
        ("PUT", "/models/pets/labels/new", b'{"version": 3}'),
    ],
)
def test_a_change_that_fails_is_answered_with_its_reason(
    error: Exception, status: int, method: str, path: str, body: bytes
) -> None:
    """A conflict if serving.toml cannot be edited."""
    served = Served()
    served.changes.error = error
    answer = served.send(method, path, body).answer
    assert (answer.status, answer.json()["error"]) == (status, str(error))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models/pets/load"),
        ("POST", "/models/pets/versions/1/unload"),
        ("PUT", "/models/pets/labels/new"),
    ],
)
def test_every_change_needs_a_permit(method: str, path: str) -> None:
    """Reports and inference need none."""
    served = Served(permit_none)
    answer = served.send(method, path, b'{"version": 1}').answer
    assert (answer.status, served.changes.made) == (404, [])
    assert "--admin-token-file" in answer.json()["error"]
    assert served.send("GET", "/models").answer.status == 200
    served.send("POST", "/models/pets", IMAGE)
    assert len(served.inferences["2"].calls) == 1


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"secret\n", {"Authorization": "Bearer secret"}, 200),
        (b"secret", {"Authorization": "bearer  secret "}, 200),
        (b"secret", {"Authorization": "BEARER secret"}, 200),
        (b"secret", {}, 401),
        (b"secret", {"Authorization": "secret"}, 401),
        (b"secret", {"Authorization": "Basic secret"}, 401),
        (b"secret", {"Authorization": "Bearer wrong"}, 401),
        (b"secret", {"Authorization": "Bearer secret2"}, 401),
        (b"secret", {"Authorization": "Bearer \xe9"}, 401),
        # An empty file permits nothing.
        (b"\n", {"Authorization": "Bearer "}, 401),
        (b"\n", {"Authorization": "Bearer"}, 401),
        (b"\xff", {"Authorization": "Bearer secret"}, 503),
        (None, {"Authorization": "Bearer secret"}, 503),
        # Without a token there is nothing to compare: the file is not read.
        (None, {}, 401),
        (None, {"Authorization": "Basic secret"}, 401),
        (None, {"Authorization": "Bearer "}, 401),
        (b"secret", {"Authorization": "Bearer secret", "Origin": "http://a"}, 403),
        (b"secret", {"Authorization": "Bearer secret", "Origin": ""}, 403),
    ],
)
def test_a_token_permits_changes(
    tmp_path: Path, content: bytes | None, headers: Mapping[str, str], status: int
) -> None:
    """The file is read for each request, so that the token can be changed."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    served = Served(PermitToken(file))
    answer = served.send("POST", "/models/pets/load", headers=headers).answer
    assert answer.status == status
    assert bool(served.changes.made) == (status == 200)
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert orjson.loads(answer.body).get("status", 200) == status


@pytest.mark.parametrize("permit", [permit_any, PermitToken(Path("/absent"))])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models/pets/load"),
        ("POST", "/models/pets/versions/1/unload"),
        ("PUT", "/models/pets/labels/new"),
        ("PUT", "/models/%70ets/labels/new"),
    ],
)
def test_a_page_of_a_browser_may_change_nothing(permit: Permit, method: str, path: str) -> None:
    """Also where no token is asked for; no header permits it, before the change or with it."""
    served = Served(permit)
    origin = {"Origin": "http://a", "Access-Control-Request-Method": method}
    asked = served.send("OPTIONS", path, headers=origin).answer
    assert (asked.status, asked.headers["allow"]) == (405, "GET, HEAD, POST, PUT")
    body = b'{"version": 1}' if method == "PUT" else b""
    refused = served.send(method, path, body, {"Origin": "http://a"}).answer
    assert (refused.status, refused.error) == (
        403, "a request with an Origin header may not change what is served"
    )  # fmt: skip
    headers = [*asked.headers, *refused.headers]
    assert not [name for name in headers if name.startswith("access-control")]
    assert served.changes.made == []


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/models/pets/labels/new"), ("POST", "/models/pets/load")]
)
def test_a_change_without_a_permit_is_refused_before_its_body_is_received(
    method: str, path: str
) -> None:
    """So that a client without the token can send no large body."""
    served = Served(PermitToken(Path("/absent")))
    client = served.server.connect()
    client.send(head("Host: localhost", "Content-Length: 60000", method=method, target=path))
    assert client.answer.status == 401


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/models/pets/versions/1", "POST"),
        ("HEAD", "/models/pets/load", "POST"),
        ("GET", "/models/pets/load", "POST"),
        ("GET", "/models/pets/labels/stable", "POST, PUT"),
        ("PUT", "/models/pets", "GET, HEAD, POST"),
        ("PUT", "/models/pets/versions/1", "POST"),
        ("PUT", "/models/pets/versions/1/load", "POST"),
        ("PUT", "/models/%70ets/load", "POST"),
        ("PUT", "/models", "GET, HEAD"),
    ],
)
def test_a_method_that_a_path_does_not_have_is_a_405(method: str, path: str, allowed: str) -> None:
    """With the methods that the path has."""
    served = Served()
    client = served.send(method, path)
    (answer,) = read_answers(client.received, bodies=method != "HEAD")
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert answer.error == f"{method} {unquote(path)}: allowed methods: {allowed}"
    assert served.changes.made == []


def test_a_query_that_would_be_ignored_is_a_400() -> None:
    """It would unload all versions instead of the one that the client means."""
    served = Served()
    for method, path in (("POST", "/models/pets/unload"), ("PUT", "/models/pets/labels/new")):
        body = b'{"version": 1}' if method == "PUT" else b""
        answer = served.send(method, path + "?version=1", body).answer
        assert (answer.status, answer.error) == (400, "a change of what is served takes no query")
    assert served.changes.made == []
