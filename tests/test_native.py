"""The native dialect, `POST /` with images and JSON: server/api/native*.py, image_body.py."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import orjson
import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from batcher.errors import RunFailed
from batcher.policy import FixedPolicy
from model.images.encoded_input import encoded_image_input
from model.images.errors import BadImage, NotAnImage
from model.signature import STRING, Signature, TensorSpec, blank_feed
from server.api.image_body import begins_image, image_file
from server.api.native import MAX_BYTES_READ_AT_ONCE, content_type_of, is_json
from server.served_model import ServedModel
from tests.fakes.endpoint import (
    FORM,
    FORM_BODY,
    IMAGE,
    JSON,
    MIXED,
    EndpointFixture,
    inputs,
    scores,
    tensors,
    the_response,
)
from tests.fakes.http import http_request
from tests.fakes.model import fake_queues
from tests.fakes.server import LABELS, SIGNATURE, ManualLane, images, served_model
from tests.fakes.threads import kinds, outcomes
from tests.images import claims, coloured, encoded

pytestmark = pytest.mark.usefixtures("log")

#: Models by name: of numbers, with labels beside them, of images with and without labels.
MODELS: dict[str, Callable[[Clock, ManualLane], ServedModel]] = {
    "rows": tensors,
    "labelled rows": partial(tensors, labels=LABELS),
    "images": served_model,
    "unlabelled": partial(served_model, labels=()),
    "pixels": partial(served_model, takes_images=False),
}


def endpoint(model: str) -> EndpointFixture:
    """Return the endpoint of a model of this name."""
    clock, lane = Clock(), ManualLane()
    return EndpointFixture(clock, lane, model=MODELS[model](clock, lane))


def dumped(content: object) -> bytes:
    """Return *content* as JSON; bytes in it are text."""
    return orjson.dumps(content, default=bytes.decode)


def field(content: bytes) -> bytes:
    """Return a form whose text field data holds *content*."""
    head = b'--edge\r\nContent-Disposition: form-data; name="data"\r\n\r\n'
    return head + content + b"\r\n--edge--\r\n"


JPEG = encoded(coloured(21, 16), "JPEG")
TEXT = b64encode(IMAGE)
LINES = b"\r\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)) + b"\n"
URL = b"data:image/png;base64," + TEXT
ESCAPED_URL = b"data:image/png;name=a.png;base64," + TEXT.replace(b"+", b"%2B").replace(
    b"=", b"%3D"
)
B64 = dumped({"b64": TEXT})
PDF = b64encode(b"%PDF-1.7 and so on, for some pages")
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}  # what curl -d sends
PLAIN = {"content-type": "text/plain"}
MARK = b"\xef\xbb\xbf"
ONE, ONE_OF = inputs([1, 2, 3, 4]), '200 {"outputs":{"y":[[1.0,2.0]]}}'
BEST = '200 [["eel",1.0],["cat",0.5]]'
SCORES = '200 {"outputs":{"scores":[[0.5,0.25,1.0]]}}'
ONLY = 'the body: expected {"b64": "..."} and no other key'
SAMPLE = "415 this model takes tensors, no images; post JSON such as {}"
ZEROS = '{"inputs": {"x": [[0.0, 0.0, 0.0, 0.0]]}}'
KEYS = "the body takes inputs, signature_name"
MIXED_BODY = {"signature_name": "mixed", "inputs": {"b": ["x", {"b64": "/w=="}], "a": 7}}
MIXED_ANSWER = '200 {"outputs":{"known":true,"names":["a",{"b64":"/wA="}]}}'
Case = tuple[str, bytes, Mapping[str, str], str]

#: A model, a body, its headers, and the status with the body of the answer or the error.
# fmt: off
CASES: list[Case] = [
    # tensors
    ("rows", inputs([1, 2, 3, 4], [5, 6, 7.5, 8]), JSON,
        '200 {"outputs":{"y":[[1.0,2.0],[5.0,6.0]]}}'),
    ("rows", inputs([0.1, 1e-7, 0, 0]), JSON, '200 {"outputs":{"y":[[0.1,1e-7]]}}'),
    ("rows", dumped({"inputs": [[1, 2, 3, 4]], "signature_name": "serving_default"}), JSON, ONE_OF),
    ("rows", dumped(MIXED_BODY), JSON, MIXED_ANSWER),
    ("rows", b" \n" + ONE, {}, ONE_OF),
    ("rows", ONE, URLENCODED, ONE_OF),
    ("rows", MARK + ONE, JSON, ONE_OF),
    ("rows", MARK + ONE, {}, ONE_OF),
    ("rows", ZEROS.encode(), {}, '200 {"outputs":{"y":[[0.0,0.0]]}}'),  # the sample of the error
    # tensors that are refused
    ("rows", b"", JSON, "400 the body is empty: post an image, ..."),
    ("rows", b"{", JSON, "400 the body is no JSON: ..."),
    ("rows", b'{"inputs":\n  tru}', JSON,
        "400 the body is no JSON: invalid literal, expected 'true': line 2 column 3 (char 13)"),
    ("rows", b"[[1, 2, 3, 4]]", JSON, "400 the body: expected an object, got a list"),
    ("rows", b"null", JSON, "400 the body: expected an object, got null"),
    ("rows", b"{}", JSON, "400 the body has no key 'inputs'"),
    ("rows", b'{"instances": []}', JSON, f"400 unknown key 'instances': {KEYS}"),
    ("rows", b'{"' + b"k" * 5000 + b'": 2}', JSON, f"400 unknown key '{'k' * 36}...: {KEYS}"),
    ("rows", IMAGE, JSON, "400 the body is no JSON: ..."),
    ("rows", MARK + b"{}", JSON, "400 the body has no key 'inputs'"),
    ("rows", "{}".encode("utf-16"), JSON, "400 the body is JSON in UTF-16; send it in UTF-8"),
    ("rows", "{}".encode("utf-16-be"), JSON, "400 the body is JSON in UTF-16-BE; send it in UTF-8"),
    ("rows", "{}".encode("utf-32"), JSON, "400 the body is JSON in UTF-32; send it in UTF-8"),
    ("rows", b'{"b64": "AAAA"}', JSON, f"400 unknown key 'b64': {KEYS}"),
    ("rows", b'{"inputs": {"z": 1}}', JSON, "400 unknown input 'z': the model takes x"),
    ("rows", b'{"inputs": {"x": [[1, 2, 3, 4]], "typo": {"deep": [[1], 2]}}}', JSON,
        "400 unknown input 'typo': the model takes x"),
    ("rows", b'{"inputs": {}}', JSON, "400 input 'x' is missing: expected float32[?, 4]"),
    ("rows", b'{"inputs": {"x": [1]}}', JSON,
        "400 input 'x': expected float32[?, 4], got float32[1]"),
    ("rows", b'{"inputs": {"x": []}}', JSON,
        "400 input 'x': expected float32[?, 4], got float32[0]"),
    ("rows", inputs([1, 2, 3]), JSON, "400 input 'x': expected float32[?, 4], got float32[1, 3]"),
    ("rows", inputs([1], [2, 3]), JSON,
        "400 input 'x' at [1]: the lists differ in length or depth"),
    ("rows", b'{"inputs": {"x": [["1", 2, 3, 4]]}}', JSON,
        "400 input 'x' at [0, 0]: expected numbers ..."),
    ("rows", b'{"inputs": {"x": [[1, 2, 3, NaN]]}}', JSON, "400 the body is no JSON: ..."),
    ("rows", b'{"inputs": {"x": ' + b"[" * 2000, JSON, "400 the body is no JSON: ..."),
    ("rows", b'{"inputs": 1, "signature_name": "predict"}', JSON,
        "400 unknown signature 'predict': the model has serving_default, mixed"),
    ("rows", b'{"inputs": 1, "signature_name": "' + b"x" * 999 + b'"}', JSON,
        f"400 unknown signature '{'x' * 80}': the model has serving_default, mixed"),
    ("rows", b'{"inputs": 1, "signature_name": null}', JSON,
        "400 signature_name: expected a string, got null"),
    ("rows", b'{"inputs": 1, "signature_name": 7}', JSON,
        "400 signature_name: expected a string, got 7"),
    ("rows", b'{"inputs": [1], "signature_name": "mixed"}', JSON,
        "400 inputs: expected an object of 2 names, got a list"),
    ("rows", inputs(*([[0.0] * 4] * 9)), JSON, "429 9 rows ..."),
    ("rows", ONE, {**JSON, "x-request-timeout-ms": "soon"},
        "400 X-Request-Timeout-Ms: expected ..."),
    *(("rows", ONE, {**JSON, "k": k}, "400 k: this model has no labels") for k in "01"),
    ("labelled rows", ONE, {**JSON, "k": "1"}, "400 k: this model has no labels"),
    # bodies that are no JSON, for a model of tensors
    ("rows", IMAGE, {}, SAMPLE.format(ZEROS)),
    ("rows", IMAGE, {"content-type": "image/png"}, SAMPLE.format(ZEROS)),
    ("rows", FORM_BODY, FORM, SAMPLE.format(ZEROS)),
    ("rows", FORM_BODY.replace(b'"data"', b'"upload"'), FORM, SAMPLE.format(ZEROS)),
    ("rows", FORM_BODY, {"content-type": "multipart/form-data"}, SAMPLE.format(ZEROS)),
    ("rows", b"[[1, 2, 3, 4]]", {}, SAMPLE.format(ZEROS)),
    ("rows", b"[[1, 2, 3, 4]]", PLAIN, SAMPLE.format(ZEROS)),
    ("rows", b"x=1&y=2", URLENCODED, SAMPLE.format(ZEROS)),
    *(("pixels", body, {}, "415 this model takes tensors, ...") for body in (TEXT, URL)),
    ("pixels", B64, JSON, f"400 unknown key 'b64': {KEYS}"),
    ("pixels", dumped(TEXT), JSON, "400 the body: expected an object, got '..."),
    # images
    ("images", IMAGE, {}, BEST),
    ("images", IMAGE, {"k": "3"}, '200 [["eel",1.0],["cat",0.5],["dog",0.25]]'),
    ("images", FORM_BODY, FORM, BEST),
    ("unlabelled", IMAGE, {}, SCORES),
    ("unlabelled", FORM_BODY, FORM, SCORES),
    ("unlabelled", IMAGE, {"k": "1"}, "400 k: this model has no labels"),
    ("unlabelled", b"no image", {}, "400 ..."),
    ("images", dumped({"inputs": [np.zeros((4, 4, 3), int).tolist()]}), JSON, SCORES),
    ("images", b"hello", PLAIN, "415 text/plain is not supported; post an image or JSON"),
    # images as base64
    ("images", TEXT, {}, BEST),
    ("images", TEXT, URLENCODED, BEST),
    ("images", TEXT, {"content-type": "text/plain;charset=UTF-8"}, BEST),
    ("images", LINES, {}, BEST),
    ("images", urlsafe_b64encode(IMAGE), {}, BEST),
    ("images", TEXT.rstrip(b"="), {}, BEST),
    ("images", MARK + TEXT, {}, BEST),
    ("images", URL, PLAIN, BEST),
    ("images", b"DATA:;base64," + TEXT, {}, BEST),
    ("images", ESCAPED_URL, {}, BEST),
    ("images", B64, JSON, BEST),
    ("images", b" \n" + B64, {}, BEST),
    ("images", MARK + B64, JSON, BEST),
    ("images", B64.replace(b"/", rb"\/"), JSON, BEST),
    ("images", dumped({"b64": LINES}), JSON, BEST),
    ("images", dumped({"b64": URL}), JSON, BEST),
    *(("images", dumped(text), headers, BEST) for text, headers in ((TEXT, JSON), (TEXT, {}), (URL,
        JSON))),
    *(("images", field(text), FORM, BEST) for text in (TEXT, URL, LINES)),
    ("unlabelled", B64, JSON, SCORES),
    # images in inputs
    *(("images", dumped({"inputs": value}), JSON, SCORES) for value in (
        {"b64": TEXT}, {"image": {"b64": TEXT}}, [{"b64": TEXT}], {"image": [{"b64": TEXT}]}, TEXT,
        [URL],
    )),
    ("images", dumped({"inputs": [{"b64": b64encode(claims("PNG", 99, 99))}] * 8}), JSON,
        "413 99 x 99 is ..."),
    ("images", dumped({"inputs": [{"b64": b64encode(claims("PNG", 99, 99))}] * 9}), JSON,
        "429 9 rows ..."),
    # base64 that is refused
    ("images", PDF, {}, "400 base64 of a PDF document (34 bytes) is not a JPEG, PNG, ..."),
    ("images", dumped({"b64": PDF}), JSON, "400 base64 of a PDF document (34 bytes) is not..."),
    ("images", dumped({"b64": b""}), JSON, "400 base64 of nothing at all (0 bytes) is not..."),
    ("images", field(PDF), FORM, "400 base64 of a PDF document..."),
    ("images", TEXT.rstrip(b"=") + b"\n" + TEXT, {}, "400 the body is base64 of several images..."),
    ("images", b"hello", {}, "400 data that begins with 68 65 6c 6c 6f (5 bytes) is not..."),
    ("images", dumped({"b64": TEXT[:-9] + b"%?"}), JSON,
        "400 the base64 of the image is broken..."),
    ("images", dumped({"b64": TEXT.rstrip(b"=")[:-3]}), JSON,
        "400 the base64 of the image is broken..."),
    ("images", dumped({"b64": TEXT[:-40]}), JSON, "400 the PNG image is cut short..."),
    ("images", b"data:,hello", {}, "400 the data URL is not base64..."),
    ("images", b'{"b64": "AA", "id": 7}', JSON, f"400 {ONLY}..."),
    ("images", b'{"b64": 7}', JSON, f"400 {ONLY}..."),
    ("images", B64[:-1], JSON, "400 the body is no JSON: ..."),
    ("images", dumped({"b64": b64encode(claims("PNG", 99, 99))}), JSON,
        "413 99 x 99 is 9801 pixels..."),
    ("images", b64encode(claims("PNG", 99, 99)), URLENCODED, "413 99 x 99 is 9801 pixels..."),
    ("images", dumped({"inputs": {"b64": PDF}}), JSON, "400 base64 of a PDF document..."),
    ("images", b'{"inputs": ["cat"]}', JSON, "400 input 'image' at [0]: expected whole numbers..."),
    ("images", dumped({"inputs": [{"b64": TEXT}, 1]}), JSON, "400 input 'image' at [0]..."),
]
# fmt: on


@pytest.mark.parametrize(
    ("model", "body", "headers", "expected"), CASES, ids=[f"{it[0]}-{it[3][:40]}" for it in CASES]
)
def test_a_body_is_answered_or_refused_with_the_reason(
    model: str,
    body: bytes,
    headers: Mapping[str, str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same by both threads; a refused body is not run, and an image is that of a bare body."""
    fields = {name: value for name, value in headers.items() if name != "k"}
    query = {"k": (headers["k"],)} if "k" in headers else {}
    for bound in (0, 1 << 16):
        monkeypatch.setattr("server.api.native.MAX_BYTES_READ_AT_ONCE", bound)
        if not expected.startswith("200"):
            status, error = endpoint(model).refusal(body, fields, query=query)
            text = f"{status} {error}"
        else:
            response, feeds = endpoint(model).answer(body, fields, query=query)
            assert response.content_type == "application/json"
            text = f"{response.status} {response.body.decode()}".removesuffix("\n")
            if b"0,0,0" not in body and feeds[0].signature is SIGNATURE:
                (bare,) = endpoint(model).answer(IMAGE, {})[1]
                np.testing.assert_array_equal(feeds[0].arrays[0], bare.arrays[0])
        beginning = expected.removesuffix("...")
        assert (text if beginning == expected else text[: len(beginning)]) == beginning


# --- runs


def test_the_answer_reports_the_times_and_the_batches() -> None:
    """A request with more rows than a batch is split; its outputs are in the order of its rows."""
    fixture = endpoint("rows")
    fired = fixture.posted(inputs(*([float(row), 0, 0, 0] for row in range(6))))
    fixture.lane.give(scores(*([float(row), 0] for row in range(4))))
    assert fired == []
    fixture.lane.give(scores(*([float(row), 0] for row in range(4, 6))))
    response = the_response(fired)
    assert orjson.loads(response.body)["outputs"]["y"] == [[row, 0] for row in range(6)]
    assert dict(response.headers) == {
        "X-Model-Version": "pets/7",
        "Server-Timing": "decode;dur=0.000, queue;dur=0.000, run;dur=0.000, encode;dur=0.000, "
        'batch;desc="4/4 full", batch;desc="2/4 fixed"',
    }


def test_a_signature_may_run_alone() -> None:
    """With inputs of any dtype."""
    _, (feed,) = endpoint("rows").answer(dumped(MIXED_BODY))
    assert feed.signature is MIXED
    assert [array.tolist() for array in feed.arrays] == [7, [b"x", b"\xff"]]
    _, (numbers,) = endpoint("rows").answer(inputs([1, 2, 3, 4.5]))
    (array,) = numbers.arrays
    assert (array.dtype, array.tolist()) == (np.dtype("f4"), [[1, 2, 3, 4.5]])


def test_several_images_in_inputs_are_as_many_rows() -> None:
    """In their order."""
    fixture = endpoint("images")
    body = dumped({"inputs": [{"b64": b64encode(each)} for each in (IMAGE, JPEG)]})
    _, (feed,) = fixture.answer(body)
    input_ = images()
    assert [row.tolist() for row in feed.arrays[0]] == [
        input_.feed(each).arrays[0][0].tolist() for each in (IMAGE, JPEG)
    ]


def test_rows_for_a_full_queue_are_refused() -> None:
    """With Retry-After."""
    fixture = endpoint("rows")
    fixture.posted(ONE)
    fired = [fixture.posted(inputs(*([[0.0] * 4] * 4))) for _ in range(3)]
    assert [len(each) for each in fired] == [0, 0, 1]
    response = the_response(fired[2])
    assert (response.status, response.headers["Retry-After"]) == (429, "1")


# --- what is JSON


@pytest.mark.parametrize(
    ("body", "kind", "json"),
    [
        (b"{}", None, True),
        *((b"{}", kind, True) for kind in (URLENCODED["content-type"], "text/plain", "image/png")),
        *((body, None, True) for body in (b" \t\r\n{}", b"\n" * 63 + b"{", MARK + b" {}")),
        *(
            (text.encode(f"utf-{kind}"), None, True)
            for text, kind in ((" {}", "16"), ("{}", "16-le"))
        ),
        ("{}".encode("utf-32-be"), None, True),
        *((body, None, False) for body in (b"[1]", b"", IMAGE, b"\xff\xd8\xff{")),
        *((body, "application/json", True) for body in (b"[1]", b"")),
        (b"1", "application/json; charset=utf-8", True),
        (IMAGE, "Application/JSON", True),
        (IMAGE, "application/octet-stream", False),
        *((FORM_BODY, kind, False) for kind in (FORM["content-type"], "application/json")),
    ],
)
def test_a_body_is_json_by_its_type_or_its_first_brace(
    body: bytes, kind: str | None, json: bool
) -> None:
    """No image begins with a brace."""
    headers = {} if kind is None else {"content-type": kind}
    assert is_json(body, content_type_of(http_request(headers=headers))) == json


# --- threads


@pytest.mark.parametrize(("size", "jobs"), [(0, 0), (MAX_BYTES_READ_AT_ONCE, 0), (2049, 1)])
def test_a_small_body_is_read_without_a_decode_thread(size: int, jobs: int) -> None:
    """The change of threads would take longer than to read it."""
    fixture = EndpointFixture()
    fixture.api.predict(http_request(ONE.ljust(size), headers=JSON))
    assert len(fixture.threads.queue) == jobs
    assert len(fixture.lane.batches) == 1 - jobs
    fixture.decode()
    assert len(fixture.lane.batches) == 1


FILES, TEXTS = (
    Signature(
        (TensorSpec("file", STRING, (None,)),),
        (TensorSpec("scores", np.dtype(np.float32), (None, 3)),),
        name,
    )
    for name in ("files", "texts")
)


def model_of(clock: Clock, lane: ManualLane, *signatures: Signature) -> ServedModel:
    """Return a model of images with *signatures*; the first is the default."""
    queues = fake_queues(800)
    for each in signatures:
        queues.learn(blank_feed(each), 4, {})
    return replace(
        served_model(clock, lane, policy=FixedPolicy(4, 0.0)),
        signatures={each.name: each for each in signatures},
        default=signatures[0].name,
        image_input=encoded_image_input(FILES, 1000),
        queues=queues,
    )


GOOD, CUT, LARGE = (
    {"b64": b64encode(each)} for each in (IMAGE, IMAGE[:20], claims("PNG", 30_000, 30_000))
)


@pytest.mark.parametrize(
    ("strings", "name", "status"),
    [
        ([GOOD], "files", 200),
        ([GOOD, GOOD], "files", 200),
        (["text"], "files", 400),
        ([GOOD, CUT], "files", 400),
        ([GOOD, LARGE], "files", 413),
        (["text"], "texts", 200),
    ],
)
def test_a_model_decodes_no_more_of_json_than_of_a_posted_image(
    strings: list[object], name: str, status: int
) -> None:
    """For the signature that images run as; other strings are not checked."""
    clock, lane = Clock(), ManualLane()
    fixture = EndpointFixture(clock, lane, model=model_of(clock, lane, FILES, TEXTS))
    response, feeds = fixture.answer(dumped({"inputs": {"file": strings}, "signature_name": name}))
    assert (response.status, len(feeds)) == (status, status == 200)


@pytest.mark.parametrize("reads", ["pixels", "files", "limit"])
@pytest.mark.parametrize(
    "body",
    [
        *(dumped({"inputs": value}) for value in (TEXT, [{"b64": TEXT}], {"image": [TEXT, TEXT]})),
        dumped({"inputs": {"file": [{"b64": TEXT}]}}),
        dumped({"inputs": [{"b64": TEXT}], "signature_name": "files"}),
        *(B64, dumped(TEXT), IMAGE, TEXT[:-5] + b"%"),
    ],
    ids=lambda body: str(body)[:24],
)
def test_no_image_is_decoded_on_the_reactor_thread(body: bytes, reads: str) -> None:
    """However short it is: a small file may have very many pixels."""
    clock, lane = Clock(), ManualLane()
    decoded: list[bytes] = []

    def decode(data: bytes) -> np.ndarray:
        decoded.append(data)
        raise BadImage("decoded")

    order = (SIGNATURE, FILES) if reads == "pixels" else (FILES, SIGNATURE)
    model = model_of(clock, lane, *order)
    pixels, files = images(), encoded_image_input(FILES, 1000)
    model = replace(
        model,
        image_input={
            "pixels": replace(pixels, array_of=decode),
            "files": replace(files, array_of=decode),
        }.get(reads),
        max_pixels=1000 if reads == "limit" else None,
    )
    fixture = EndpointFixture(clock, lane, model=model)
    assert len(body) <= MAX_BYTES_READ_AT_ONCE
    fired = outcomes(fixture.api.predict(http_request(body)))
    assert (decoded, lane.batches) == ([], [])
    fixture.decode()
    assert bool(fired) != bool(lane.batches)


# --- base64


@pytest.mark.parametrize("lost", [b"\0\r\n", b"\r\n"])
@pytest.mark.parametrize("image", [IMAGE, JPEG, encoded(coloured(16, 16), "WEBP")])
def test_an_image_that_curl_has_changed_is_refused_with_advice(image: bytes, lost: bytes) -> None:
    """Without line ends, as -d sends it; an unchanged image of that type is answered."""
    assert endpoint("images").answer(image, URLENCODED)[0].status == 200
    changed = image.translate(None, lost)
    if changed != image:
        status, error = endpoint("images").refusal(changed, URLENCODED)
        advice = "send the image with --data-binary @photo.jpg, or with -F data=@photo.jpg"
        assert (status, error[-len(advice) :]) == (400, advice)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_the_first_characters_show_base64_of_each_format(kind: str) -> None:
    """In either alphabet, and in lines; bytes that are no text are passed to the decoder."""
    image = encoded(coloured(16, 16), kind)
    for text in (b64encode(image), urlsafe_b64encode(image), b64encode(image)[:40] + b"\n=="):
        assert begins_image(text)
    assert image_file(b64encode(image)) == image
    assert not begins_image(b"hello world")
    assert image_file(b"\0\1\2") == b"\0\1\2"
    with pytest.raises(NotAnImage):
        image_file(b'"aGVsbG8gd29ybGQ="')
    with pytest.raises(BadImage):
        image_file(b'"a"')


# --- time

#: A request that is read on a decode thread.
LONG = ONE.ljust(MAX_BYTES_READ_AT_ONCE + 1)


def test_a_deadline_holds_for_json() -> None:
    """From the head on, in the queue for a decode thread and in that for a lane."""
    fixture = EndpointFixture()
    headers = {**JSON, "x-request-timeout-ms": "2000"}
    fixture.posted(ONE)
    waiting, unread = (
        outcomes(fixture.api.predict(http_request(body, headers=headers))) for body in (ONE, LONG)
    )
    fixture.clock.advance(2)
    assert the_response(waiting).status == 504
    fixture.clock.advance(1)
    fixture.decode()
    assert the_response(unread).status == 504
    assert len(fixture.lane.batches) == 1


def test_a_cancelled_request_leaves_its_queue() -> None:
    """Before decoding, or before its run."""
    fixture = EndpointFixture()
    fixture.posted(ONE)
    answers = [fixture.api.predict(http_request(body, headers=JSON)) for body in (ONE, LONG)]
    fired = [outcomes(answer) for answer in answers]
    for answer in answers:
        answer.cancel()
    assert [kinds(each) for each in fired] == [[CancelledError]] * 2
    fixture.decode()
    fixture.lane.give(scores([0, 0]))
    assert len(fixture.lane.batches) == 1


def test_a_failed_run_is_an_error_of_the_server() -> None:
    """To be logged with the answer, which has its timing."""
    fixture = EndpointFixture()
    fired = fixture.posted(ONE)
    fixture.lane.fail(ValueError("bad op"))
    answer = the_response(fired)
    assert answer.status == 500
    assert [type(fault.value) for fault in answer.faults] == [RunFailed]
    assert answer.timing is not None
    assert [run.rows for run in answer.timing.trace.runs] == [1]
