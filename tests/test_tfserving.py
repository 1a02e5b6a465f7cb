"""What a table cannot show of TensorFlow Serving's REST API: server/api/tfserving/."""

from base64 import b64encode
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from batcher.policy import FixedPolicy
from model.execution.decode_pool import DecodePool
from server.api.dialect import Dialect
from server.api.inference_api import InferenceAPI
from server.api.native import MAX_BYTES_READ_AT_ONCE, NATIVE
from server.api.tfserving import refusals
from server.api.tfserving.dialect import dialect
from server.api.tfserving.errors import MAX_MESSAGE_CHARACTERS
from server.api.tfserving.examples import example_in, serialised
from server.api.tfserving.paths import Target
from server.api.tfserving.reports import status_content
from server.api.tfserving.shown_json import shown
from server.inference import Inference
from server.repository.version_report import ModelReport, VersionReport
from tests.fakes.http import http_request, request
from tests.fakes.server import ManualLane, served_model
from tests.fakes.service import ServiceHarness
from tests.fakes.tables import Pair
from tests.fakes.tfserving import MAX_BYTES, STATES, TFServingServer
from tests.fakes.threads import Calls, ManualThreads, outcomes
from tests.images import coloured, encoded

pytestmark = pytest.mark.usefixtures("log", "surroundings")

IMAGE = encoded(coloured(16, 16), "PNG")
IMAGE_ROW = {"b64": b64encode(IMAGE).decode()}

#: The path of a POST, and the body of one row.
ROW = ("/v1/models/rows:predict", b'{"instances": [[1, 2, 3]]}')
#: Spaces that make a body too long to be read at once.
MANY_SPACES = b" " * MAX_BYTES_READ_AT_ONCE


# --- in the whole server


def test_the_server_takes_the_requests_on_its_port(harness: ServiceHarness) -> None:
    """Beside its own; before the model is ready they are refused."""
    harness.start()
    client = harness.connect()
    ask = request("POST", "/v1/models/pets:predict", orjson.dumps({"instances": [IMAGE_ROW]}))
    show = request("GET", "/v1/models/pets")
    for each in (ask, show, request("GET", "/")):
        client.send(each)
    assert client.statuses == [503, 503, 200]
    assert client.answers[0].headers["retry-after"] == "1"
    harness.turn()
    client.send(ask)
    harness.turn()
    client.send(show)
    client.send(request("GET", "/v1/models/pets/metadata"))
    harness.turn()
    predicted, status, metadata = client.answers[3:]
    assert (predicted.status, predicted.headers["x-model-version"]) == (200, "pets/7")
    assert len(predicted.json()["predictions"]) == 1
    assert "server-timing" in predicted.headers
    assert (status.json()["ready"], status.json()["model_version_status"][0]["version"]) == (
        True,
        "7",
    )
    signatures = metadata.json()["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["image"]["dtype"] == "DT_UINT8"
    harness.stop()


def test_head_is_answered_without_a_body() -> None:
    """As GET is, by Klein's own matching."""
    client = TFServingServer().send(Pair("", "/v1/models/rows", 200, "HEAD"))
    assert client.received.startswith(b"HTTP/1.1 200 ")
    assert client.received.endswith(b"\r\n\r\n")


# --- threads


@pytest.mark.parametrize("path", ["/v1/models/rows:predict", "/v1/models/none:predict"])
def test_a_large_body_is_read_on_a_decode_thread(path: str) -> None:
    """A small one on the reactor thread; also for a model that is not there."""
    served = TFServingServer()
    for body, jobs in ((ROW[1], 0), (ROW[1] + MANY_SPACES, 1)):
        client = served.server.connect()
        client.send(request("POST", path, body))
        assert len(served.threads.queue) == jobs
        served.work()
        assert client.answer.status == (200 if "rows" in path else 404)


@pytest.mark.parametrize(
    ("path", "content", "jobs"),
    [
        ("several:predict", {"instances": [{"b": 1, "a": [1, 2]}] * 4}, 0),
        ("several:predict", {"instances": [{"b": 1, "a": [1, 2]}] * 40}, 1),
        ("several:predict", {"inputs": {"b": [1] * 40, "a": [[1, 2]] * 40}}, 0),
        ("rows:predict", {"instances": [[1, 2, 3]] * 80}, 0),
        ("examples:regress", {"examples": [{"age": 1}], "signature_name": "age"}, 1),
    ],
)
def test_an_answer_of_many_objects_is_written_on_a_decode_thread(
    path: str, content: object, jobs: int
) -> None:
    """Arrays are written at once.  Examples are read on a decode thread."""
    served = TFServingServer()
    client = served.server.connect()
    client.send(request("POST", f"/v1/models/{path}", orjson.dumps(content)))
    assert len(served.threads.queue) == jobs
    served.work()
    assert client.answer.status == 200


def test_a_body_for_an_unknown_model_is_dropped_when_its_client_hangs_up() -> None:
    """Its job is withdrawn, and nothing is logged."""
    served = TFServingServer()
    client = served.server.connect()
    client.send(request("POST", "/v1/models/none:predict", b"{" + MANY_SPACES))
    client.hang_up()
    served.work()
    assert client.received == b""
    assert served.server.is_clean()


def test_images_share_batches_with_those_of_other_dialects() -> None:
    """They have equal rows, and the same queue."""
    clock, lane, threads, calls = Clock(), ManualLane(), ManualThreads(), Calls()
    pool = DecodePool(calls, 1, pool=threads, clock=clock.seconds)
    pool.start()
    model = served_model(clock, lane, policy=FixedPolicy(4, 0.0))
    inference = Inference(model, pool, clock=clock)

    def send(dialect: Dialect, body: bytes, rest: str = "") -> list[object]:
        api = InferenceAPI(lambda _: inference, dialect, seconds=clock.seconds)
        fired = outcomes(api.predict(replace(http_request(body), rest=rest)))
        while threads.queue:
            threads.step()
        calls.drain()
        return fired

    send(NATIVE, IMAGE)
    rows = orjson.dumps({"instances": [IMAGE_ROW, IMAGE_ROW]})
    waiting = [send(NATIVE, IMAGE), send(dialect(1 << 20), rows, "models/pets:predict")]
    lane.finish([1, 2, 3])
    assert [feed.rows for feed in lane.batches[1]] == [1, 2]
    first, both = (feed.arrays[0] for feed in lane.batches[1])
    np.testing.assert_array_equal(both, np.concatenate([first, first]))
    scores = np.array([[0.5, 0.25, 1.0]] * 2, np.float32)
    lane.give((scores[:1],), (scores,))
    ((native,), (ours,)) = waiting
    assert orjson.loads(native.body) == [["eel", 1.0], ["cat", 0.5]]  # type: ignore[attr-defined]  # an answer
    assert orjson.loads(ours.body) == {"predictions": scores.tolist()}  # type: ignore[attr-defined]  # an answer


# --- large lists

LONG = [float(number) for number in range(2500)]


@pytest.mark.parametrize(
    ("content", "status", "answer"),
    [
        ({"instances": [LONG, LONG]}, 200, {"predictions": [3123750.0] * 2}),
        ({"instances": [{"x": LONG}, {"x": LONG}]}, 200, {"predictions": [3123750.0] * 2}),
        ({"instances": [{"x": LONG}, {"x": [1.0] * 2500}]}, 200,
            {"predictions": [3123750.0, 2500.0]}),
        ({"inputs": [LONG]}, 200, {"outputs": [3123750.0]}),
        ({"inputs": {"x": [LONG]}}, 200, {"outputs": [3123750.0]}),
        ({"instances": [{"x": LONG}, {"x": LONG[1:]}]}, 400, {"error":
            "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting tensor size: 2500 but got: 2499"}),
        ({"instances": [{"x": LONG}, {"x": "a"}]}, 400, {"error":
            "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: "
            'JSON Value: "a" Type: String is not of expected type: float'}),
        ({"instances": [LONG], "inputs": [LONG]}, 400, None),
    ],
)  # fmt: skip
def test_a_large_list_of_numbers_is_a_list_like_any_other(
    content: dict[str, object], status: int, answer: object
) -> None:
    """However it is parsed."""
    served = TFServingServer()
    client = served.server.connect()
    body = orjson.dumps({**content, "signature_name": "long"})
    client.send(request("POST", ROW[0], body))
    served.work()
    assert client.answer.status == status, client.answer.body
    assert answer in (None, client.answer.json())


# --- hostile bodies


@pytest.fixture(scope="module")
def shared() -> TFServingServer:
    """Return the server of all hostile bodies."""
    return TFServingServer()


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": ' + b"[" * 50_000,
        b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"inputs": ' + b"[" * 900 + b'"x"' + b"]" * 900 + b"}",
        b'{"instances": ' + b'{"x":' * 900 + b"1" + b"}" * 901,
        b'{"instances": [' + b'{"x":' * 900 + b"1" + b"}" * 900 + b"]}",
        b'{"signature_name": ' + b'{"x":[' * 450 + b"1" + b"]}" * 450 + b"}",
        b'{"signature_name": [NaN, ' + b"[" * 900 + b"]" * 900 + b"]}",
        b'{"instances": [[1, 2, ' + b"9" * 50_000 + b"]]}",
        b'{"inputs": "\\ud800"}',
        b'{"inputs": {"\\ud800": NaN}}',
        b'{"signature_name": "\\ud800", "x": NaN}',
        b'{"inputs": [[NaN, 2, "\\ud800"]]}',
        b'{"inputs": "\xff"}',
        b"\xff\xfe",
        b"\0",
    ],
    ids=range(15),
)
@pytest.mark.parametrize("model", ["rows", "words", "several", "pets", "none"])
@pytest.mark.parametrize("action", ["predict", "classify"])
def test_a_hostile_body_is_a_client_error(
    shared: TFServingServer, body: bytes, model: str, action: str
) -> None:
    """Never a 500; and the next request is answered."""
    client = shared.server.connect()
    client.send(request("POST", f"/v1/models/{model}:{action}", body))
    shared.work()
    assert client.answer.status in ((400, 404) if model == "none" else (400,))
    client.send(request("POST", *ROW))
    assert client.statuses[1] == 200


def test_a_long_context_is_not_copied_into_very_many_examples() -> None:
    """A small body could need any memory."""
    served = TFServingServer()
    client = served.server.connect()
    body = {"context": {"a": "s" * 1000}, "examples": [{}] * (MAX_BYTES // 1000)}
    client.send(request("POST", "/v1/models/examples:classify", orjson.dumps(body)))
    served.work()
    assert client.answer.status == 413
    assert client.answer.json()["error"].endswith(f"the limit is {MAX_BYTES}")


def test_the_search_for_a_wrong_value_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value far behind has a shorter error: the search takes much longer than a conversion."""
    monkeypatch.setattr(refusals, "MAX_CHECKED_VALUES", 20)
    for rows, message in (
        ([[1, 2, 3]] * 4 + [[1, 2, "x"]], "Failed to process element: 4 of "),
        ([[1, 2, 3]] * 5 + [[1, 2, "x"]], "input 'x' at [5, 2]: expected numbers that fit float32"),
    ):
        served = TFServingServer()
        client = served.server.connect()
        client.send(request("POST", ROW[0], orjson.dumps({"instances": rows})))
        served.work()
        assert client.answer.status == 400
        assert client.answer.json()["error"].startswith(message)


def test_an_error_repeats_little_of_a_long_text() -> None:
    """The error repeats only a part of a body of many megabytes."""
    served = TFServingServer()
    client = served.server.connect()
    body = {"signature_name": "s" * 5000, "instances": [[1, 2, 3]]}
    client.send(request("POST", ROW[0], orjson.dumps(body)))
    served.work()
    message = client.answer.json()["error"]
    assert message.startswith('Serving signature name: "sss')
    assert len(message) == MAX_MESSAGE_CHARACTERS


# --- texts


def test_each_state_of_a_version_has_a_status() -> None:
    """Also that of one whose load has ended, and which takes no requests yet."""
    states = [*STATES, VersionReport("9", "loaded")]
    content = status_content(ModelReport("m", tuple(states), None), Target("m"))
    shown_states = {it["state"] for it in content["model_version_status"]}  # type: ignore[attr-defined]  # a list
    assert shown_states == {"START", "LOADING", "AVAILABLE", "UNLOADING", "END"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@settings(max_examples=30, deadline=None)
@given(JSON)
def test_a_short_value_is_shown_as_json(value: object) -> None:
    """A longer one as the beginning of that text."""
    text = shown(value)
    if len(text) < 256:
        assert orjson.loads(text.encode(errors="surrogatepass")) == value


# --- tf.train.Example


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ({}, "0a00"),
        ({"a": []}, "0a070a050a01611200"),
        ({"a": 1}, "0a0c0a0a0a016112051a030a0101"),
        ({"a": True}, "0a0c0a0a0a016112051a030a0101"),
        ({"a": -1}, "0a150a130a0161120e1a0c0a0affffffffffffffffff01"),
        ({"a": [300, 1]}, "0a0e0a0c0a016112071a050a03ac0201"),
        ({"a": 1.0}, "0a0f0a0d0a0161120812060a040000803f"),
        ({"a": "bc"}, "0a0d0a0b0a016112060a040a026263"),
        ({"a": {"b64": "AA=="}}, "0a0c0a0a0a016112050a030a0100"),
    ],
)
def test_an_example_is_serialised(example: object, expected: str) -> None:
    """Byte for byte; tests/integration/test_tfserving.py asks TensorFlow's parser."""
    assert serialised(example_in(example)).hex() == expected


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("models/pets:predict", "POST"),
        ("models/pets/labels/stable:classify", "POST"),
        ("models/pets", "GET, HEAD"),
        ("models", "GET, HEAD"),
        ("models/pets/versions/1/metadata", "GET, HEAD"),
        ("models/pets:explain", "GET, HEAD, POST"),
    ],
)
def test_a_405_has_the_methods_of_the_path(path: str, allowed: str) -> None:
    """For a path that is not known, those of all paths."""
    client = TFServingServer().server.connect()
    client.send(request("DELETE", f"/v1/{path}"))
    assert (client.answer.status, client.answer.headers["allow"]) == (405, allowed)
