"""Images and tensors of one model: server/api/native.py."""

from base64 import b64encode
from dataclasses import replace

import numpy as np
import orjson
import pytest
from twisted.internet.task import Clock

from batcher.policy import FixedPolicy
from model.images.encoded_input import encoded_image_input
from model.images.errors import BadImage
from model.signature import STRING, Feed, FeedError, Signature, TensorSpec, blank_feed
from server.api.native import MAX_BYTES_READ_AT_ONCE
from server.api.native_feeds import tensor_feed
from tests.fakes.endpoint import (
    FORM,
    FORM_BODY,
    IMAGE,
    ROWS,
    EndpointFixture,
    inputs,
    tensors,
    the_response,
)
from tests.fakes.http import http_request
from tests.fakes.model import fake_queues
from tests.fakes.server import SIGNATURE, ManualLane, images, served_model
from tests.fakes.threads import outcomes
from tests.images import claims

# --- images without labels


def test_images_without_labels_are_answered_with_tensors() -> None:
    """Those of the signature that images run as."""
    clock, lane = Clock(), ManualLane()
    fixture = EndpointFixture(clock, lane, model=served_model(clock, lane, labels=()))
    for body, headers in ((IMAGE, {}), (FORM_BODY, FORM)):
        fired = fixture.posted(body, headers)
        ((feed,),) = fixture.lane.batches
        assert feed.signature is SIGNATURE
        fixture.lane.finish([0.5, 0.25, 1.0])
        assert the_response(fired).body == b'{"outputs":{"scores":[[0.5,0.25,1.0]]}}\n'
        fixture.lane.batches.clear()
    assert fixture.refusal(IMAGE, {}, query={"k": ("1",)}) == (
        400,
        "k: this model has no labels",
    )
    assert fixture.refusal(b"no image", {})[0] == 400


def test_a_model_of_images_takes_json_beside_them() -> None:
    """With pixels as its inputs."""
    clock, lane = Clock(), ManualLane()
    fixture = EndpointFixture(clock, lane, model=served_model(clock, lane))
    fired = fixture.posted(orjson.dumps({"inputs": [np.zeros((4, 4, 3), int).tolist()]}))
    fixture.lane.finish([0.5, 0.25, 1.0])
    assert the_response(fired).body == b'{"outputs":{"scores":[[0.5,0.25,1.0]]}}\n'


def test_a_model_of_images_refuses_text() -> None:
    """The error names what to post."""
    clock, lane = Clock(), ManualLane()
    fixture = EndpointFixture(clock, lane, model=served_model(clock, lane))
    status, error = fixture.refusal(b"hello", {"content-type": "text/plain"})
    assert (status, error) == (415, "text/plain is not supported; post an image or JSON")


FILES, TEXTS = (
    Signature(
        (TensorSpec("file", STRING, (None,)),),
        (TensorSpec("scores", np.dtype(np.float32), (None, 3)),),
        name,
    )
    for name in ("files", "texts")
)


def encoded_b64(image: bytes) -> dict[str, str]:
    """Return an image file as a JSON object with b64."""
    return {"b64": b64encode(image).decode()}


@pytest.mark.parametrize(
    ("strings", "name", "status"),
    [
        ([encoded_b64(IMAGE)], "files", None),
        ([encoded_b64(IMAGE), encoded_b64(IMAGE)], "files", None),
        (["text"], "files", 400),
        ([encoded_b64(IMAGE), encoded_b64(IMAGE[:20])], "files", 400),
        ([encoded_b64(IMAGE), encoded_b64(claims("PNG", 30_000, 30_000))], "files", 413),
        (["text"], "texts", None),
    ],
)
def test_a_model_decodes_no_more_of_json_than_of_a_posted_image(
    strings: list[object], name: str, status: int | None
) -> None:
    """For the signature that images run as; other strings are not checked."""
    clock, lane = Clock(), ManualLane()
    queues = fake_queues(800)
    for each in (FILES, TEXTS):
        queues.learn(blank_feed(each), 4, {})
    model = replace(
        served_model(clock, lane, policy=FixedPolicy(4, 0.0)),
        signatures={FILES.name: FILES, TEXTS.name: TEXTS},
        default=FILES.name,
        image_input=encoded_image_input(FILES, 1000),
        queues=queues,
    )
    fixture = EndpointFixture(clock, lane, model=model)
    body = orjson.dumps({"inputs": {"file": strings}, "signature_name": name})
    if status is None:
        assert fixture.posted(body) == []
        assert len(lane.batches) == 1
    else:
        assert fixture.refusal(body)[0] == status


TEXT = b64encode(IMAGE).decode()


@pytest.mark.parametrize("reads", ["pixels", "files", "limit"])
@pytest.mark.parametrize(
    "body",
    [
        {"inputs": TEXT},
        {"inputs": [{"b64": TEXT}]},
        {"inputs": {"image": [TEXT, TEXT]}},
        {"inputs": {"file": [{"b64": TEXT}]}},
        {"inputs": [{"b64": TEXT}], "signature_name": "files"},
        {"b64": TEXT},
        TEXT,
        IMAGE,
    ],
    ids=lambda body: str(body)[:24],
)
def test_no_image_is_decoded_on_the_reactor_thread(body: object, reads: str) -> None:
    """However short it is: a small file may have very many pixels."""
    clock, lane = Clock(), ManualLane()
    decoded: list[bytes] = []

    def decode(data: bytes) -> np.ndarray:
        decoded.append(data)
        raise BadImage("decoded")

    model = served_model(clock, lane)
    queues = fake_queues(800)
    for each in (FILES, SIGNATURE):
        queues.learn(blank_feed(each), 4, {})
    pixels, files = images(), encoded_image_input(FILES, 1000)
    model = replace(
        model,
        signatures={FILES.name: FILES, SIGNATURE.name: SIGNATURE},
        default=SIGNATURE.name if reads == "pixels" else FILES.name,
        image_input={
            "pixels": replace(pixels, array_of=decode),
            "files": replace(files, array_of=decode),
        }.get(reads),
        max_pixels=1000 if reads == "limit" else None,
        queues=queues,
    )
    fixture = EndpointFixture(clock, lane, model=model)
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    assert len(data) <= MAX_BYTES_READ_AT_ONCE
    fired = outcomes(fixture.api.predict(http_request(data)))
    assert (decoded, lane.batches) == ([], [])
    fixture.decode()
    assert bool(fired) != bool(lane.batches)


def test_a_feed_is_made_for_the_signature_that_is_named() -> None:
    """Else for the default signature."""
    model = tensors(Clock(), ManualLane())
    assert isinstance(feed := tensor_feed(model, inputs([1, 2, 3, 4])), Feed)
    assert feed.signature is ROWS
    with pytest.raises(FeedError, match="unknown signature 'Serving_default': the model has "):
        tensor_feed(model, b'{"inputs": 1, "signature_name": "Serving_default"}')
