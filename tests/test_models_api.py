"""The routes under /models: server/api/models_api.py."""

from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from twisted.internet.task import Clock

from model.errors import ModelError
from server.api.inference_api import InferenceAPI
from server.api.models_paths import Target, target_of
from server.api.native import NATIVE
from server.http.error_statuses import HTTPError
from tests.fakes.endpoint import IMAGE
from tests.fakes.http import http_request, read_answers
from tests.fakes.models_api import PETS, ModelsServer
from tests.fakes.server import FakeInference, scored

if TYPE_CHECKING:
    from server.inference import Inference

pytestmark = pytest.mark.usefixtures("log")


# --- reports


def test_models_are_reported_as_json() -> None:
    """All in a list, or one by its name."""
    served = ModelsServer()
    for path, content in (("/models", {"models": [PETS]}), ("/models/pets", PETS)):
        answer = served.send("GET", path).answer
        assert (answer.status, answer.json()) == (200, content)
        (bare,) = read_answers(served.send("HEAD", path).received, bodies=False)
        assert (bare.status, bare.headers["content-length"]) == (200, str(len(answer.body)))


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
    served = ModelsServer()
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
    served = ModelsServer()
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
    served = ModelsServer()
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
    served = ModelsServer()
    answer = served.send("PUT", "/models/pets/labels/new", body).answer
    expected = 'expected a body such as {"version": 3}'
    assert (answer.status, answer.json()["error"]) == (400, expected)
    assert served.changes.made == []


def test_a_body_over_the_limit_is_a_413() -> None:
    """As at `POST /`."""
    served = ModelsServer()
    for method, path in (("POST", "/models/pets/load"), ("PUT", "/models/pets/labels/new")):
        answer = served.send(method, path, bytes((1 << 16) + 1)).answer
        assert (answer.status, served.changes.made) == (413, [])


def test_a_body_that_would_be_ignored_is_a_400() -> None:
    """It would unload all versions instead of the one that the client means."""
    served = ModelsServer()
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
    served = ModelsServer()
    served.changes.error = error
    answer = served.send(method, path, body).answer
    assert (answer.status, answer.json()["error"]) == (status, str(error))


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
        ("DELETE", "/models/pets", "GET, HEAD, POST"),
        ("PATCH", "/models/pets/labels/stable", "POST, PUT"),
    ],
)
def test_a_method_that_a_path_does_not_have_is_a_405(method: str, path: str, allowed: str) -> None:
    """With the methods that the path has."""
    served = ModelsServer()
    client = served.send(method, path)
    (answer,) = read_answers(client.received, bodies=method != "HEAD")
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert answer.error == f"{method} {unquote(path)}: allowed methods: {allowed}"
    assert served.changes.made == []


def test_a_query_that_would_be_ignored_is_a_400() -> None:
    """It would unload all versions instead of the one that the client means."""
    served = ModelsServer()
    for method, path in (("POST", "/models/pets/unload"), ("PUT", "/models/pets/labels/new")):
        body = b'{"version": 1}' if method == "PUT" else b""
        answer = served.send(method, path + "?version=1", body).answer
        assert (answer.status, answer.error) == (400, "a change of what is served takes no query")
    assert served.changes.made == []
