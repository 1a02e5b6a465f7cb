"""The v2 protocol: what its tables cannot show: server/api/kserve/."""

import json
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from batcher.errors import Overloaded
from batcher.priority import Priority
from model.signature import FeedError
from server.api.kserve.envelope import Envelope, InputTensor
from server.api.kserve.feeds import feed_of
from server.api.kserve.kserve_api import POLL_SECONDS
from server.api.native import MAX_BYTES_READ_AT_ONCE
from server.api.permit import permit_none
from server.call import RequestOptions
from server.http.error_statuses import HTTPError
from server.lifecycle import State
from server.repository.version_report import ModelReport, VersionReport
from tests.fakes.http import Answer, read_answers, request
from tests.fakes.kserve import EPOCH, KServeServer
from tests.fakes.server import Log
from tests.fakes.tables import JSON_LENGTH
from tests.images import coloured, encoded

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("log")

ECHO = "/v2/models/echo_fp32/infer"
PETS = "/v2/models/pets/infer"
IMAGE = encoded(coloured(16, 16), "JPEG")


def rows(*values: float, **parameters: object) -> bytes:
    """Return a request to "echo_fp32" of one row or more."""
    tensor = {"name": "x", "shape": [len(values) // 2, 2], "datatype": "FP32", "data": values}
    return json.dumps({"inputs": [tensor], "parameters": parameters}).encode()


def image(**output: object) -> bytes:
    """Return a request to "pets" of one image."""
    data = [b64encode(IMAGE).decode()]
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": data}
    return json.dumps(
        {"inputs": [tensor], "outputs": [{"name": "scores", "parameters": output}]}
    ).encode()


def error_of(answer: Answer) -> str:
    """Return the message of an error in the form of the protocol."""
    content = answer.json()
    assert list(content) == ["error"]
    return str(content["error"])


# --- tensors


def test_a_binary_tensor_is_a_view_of_the_body_at_any_address() -> None:
    """It is not copied before the rows are gathered for a run."""
    numbers = np.arange(6, dtype=np.float32)
    model = KServeServer().inference("echo_fp32").model
    for offset in range(8):
        body = bytes(offset) + numbers.tobytes()
        envelope = Envelope((InputTensor("x", "FP32", (3, 2), size=24),))
        (array,) = feed_of(model, envelope, body, offset).arrays
        assert np.shares_memory(array, np.frombuffer(body, np.uint8))
        np.testing.assert_array_equal(array, numbers.reshape(3, 2))


def test_a_shape_without_elements_needs_no_memory() -> None:
    """And a size of one axis cannot make up for another."""
    model = KServeServer().inference("wide").model
    for shape in ((0, 1 << 40, 1), (1 << 40, 0, 1 << 40), (1, 1 << 40, 1 << 40)):
        with pytest.raises(FeedError):
            feed_of(model, Envelope((InputTensor("x", "INT8", shape, size=0),)), b"", 0)


@pytest.mark.parametrize(
    ("path", "body", "headers", "at_once"),
    [
        (ECHO, rows(1, 2), {}, True),
        (ECHO, rows(*[1] * 1000), {}, False),
        (ECHO, rows(1, 2), {"Content-Encoding": "gzip"}, False),
        (ECHO, bytes(8000), {JSON_LENGTH: "0"}, True),
        ("/v2/models/words/infer", bytes(8000), {JSON_LENGTH: "0"}, False),
        ("/v2/models/echo_bool/infer", bytes(8000), {JSON_LENGTH: "0"}, False),
        (PETS, IMAGE, {JSON_LENGTH: "0"}, False),
    ],
)
def test_large_bodies_and_images_are_read_on_a_decode_thread(
    path: str, body: bytes, headers: dict[str, str], at_once: bool
) -> None:
    """Numbers in binary are not read at all."""
    assert len(rows(1, 2)) < MAX_BYTES_READ_AT_ONCE < len(rows(*[1] * 1000))
    client = KServeServer().send("POST", path, body, headers, decode=False)
    assert (len(client.answers) == 1) == at_once


@pytest.mark.parametrize(("parameters", "at_once"), [({}, True), ({"classification": 1}, False)])
def test_many_classes_are_written_on_a_decode_thread(
    parameters: dict[str, object], at_once: bool
) -> None:
    """Each is a text; numbers are written at once."""
    tensor = {"name": "x", "shape": [40, 2], "datatype": "FP32", "data": [0] * 80}
    outputs = [{"name": "y", "parameters": parameters}]
    body = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    client = KServeServer().send("POST", ECHO, body, decode=False)
    assert (len(client.answers) == 1) == at_once


# --- options


@pytest.mark.parametrize(
    ("parameters", "priority"),
    [
        ({}, Priority.LOW),
        ({"priority": 0}, Priority.LOW),
        ({"priority": 1}, Priority.HIGH),
        ({"priority": 2}, Priority.NORMAL),
        ({"priority": 3}, Priority.LOW),
        ({"priority": 2**63}, Priority.LOW),
    ],
)
def test_a_priority_in_the_body_precedes_that_of_the_head(
    parameters: dict[str, object], priority: Priority
) -> None:
    """1 is the highest of three levels; 0 is the default, which a header may set."""
    options = RequestOptions(priority=Priority.LOW)
    Envelope(parameters=parameters).apply(options, 0.0)
    assert options.priority is priority


def test_a_timeout_in_the_body_counts_from_the_head() -> None:
    """In microseconds; a request that is late when its body arrives is not run."""
    served = KServeServer()
    for timeout, status in ((1_500_000, 504), (2_500_000, 200), (0, 200)):
        message = request("POST", ECHO, rows(1, 2, timeout=timeout))
        client = served.server.connect()
        client.send(message[:-10])
        served.clock.advance(2.0)
        client.send(message[-10:])
        assert client.answer.status == status, timeout
    assert served.batches == [("echo_fp32", 1)] * 2


# --- errors


def test_a_busy_server_is_a_503_with_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of this protocol know no 429."""
    served = KServeServer()
    inference = served.inference("echo_fp32")

    def refuse(_: object) -> None:
        raise Overloaded(3.5, 1.0)

    monkeypatch.setattr(inference.admission, "admit", refuse)
    answer = served.answer("POST", ECHO, rows(1, 2))
    assert (answer.status, answer.headers["retry-after"]) == (503, "3")
    assert error_of(answer).startswith("too busy")
    assert (inference.statistics.fail.count, served.batches) == (1, [])


@pytest.mark.parametrize(("error", "status"), [(ValueError("bad"), 500), (FeedError("no"), 400)])
def test_a_run_that_fails_is_an_error_of_its_request(
    error: Exception, status: int, log: Log
) -> None:
    """With the status of its kind; it counts as failed."""
    served = KServeServer()
    served.lanes["echo_fp32"].error = error
    answer = served.answer("POST", ECHO, rows(1, 2))
    assert answer.status == status
    assert error_of(answer)
    statistics = served.inference("echo_fp32").statistics
    assert (statistics.success.count, statistics.fail.count) == (0, 1)
    log.flush_errors()


def test_errors_of_the_front_end_have_the_form_of_the_protocol() -> None:
    """Such as a body of unknown length that is too long, and a query that is not UTF-8."""
    served = KServeServer()
    head = {"Transfer-Encoding": "chunked"}
    body = b"%x\r\n" % (1 << 17) + bytes(1 << 17)
    for path, sent, headers, status in (
        (ECHO, body, head, 413),
        (ECHO + "?a=%ff", rows(1, 2), {}, 400),
    ):
        answer = served.answer("POST", path, sent, headers)
        assert answer.status == status
        assert error_of(answer)


def test_a_path_with_escapes_is_answered_as_without() -> None:
    """Klein finds its route, and the body is complete before the preflight."""
    served = KServeServer()
    for method, path, body, status in (
        ("GET", "/%762/models/echo_fp32", b"", 200),
        ("POST", "/%762/models/echo_fp32/infer", rows(1, 2), 200),
        ("POST", "/%762/models/nope/infer", rows(1, 2), 404),
        ("PUT", "/%762/models/echo_fp32", b"", 405),
        ("POST", "/%762/repository/models/sums/unload", b"", 200),
    ):
        assert served.answer(method, path, body).status == status, path


def test_the_head_of_an_answer_can_be_asked_for() -> None:
    """For whatever GET answers."""
    client = KServeServer().send("HEAD", "/v2/models/pets")
    (answer,) = read_answers(client.received, bodies=False)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")


# --- health


def test_a_server_that_is_not_ready_is_a_503_with_a_body() -> None:
    """While it has no model, while a run hangs, and while it drains."""
    served = KServeServer()

    def state() -> tuple[tuple[int, Any], tuple[int, Any]]:
        live, ready = (served.answer("GET", f"/v2/health/{it}") for it in ("live", "ready"))
        return (live.status, live.json()), (ready.status, ready.json())

    alive, ready = (200, {"live": True}), (200, {"ready": True})
    not_ready = (503, {"ready": False})
    assert state() == (alive, ready)
    served.hung = True
    assert state() == ((503, {"live": False}), not_ready)
    served.hung = False
    served.lifecycle.move(State.DRAINING)
    assert state() == (alive, not_ready)
    idle = KServeServer()
    for name in idle.models.names:
        idle.models.route(name, None)
    assert idle.answer("GET", "/v2/health/ready").status == 503


# --- images


def test_images_of_all_dialects_share_batches_and_get_the_same_scores() -> None:
    """As JSON, in binary, and as the file of a native request."""
    served = KServeServer()
    lane = served.lanes["pets"]
    lane.held = True
    first = served.send("POST", PETS, IMAGE, {JSON_LENGTH: "0"})
    clients = [
        served.send("POST", PETS, image()),
        served.send("POST", PETS, image(classification=3)),
        served.send("POST", "/native?k=3", IMAGE),
    ]
    lane.release()
    assert served.batches == [("pets", 1), ("pets", 3)]
    length = int(first.answer.headers[JSON_LENGTH.lower()])
    scores = np.frombuffer(first.answer.body[length:], np.float32)
    numbers, classes, native = (client.answer.json() for client in clients)
    assert numbers["outputs"][0]["data"] == pytest.approx(scores.tolist())
    best = sorted(zip(("cat", "dog", "eel"), scores.tolist(), strict=True), key=lambda it: -it[1])
    assert [label for label, _ in native] == [label for label, _ in best]
    assert [it.split(":")[2] for it in classes["outputs"][0]["data"]] == [it for it, _ in best]


# --- statistics


def statistics_of(served: KServeServer, name: str) -> dict[str, Any]:
    """Return the statistics of the only version of a model, as a client reads them."""
    (found,) = served.answer("GET", f"/v2/models/{name}/stats").json()["model_stats"]
    assert found["name"] == name
    return dict(found)


def test_statistics_count_the_requests_of_all_dialects() -> None:
    """Rows, runs and times; a request that is wrong changes nothing of another model."""
    served = KServeServer()
    before = statistics_of(served, "echo_fp32")
    served.clock.advance(64)
    lane = served.lanes["pets"]
    lane.held = True
    clients = [served.send("POST", path, IMAGE, headers) for path, headers in (
        (PETS, {JSON_LENGTH: "0"}), ("/native", {}), ("/native", {}))]  # fmt: skip
    served.clock.advance(2.0)
    lane.release()
    assert [client.answer.status for client in clients] == [200] * 3
    assert served.answer("POST", PETS, b"{").status == 400
    assert served.answer("POST", "/native", b"no image").status == 400
    assert served.answer("POST", PETS, b"{}", {"Content-Encoding": "br"}).status == 415
    found = statistics_of(served, "pets")
    stats = found["inference_stats"]
    assert (found["version"], found["inference_count"], found["execution_count"]) == ("1", 3, 2)
    assert found["last_inference"] == round((EPOCH + served.clock.seconds()) * 1e3)
    assert stats["success"] == {"count": 3, "ns": 6_000_000_000}
    assert stats["fail"]["count"] == 3
    assert stats["queue"] == {"count": 3, "ns": 4_000_000_000}
    assert stats["compute_infer"] == {"count": 3, "ns": 2_000_000_000}
    assert [it["count"] for it in (stats["compute_input"], stats["compute_output"])] == [3, 3]
    assert [(it["batch_size"], it["compute_infer"]) for it in found["batch_stats"]] == [
        (1, {"count": 1, "ns": 2_000_000_000}),
        (2, {"count": 1, "ns": 0}),
    ]
    assert statistics_of(served, "echo_fp32") == before


def test_statistics_of_all_models_are_in_one_list() -> None:
    """A row for each version that serves."""
    found = KServeServer().answer("GET", "/v2/models/stats").json()["model_stats"]
    names = [(it["name"], it["version"]) for it in found]
    assert len(names) == len(set(names)) > 15
    assert {("sums", "1"), ("sums", "2"), ("pets", "1")} <= set(names)


def test_a_cancelled_request_counts_as_failed() -> None:
    """The client hangs up while its request waits."""
    served = KServeServer()
    served.lanes["echo_fp32"].held = True
    clients = [served.send("POST", ECHO, rows(1, 2)) for _ in range(2)]
    clients[1].hang_up()
    served.lanes["echo_fp32"].release()
    found = served.inference("echo_fp32").statistics
    assert (found.success.count, found.fail.count, found.rows) == (1, 1, 1)


# --- the repository


def loading(state: str, reason: str = "") -> ModelReport:
    """Return a report of the model "idle" whose only version is in *state*."""
    return ModelReport("idle", (VersionReport("1", state, reason),), None)


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        (loading("serving"), 200, ""),
        (loading("failed", "no graph"), 400,
            "failed to load 'idle', version 1 is not available: no graph"),
        (replace(loading("not served"), problem="bad"), 400, "failed to load 'idle', bad"),
    ],
)  # fmt: skip
def test_a_load_is_answered_when_the_model_is_served_or_has_failed(
    end: ModelReport, status: int, error: str
) -> None:
    """As clients expect, which send requests to the model next."""
    served = KServeServer()
    for report in (loading("draining"), loading("waiting"), loading("loading"), loading("loaded")):
        served.changes.every["idle"] = report
        client = served.send("POST", "/v2/repository/models/idle/load", b"{}")
        served.clock.advance(POLL_SECONDS)
        assert client.answers == []
        served.changes.every["idle"] = end
        served.clock.advance(POLL_SECONDS)
        assert client.answer.status == status
        assert client.answer.body == b"" if not error else error_of(client.answer) == error
        client.hang_up()
    assert served.changes.made == [("load", "idle", None)] * 4
    assert served.server.is_clean()


def test_a_load_does_not_outlast_the_server_or_its_client() -> None:
    """It is answered when the server drains, and given up when the client hangs up."""
    served = KServeServer()
    served.changes.every["idle"] = loading("loading")
    path = "/v2/repository/models/idle/load"
    gone, waiting = served.send("POST", path), served.send("POST", path)
    gone.hang_up()
    served.lifecycle.move(State.DRAINING)
    served.clock.advance(POLL_SECONDS)
    answer = waiting.answer
    waiting.hang_up()
    assert (answer.status, error_of(answer)) == (
        503,
        "failed to load 'idle', the server is shutting down",
    )
    assert served.server.is_clean()


@pytest.mark.parametrize("action", ["load", "unload"])
@pytest.mark.parametrize("status", [404, 409])
def test_a_change_that_is_refused_has_the_form_of_the_protocol(action: str, status: int) -> None:
    """With the status that the native route has."""
    served = KServeServer()
    served.changes.error = HTTPError(status, "the reason")
    answer = served.answer("POST", f"/v2/repository/models/idle/{action}")
    assert (answer.status, error_of(answer)) == (status, f"failed to {action} 'idle', the reason")


def test_changes_follow_the_rule_of_the_native_routes() -> None:
    """A server that takes no changes there takes none here; reports and inference stay."""

    def deny(_: object) -> None:
        raise HTTPError(401, "no token", {"WWW-Authenticate": "Bearer"})

    permits: list[tuple[Callable[[Any], None], int]] = [(permit_none, 404), (deny, 401)]
    for permit, status in permits:
        served = KServeServer(permit)
        for action in ("load", "unload"):
            answer = served.answer("POST", f"/v2/repository/models/sums/{action}")
            assert answer.status == status
            assert error_of(answer)
        assert served.changes.made == []
        assert served.answer("POST", "/v2/repository/index").status == 200
        assert served.answer("POST", ECHO, rows(1, 2)).status == 200
