"""Images as base64 in the native dialect: server/api/image_body.py and server/api/native.py."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest
from twisted.internet.task import Clock

from model.execution.decode_pool import DecodePool
from model.images.errors import BadImage, NotAnImage
from server.api.image_body import begins_image, image_file
from server.api.inference_api import InferenceAPI
from server.api.native import NATIVE
from server.http.messages import HTTPResponse
from server.inference import Inference
from tests.fakes.http import http_request
from tests.fakes.server import SIGNATURE, ManualLane, served_model
from tests.fakes.threads import Calls, ManualThreads, outcomes
from tests.images import claims, coloured, encoded

if TYPE_CHECKING:
    from server.served_model import ServedModel

IMAGE = encoded(coloured(16, 16), "PNG")
JPEG = encoded(coloured(21, 16), "JPEG")
TEXT = b64encode(IMAGE)
LINES = b"\r\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)) + b"\n"
URL = b"data:image/png;base64," + TEXT
FORM = {"content-type": "multipart/form-data; boundary=edge"}
JSON = {"content-type": "application/json"}

pytestmark = pytest.mark.usefixtures("log")


def field(content: bytes) -> bytes:
    """Return a form whose text field data holds *content*."""
    head = b'--edge\r\nContent-Disposition: form-data; name="data"\r\n\r\n'
    return head + content + b"\r\n--edge--\r\n"


def quoted(text: bytes) -> bytes:
    """Return *text* as a JSON string."""
    return orjson.dumps(text.decode())


def b64(text: bytes) -> bytes:
    """Return *text* in a JSON object with the key b64."""
    return orjson.dumps({"b64": text.decode()})


class EndpointFixture:
    """The endpoint with a model of images, whose decode thread is stepped by `posted`."""

    def __init__(self, *, labels: bool = True, takes_images: bool = True) -> None:
        clock, calls = Clock(), Calls()
        self.lane = ManualLane()
        self.threads = ManualThreads()
        model = served_model(clock, self.lane, takes_images=takes_images)
        self.model: ServedModel = model if labels else replace(model, labels=())
        pool = DecodePool(calls, 1, pool=self.threads, clock=clock.seconds)
        pool.start()
        inference = Inference(self.model, pool, seconds=clock.seconds)
        self.api = InferenceAPI(lambda _: inference, NATIVE, seconds=clock.seconds)
        self._calls = calls

    def posted(self, body: bytes, headers: Mapping[str, str]) -> HTTPResponse:
        """Post *body*, decode it, run it, and return the answer."""
        fired = outcomes(self.api.predict(http_request(body, headers=headers)))
        while self.threads.queue:
            self.threads.step()
        self._calls.drain()
        if not fired:
            (batch,) = self.lane.batches
            self.lane.finish(*([0.5, 0.25, 1.0] for _ in batch[0].arrays[0][:1]))
        (response,) = fired
        assert isinstance(response, HTTPResponse)
        return response


def refusal(response: HTTPResponse) -> tuple[int, str]:
    """Return the status and the message of a refusal."""
    return response.status, str(orjson.loads(response.body)["error"])


BODIES: dict[str, tuple[bytes, Mapping[str, str]]] = {
    "bare": (TEXT, {}),
    "bare, from curl -d": (TEXT, {"content-type": "application/x-www-form-urlencoded"}),
    "bare, as text": (TEXT, {"content-type": "text/plain;charset=UTF-8"}),
    "in lines": (LINES, {}),
    "for URLs": (urlsafe_b64encode(IMAGE), {}),
    "without padding": (TEXT.rstrip(b"="), {}),
    "behind a byte order mark": (b"\xef\xbb\xbf" + TEXT, {}),
    "a data URL": (URL, {"content-type": "text/plain"}),
    "a data URL without a type": (b"DATA:;base64," + TEXT, {}),
    "a data URL with a name, escaped": (
        b"data:image/png;name=a.png;base64," + TEXT.replace(b"+", b"%2B").replace(b"=", b"%3D"),
        {},
    ),
    "b64": (b64(TEXT), JSON),
    "b64 without a type": (b" \n" + b64(TEXT), {}),
    "b64 behind a byte order mark": (b"\xef\xbb\xbf" + b64(TEXT), JSON),
    "b64 with escaped slashes": (b64(TEXT).replace(b"/", rb"\/"), JSON),
    "b64 in lines": (b64(LINES), JSON),
    "b64 of a data URL": (b64(URL), JSON),
    "a JSON string": (quoted(TEXT), JSON),
    "a JSON string without a type": (quoted(TEXT), {}),
    "a JSON string of a data URL": (quoted(URL), JSON),
    "a field": (field(TEXT), FORM),
    "a field with a data URL": (field(URL), FORM),
    "a field in lines": (field(LINES), FORM),
}


@pytest.mark.parametrize(("body", "headers"), BODIES.values(), ids=BODIES.keys())
def test_base64_of_an_image_is_answered_as_the_image(
    body: bytes, headers: Mapping[str, str]
) -> None:
    """With the same pixels and the same answer."""
    bare, wrapped = EndpointFixture(), EndpointFixture()
    expected = bare.posted(IMAGE, {})
    answer = wrapped.posted(body, headers)
    assert (answer.status, answer.body) == (200, expected.body)
    (pixels,), (as_bare,) = wrapped.lane.batches[0][0].arrays, bare.lane.batches[0][0].arrays
    np.testing.assert_array_equal(pixels, as_bare)


def test_base64_is_decoded_on_the_decode_threads() -> None:
    """The reactor thread reads its first bytes only; errors are found on the decode thread."""
    fixture = EndpointFixture()
    fired = outcomes(fixture.api.predict(http_request(TEXT[:-5] + b"%", headers={})))
    assert fired == []
    assert len(fixture.threads.queue) == 1


def test_base64_without_labels_is_answered_with_tensors() -> None:
    """As a bare image is."""
    assert (
        EndpointFixture(labels=False)
        .posted(b64(TEXT), JSON)
        .body.startswith(b'{"outputs":{"scores":')
    )


@pytest.mark.parametrize(
    "value",
    [
        {"b64": TEXT.decode()},
        {"image": {"b64": TEXT.decode()}},
        [{"b64": TEXT.decode()}],
        {"image": [{"b64": TEXT.decode()}]},
        TEXT.decode(),
        [URL.decode()],
    ],
)
def test_inputs_of_pixels_may_be_images(value: object) -> None:
    """They are answered as inputs are; each image is a row."""
    fixture = EndpointFixture()
    answer = fixture.posted(orjson.dumps({"inputs": value}), JSON)
    assert (answer.status, answer.body) == (200, b'{"outputs":{"scores":[[0.5,0.25,1.0]]}}\n')
    ((feed,),) = fixture.lane.batches
    bare = EndpointFixture()
    bare.posted(IMAGE, {})
    np.testing.assert_array_equal(feed.arrays[0], bare.lane.batches[0][0].arrays[0])


def test_several_images_in_inputs_are_as_many_rows() -> None:
    """In their order."""
    fixture = EndpointFixture()
    images = fixture.model.image_input
    assert images is not None
    feed = images.feed_all([IMAGE, JPEG])
    assert feed.signature is SIGNATURE
    assert [row.tolist() for row in feed.arrays[0]] == [
        images.feed(each).arrays[0][0].tolist() for each in (IMAGE, JPEG)
    ]


def test_more_images_than_the_queue_holds_are_refused_before_decoding() -> None:
    """The pixels of a short body could take much memory."""
    refused = b64encode(claims("PNG", 99, 99)).decode()
    for count, status in ((8, 413), (9, 429)):
        values = [{"b64": refused}] * count
        assert EndpointFixture().posted(orjson.dumps({"inputs": values}), JSON).status == status


PDF = b64encode(b"%PDF-1.7 and so on, for some pages")
REFUSED: dict[str, tuple[bytes, Mapping[str, str], int, str]] = {
    "of a document": (PDF, {}, 400, "base64 of a PDF document (34 bytes) is not a JPEG, PNG, "),
    "b64 of a document": (b64(PDF), JSON, 400, "base64 of a PDF document (34 bytes) is not"),
    "b64 of nothing": (b64(b""), JSON, 400, "base64 of nothing at all (0 bytes) is not"),
    "a field of a document": (field(PDF), FORM, 400, "base64 of a PDF document"),
    "several images": (
        TEXT.rstrip(b"=") + b"\n" + TEXT,
        *({}, 400, "the body is base64 of several images"),
    ),
    "a short word": (b"hello", {}, 400, "data that begins with 68 65 6c 6c 6f (5 bytes) is not"),
    "text": (b"hello", {"content-type": "text/plain"}, 415, "text/plain is not supported"),
    "not base64": (b64(TEXT[:-9] + b"%?"), JSON, 400, "the base64 of the image is broken"),
    "one digit too many": (b64(TEXT.rstrip(b"=")[:-3]), JSON, 400, "the base64 of the image is br"),
    "cut short": (b64(TEXT[:-40]), JSON, 400, "the PNG image is cut short"),
    "a data URL of text": (b"data:,hello", {}, 400, "the data URL is not base64"),
    "another key": (b'{"b64": "AA", "id": 7}', JSON, 400, 'the body: expected {"b64": "..."}'),
    "a number": (b'{"b64": 7}', JSON, 400, 'the body: expected {"b64": "..."} and no other key'),
    "broken JSON": (b64(TEXT)[:-1], JSON, 400, "the body is no JSON: "),
    "too many pixels": (b64(b64encode(claims("PNG", 99, 99))), JSON, 413, "99 x 99 is 9801 pixels"),
    "inputs of a document": (
        orjson.dumps({"inputs": {"b64": PDF.decode()}}), JSON, 400, "base64 of a PDF document",
    ),
    "inputs that are words": (
        b'{"inputs": ["cat"]}', JSON, 400, "input 'image' at [0]: expected whole numbers",
    ),
    "inputs that are mixed": (
        orjson.dumps({"inputs": [{"b64": TEXT.decode()}, 1]}), JSON, 400, "input 'image' at [0]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"), REFUSED.values(), ids=REFUSED.keys()
)
def test_other_base64_and_other_text_is_refused(
    body: bytes, headers: Mapping[str, str], status: int, message: str
) -> None:
    """With a description of it."""
    got, error = refusal(EndpointFixture().posted(body, headers))
    assert (got, error[: len(message)]) == (status, message)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [(TEXT, {}, 415), (URL, {}, 415), (b64(TEXT), JSON, 400), (quoted(TEXT), JSON, 400)],
)
def test_a_model_without_images_takes_no_base64(
    body: bytes, headers: Mapping[str, str], status: int
) -> None:
    """It is refused like any other body."""
    assert refusal(EndpointFixture(takes_images=False).posted(body, headers))[0] == status


@pytest.mark.parametrize("lost", [b"\0\r\n", b"\r\n"])
@pytest.mark.parametrize("image", [IMAGE, JPEG, encoded(coloured(16, 16), "WEBP")])
def test_an_image_that_curl_has_changed_is_refused_with_advice(image: bytes, lost: bytes) -> None:
    """Without line ends, as -d sends it; an unchanged image of that type is answered."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert EndpointFixture().posted(image, headers).status == 200
    changed = image.translate(None, lost)
    if changed == image:
        return
    status, error = refusal(EndpointFixture().posted(changed, headers))
    assert status == 400
    assert error.endswith(
        "send the image with --data-binary @photo.jpg, or with -F data=@photo.jpg"
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_the_first_characters_show_base64_of_each_format(kind: str) -> None:
    """In either alphabet, and in lines."""
    image = encoded(coloured(16, 16), kind)
    for text in (b64encode(image), urlsafe_b64encode(image), b64encode(image)[:40] + b"\n=="):
        assert begins_image(text)
    assert image_file(b64encode(image)) == image
    assert not begins_image(b"hello world")


def test_bytes_that_are_no_text_are_passed_to_the_decoder() -> None:
    """Which reports what they are."""
    assert image_file(b"\0\1\2") == b"\0\1\2"
    with pytest.raises(NotAnImage):
        image_file(b'"aGVsbG8gd29ybGQ="')
    with pytest.raises(BadImage):
        image_file(b'"a"')
