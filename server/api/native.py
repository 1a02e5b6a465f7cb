"""
The native dialect: `POST /` with a picture, answered by `[["label", score], ...]`, or with JSON.

A picture is a multipart form's field ``data`` (or ``image`` or ``file``), or the bare body.  JSON
is ``{"inputs": {"name": value, ...}}``, answered by ``{"outputs": {"name": value, ...}}``; so
are pictures where there are no labels.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from twisted.internet.defer import Deferred

from model.picture_input import guarded
from model.signature import Feed, FeedError
from server import json_tensors
from server.admission import Terms
from server.api.dialect import Dialect
from server.errors import HTTPError
from server.http.messages import HTTPRequest
from server.inference import Inference, Outputs, Prediction, ServedModel, Timing
from server.samples import sample_feed, sample_request

#: The form fields that may hold the picture.
FIELDS = ("data", "image", "file")

#: The parts a form may have; a picture needs one.
MAX_PARTS = 16


def _infer(
    inference: Inference, request: HTTPRequest, terms: Terms, timing: Timing
) -> Deferred[Any]:
    """
    Return the `Prediction` or the `Outputs` of what *request* holds.

    Raises an `HTTPError` where that can be told at once.
    """
    model = inference.model
    check_body(request)
    if is_json(request):
        top_of(request.query, 1, 0)
        prepare = partial(tensor_feed, model, request.body)
        return inference.run(prepare, terms, timing=timing)
    if model.pictures is None:
        raise HTTPError(415, f"this model takes tensors, no pictures; post JSON{_such_as(model)}")
    k = top_of(request.query, model.top, len(model.labels))
    data = picture_of(request)
    if model.labels:
        return inference.classify(data, k, terms, timing=timing)
    return inference.run(partial(model.pictures.feed, data), terms, timing=timing)


def _such_as(model: ServedModel) -> str:
    """Return an example of a request, if there is one, as it ends a sentence."""
    sample = sample_feed(model.signatures[model.default], None, model.samples)
    return "" if isinstance(sample, str) else f" such as {sample_request(sample, model.default)}"


def check_body(request: HTTPRequest) -> None:
    """Raise a 415 for a body that is encoded, and a 400 where there is none."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise HTTPError(415, f"Content-Encoding {encoding!r} is not read here; send the bare bytes")
    if not request.body:
        raise HTTPError(
            400,
            "the body is empty: post a picture, as form field 'data' or as the bare body, or JSON",
        )


def is_json(request: HTTPRequest) -> bool:
    """Whether the body is JSON, whatever ``curl -d`` calls it; no picture begins with a brace."""
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    return kind == "application/json" or request.body[:64].lstrip()[:1] == b"{"


def tensor_feed(model: ServedModel, body: bytes) -> Feed:
    """Return the feed that the JSON *body* asks for; raises `FeedError`.  On a decode thread."""
    name, inputs = json_tensors.parse_request(body)
    signature = model.signatures.get(model.default if name is None else name)
    if signature is None:
        known = ", ".join(model.signatures)
        raise FeedError(f"unknown signature {str(name)[:80]!r}: the model has {known}")
    feed = signature.feed(json_tensors.arrays_of(signature, inputs))
    pictures = model.pictures
    if pictures is not None and signature == pictures.encoded:
        return pictures.feed_encoded(feed)
    return feed if model.max_pixels is None else guarded(feed, model.max_pixels)


def body_of(result: Prediction | Outputs) -> bytes:
    """Return *result* as JSON."""
    if isinstance(result, Outputs):
        return json_tensors.answer(result.signature.outputs, result.arrays)
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(result.classes, option=option)


def top_of(query: Mapping[str, tuple[str, ...]], default: int, classes: int) -> int:
    """Return how many labels to answer with; raises a 400 for a wrong or an unknown parameter."""
    unknown = sorted(set(query) - {"k"})
    if unknown:
        raise HTTPError(400, f"unknown query parameter {unknown[0]!r}: there is only 'k'")
    values = query.get("k", ())
    if not values:
        return min(default, classes)
    if not classes:
        raise HTTPError(400, "k: there are no labels to choose from")
    if len(values) > 1 or not values[0].isascii() or not values[0].isdigit():
        raise HTTPError(400, f"k: expected one number from 1 to {classes}, got {','.join(values)}")
    k = int(values[0]) if len(values[0]) < 10 else classes + 1
    if not 1 <= k <= classes:
        raise HTTPError(400, f"k: expected a number from 1 to {classes}, got {values[0]}")
    return k


def picture_of(request: HTTPRequest) -> bytes:
    """Return the encoded picture in *request*; raises a 400 or a 415 that says what is wrong."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == "multipart/form-data":
        return _form_picture(request.body, options.get("boundary", ""))
    if kind.startswith("text/"):
        raise HTTPError(415, f"{kind} is not read here; post a picture or JSON")
    return request.body


def _form_picture(body: bytes, boundary: str) -> bytes:
    """Return the bytes of the first field of the form that is called as a picture should be."""
    fields = _form_fields(body, boundary)
    pictures = [content for name, content in fields if name in FIELDS]
    if not pictures:
        wanted = ", ".join(repr(name) for name in FIELDS)
        names = ", ".join(repr(name) for name, _ in fields) or "none"
        raise HTTPError(400, f"the form has no field named one of {wanted}; its fields: {names}")
    if not pictures[0]:
        raise HTTPError(400, "the picture's field of the form is empty")
    return pictures[0]


def _form_fields(body: bytes, boundary: str) -> list[tuple[str, bytes]]:
    """Return the names and contents of the form's fields; raises a 400 for a broken form."""
    if not boundary:
        raise HTTPError(400, "the multipart form is broken: its Content-Type names no boundary")
    fields: list[tuple[str, list[bytes]]] = []
    try:
        with PushMultipartParser(
            boundary, content_length=len(body), max_segment_count=MAX_PARTS
        ) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    fields.append((event.name, []))
                elif event is not None:
                    fields[-1][1].append(bytes(event))
    except MultipartError as error:
        reason = next((arg for arg in error.args if isinstance(arg, str)), "unreadable")
        raise HTTPError(400, f"the multipart form is broken: {reason}") from error
    return [(name, b"".join(chunks)) for name, chunks in fields]


#: The dialect of `POST /`.
NATIVE = Dialect(_infer, body_of)
