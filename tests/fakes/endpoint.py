"""The endpoint of inference with a model of tensors, for tests of the native dialect."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson
from twisted.internet.task import Clock

from batcher.policy import FixedPolicy
from model.execution.decode_pool import DecodePool
from model.signature import STRING, Arrays, Feed, Signature, TensorSpec, blank_feed
from server.api.inference_api import InferenceAPI
from server.api.native import NATIVE
from server.http.messages import HTTPResponse
from server.inference import Inference
from server.served_model import ServedModel
from tests.fakes.http import http_request
from tests.fakes.model import fake_queues
from tests.fakes.server import ManualLane, served_model
from tests.fakes.threads import Calls, ManualThreads, outcomes
from tests.images import coloured, encoded

IMAGE = encoded(coloured(16, 16), "PNG")
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=edge"}
FORM_BODY = (
    b'--edge\r\nContent-Disposition: form-data; name="data"; filename="a.png"\r\n\r\n'
    + IMAGE
    + b"\r\n--edge--\r\n"
)
X = TensorSpec("x", np.dtype(np.float32), (None, 4))
ROWS = Signature((X,), (TensorSpec("y", np.dtype(np.float32), (None, 2)),))
#: A signature with one output of each kind, which runs alone.
MIXED = Signature(
    (TensorSpec("a", np.dtype(np.int32), ()), TensorSpec("b", STRING, (2,))),
    (TensorSpec("known", np.dtype(bool), ()), TensorSpec("names", STRING, (2,))),
    "mixed",
    alone="input 'a' is int32[]: its first axis is not of variable size",
)


def tensors(
    clock: Clock, lane: ManualLane, *, labels: tuple[str, ...] = (), max_queue_bytes: int = 128
) -> ServedModel:
    """Return a model of numbers, with a queue of eight rows and batches of four."""
    queues = fake_queues(max_queue_bytes)
    queues.learn(blank_feed(ROWS), 4, {})
    queues.learn(blank_feed(MIXED), 1, {})
    return replace(
        served_model(clock, lane, policy=FixedPolicy(4, 0.0), takes_images=False, labels=labels),
        signatures={ROWS.name: ROWS, MIXED.name: MIXED},
        samples={ROWS.name: blank_feed(ROWS)},
        queues=queues,
    )


@dataclass
class EndpointFixture:
    """The endpoint with a model whose decode thread and lane are stepped by the test."""

    clock: Clock = field(default_factory=Clock)
    lane: ManualLane = field(default_factory=ManualLane)
    threads: ManualThreads = field(default_factory=ManualThreads)
    calls: Calls = field(default_factory=Calls)
    model: ServedModel | None = None

    def __post_init__(self) -> None:
        """Start the pool."""
        pool = DecodePool(self.calls, 1, pool=self.threads, clock=self.clock.seconds)
        pool.start()
        inference = Inference(self.model or tensors(self.clock, self.lane), pool, clock=self.clock)
        self.api = InferenceAPI(lambda _: inference, NATIVE, seconds=self.clock.seconds)

    def decode(self) -> None:
        """Run all jobs of the decode thread."""
        while self.threads.queue:
            self.threads.step()
        self.calls.drain()

    def posted(self, body: bytes, headers: Mapping[str, str] = JSON, **given: Any) -> list[object]:
        """Post *body*, decode it, and return the list for its result."""
        fired = outcomes(self.api.predict(http_request(body, headers=headers, **given)))
        self.decode()
        return fired

    def answer(
        self, body: bytes, headers: Mapping[str, str] = JSON, **given: Any
    ) -> tuple[HTTPResponse, list[Feed]]:
        """Post *body*, run it, and return the response and the feeds that were run."""
        fired = self.posted(body, headers, **given)
        for batch in self.lane.batches:  # grows during the loop
            self.lane.give(*map(result_of, batch))
        return the_response(fired), [feed for batch in self.lane.batches for feed in batch]

    def refusal(
        self, body: bytes, headers: Mapping[str, str] = JSON, **given: Any
    ) -> tuple[int, str]:
        """Return the status and the message with which *body* is refused, without a run."""
        response = the_response(self.posted(body, headers, **given))
        assert self.lane.batches == []
        content = orjson.loads(response.body)
        assert (content["status"], content["request_id"]) == (response.status, "the-id")
        assert response.headers["X-Model-Version"] == "pets/7"
        assert content["error"].isprintable()
        return response.status, content["error"]


def result_of(feed: Feed) -> Arrays:
    """Return the outputs of a run: of numbers the first two, else always the same."""
    if feed.signature is ROWS:
        return (feed.arrays[0][:, :2],)
    if feed.signature is MIXED:
        return (np.array(True), np.array([b"a", b"\xff\0"], STRING))
    return (np.array([[0.5, 0.25, 1.0]] * feed.rows, np.float32),)


def the_response(fired: list[object]) -> HTTPResponse:
    """Return the only result."""
    (response,) = fired
    assert isinstance(response, HTTPResponse)
    return response


def inputs(*rows: list[float]) -> bytes:
    """Return a request of these rows."""
    return orjson.dumps({"inputs": {"x": rows}})


def scores(*rows: list[float]) -> tuple[np.ndarray]:
    """Return the output of the model."""
    return (np.array(rows, np.float32),)
