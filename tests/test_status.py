"""The answer to GET /status: server/api/status.py."""

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from twisted.internet.task import Clock

from model.signature import STRING, Signature, TensorSpec, blank_feed
from server.api.status import StatusAPI, signature_facts, status_of
from server.deadlines import NO_DEFAULT_TIMEOUT, DefaultTimeout
from server.http.messages import HTTPResponse
from server.served_model import ServedModel
from tests.fakes.http import Answer, http_request, request
from tests.fakes.model import fake_queues
from tests.fakes.server import SIGNATURE, FakeInference, ManualLane, served_model
from tests.fakes.service import ServiceHarness
from tests.fakes.threads import outcomes

pytestmark = pytest.mark.usefixtures("log")

SCORES = TensorSpec("scores", np.dtype(np.float32), (None, 2))
ROWS = Signature((TensorSpec("x", np.dtype(np.float32), (None, 4)),), (SCORES,))
TEXTS = Signature(
    (TensorSpec("texts", STRING, (None,)), TensorSpec("weight", np.dtype(np.float64), ())),
    (TensorSpec("lengths", np.dtype(np.int64), None), TensorSpec("known", np.dtype(bool), (1,))),
    "count",
    alone="input 'weight' is float64[]: its first axis is not of variable size",
)


def tensors() -> ServedModel:
    """Return a model of two signatures, which take no images."""
    queues = fake_queues(800)
    queues.learn(blank_feed(ROWS), 16, {})
    queues.learn(blank_feed(TEXTS), 1, {})
    return replace(
        served_model(Clock(), ManualLane(), takes_images=False, labels=()),
        signatures={ROWS.name: ROWS, TEXTS.name: TEXTS},
        default=ROWS.name,
        samples={each.name: blank_feed(each, b"text") for each in (ROWS, TEXTS)},
        queues=queues,
    )


def test_the_status_of_a_model_of_tensors() -> None:
    """Each signature with its tensors, its largest batch, and the reason if it runs alone."""
    assert status_of(tensors(), DefaultTimeout(2.5)) == {
        "model": "pets/7",
        "device": "a fake device",
        "lanes": 1,
        "default_timeout_s": 2.5,
        "labels": 0,
        "images": None,
        "pictures": None,
        "default_signature": "serving_default",
        "signatures": {
            "serving_default": {
                "inputs": [{"name": "x", "dtype": "float32", "shape": (None, 4)}],
                "outputs": [{"name": "scores", "dtype": "float32", "shape": (None, 2)}],
                "batched": True,
                "sample": '{"inputs": {"x": [[0.0, 0.0, 0.0, 0.0]]}}',
                "max_batch_size": 16,
            },
            "count": {
                "inputs": [
                    {"name": "texts", "dtype": "string", "shape": (None,)},
                    {"name": "weight", "dtype": "float64", "shape": ()},
                ],
                "outputs": [
                    {"name": "lengths", "dtype": "int64", "shape": None},
                    {"name": "known", "dtype": "bool", "shape": (1,)},
                ],
                "batched": False,
                "alone": "input 'weight' is float64[]: its first axis is not of variable size",
                "sample": '{"inputs": {"texts": ["text"], "weight": 0.0}, '
                '"signature_name": "count"}',
                "max_batch_size": 1,
            },
        },
    }


def test_the_status_of_a_model_of_images() -> None:
    """With their signature and input, and the number of labels."""
    status = status_of(served_model(Clock(), ManualLane()), NO_DEFAULT_TIMEOUT)
    assert status["labels"] == 3
    assert status["images"] == {"signature": "serving_default", "how": "4 x 4 RGB"}


def test_the_facts_of_a_signature_need_no_server() -> None:
    """`tensorferry inspect` shows them as well."""
    facts = signature_facts(SIGNATURE, "another", blank_feed(SIGNATURE))
    assert set(facts) == {"inputs", "outputs", "batched", "sample"}
    assert '"signature_name": "serving_default"' in str(facts["sample"])


def test_the_largest_batch_is_that_of_the_start() -> None:
    """A lower limit for one shape, after a full memory, is not shown."""
    model = tensors()
    model.queues.of(blank_feed(ROWS)).cap = 2
    signatures: Any = status_of(model, NO_DEFAULT_TIMEOUT)["signatures"]
    assert signatures["serving_default"]["max_batch_size"] == 16


def test_names_may_have_any_characters() -> None:
    """The answer is JSON in UTF-8."""
    name = """it's "x" είσοδος😀\\\n"""
    odd = Signature((TensorSpec(name, np.dtype(np.float32), (None, 1)),), (SCORES,), name)
    queues = fake_queues(800)
    queues.learn(blank_feed(odd), 1, {})
    inference = FakeInference(Clock())
    inference.model = replace(
        tensors(),
        signatures={name: odd},
        default=name,
        samples={name: blank_feed(odd)},
        queues=queues,
    )
    (response,) = outcomes(StatusAPI(lambda: inference).status(http_request()))
    assert isinstance(response, HTTPResponse)
    assert (response.status, response.content_type) == (200, "application/json")
    assert response.body.endswith(b"}\n")
    content = orjson.loads(response.body)
    assert content["default_signature"] == name
    assert content["default_timeout_s"] is None
    assert content["signatures"][name]["inputs"] == [
        {"name": name, "dtype": "float32", "shape": [None, 1]}
    ]
    assert orjson.loads(content["signatures"][name]["sample"]) == {"inputs": {name: [[0.0]]}}


# --- in a server


def get_status(harness: ServiceHarness, method: str = "GET", body: bytes = b"") -> Answer:
    """Return the answer to a request for the status."""
    client = harness.connect()
    client.send(request(method, "/status", body))
    return client.answer


@pytest.mark.usefixtures("surroundings")
def test_the_status_is_only_read(harness: ServiceHarness) -> None:
    """With GET and HEAD, also while the server drains."""
    harness.started()
    assert get_status(harness, "POST", b"{}").status == 405
    assert get_status(harness, "POST", b"{}").headers["allow"] == "GET, HEAD"
    client = harness.connect()
    harness.service.stopService()
    client.send(request("GET", "/status"))
    assert client.answer.status == 200


@pytest.mark.usefixtures("surroundings")
def test_the_sample_in_the_status_is_answered(harness: ServiceHarness) -> None:
    """Posted without a change."""
    harness.started()
    sample = get_status(harness).json()["signatures"]["serving_default"]["sample"]
    client = harness.connect()
    client.send(request(body=sample.encode()))
    harness.turn()
    assert client.answer.json() == {"outputs": {"scores": [[0.0, 0.0, 0.0]]}}
