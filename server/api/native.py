"""
The native dialect: `POST /` with an image, answered by `[["label", score], ...]`, or with JSON.

An image is the bare body, the file of a multipart form (server/api/forms.py), or base64 of either.
Several images in one field of a form are answered by a list (server/api/image_list.py).  JSON is
``{"inputs": {"name": value, ...}}``, answered by ``{"outputs": {"name": value, ...}}``.  A model
without labels answers an image in the form of ``outputs``, too.  This module decides what a body
is, on the reactor thread; server/api/native_feeds.py reads it.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import orjson
from multipart import parse_options_header

from model.images.first_bytes import image_format
from server.api import json_tensors
from server.api.dialect import Dialect
from server.api.forms import boundary_in, check_is_no_form, images_in
from server.api.image_body import begins_image, is_image_in_json
from server.api.image_list import list_answer
from server.api.json_text import begins_object
from server.api.native_feeds import CURL_HINT, image_feed, tensor_feed, with_curl_hint
from server.api.samples import sample_feed, sample_request
from server.call import Call, Calls, Outputs, RequestOptions
from server.http.error_statuses import HTTPError
from server.http.messages import HTTPRequest, HTTPResponse
from server.served_model import ServedModel

#: The Content-Type that curl sends with --data-binary, and with -d, which changes an image.
URLENCODED = "application/x-www-form-urlencoded"

#: Longest body of JSON tensors, in bytes, that is read on the reactor thread.  Reading 2 KiB of
#: numbers or strings takes up to 0.16 ms, of `{"b64": ...}` objects up to 0.3 ms; the change to a
#: decode thread and back takes 0.25 ms of CPU time.
MAX_BYTES_READ_AT_ONCE = 2048


class ContentType(NamedTuple):
    """The Content-Type of a request."""

    text: str  #: as sent
    kind: str  #: the media type in lower case; empty without the header
    parameters: Mapping[str, str]  #: by their names in lower case


def content_type_of(request: HTTPRequest) -> ContentType:
    """Return the Content-Type of *request*."""
    text = request.headers.get("content-type", "")
    kind, parameters = parse_options_header(text)
    return ContentType(text, kind, parameters)


def _read(
    model: ServedModel, request: HTTPRequest, options: RequestOptions
) -> Call[HTTPResponse] | Calls[HTTPResponse]:
    """
    Return the call of *model* that *request* asks for, or a call for each of its images.

    Its result is the answer.  Raises `HTTPError` for an error in the head, in the form or in the
    first bytes of the body, and `QueueFull` for more images than the queue can ever hold.
    """
    check_body(request)
    body, content_type = request.body, content_type_of(request)
    json = is_json(body, content_type)
    if json and (model.image_input is None or not is_image_in_json(body)):
        label_count(request.query, 1, 0)
        # Not if it may hold images: even a small file may decode to very many pixels.
        at_once = len(body) <= MAX_BYTES_READ_AT_ONCE and not model.reads_images
        return Call(partial(tensor_feed, model, body), answer_outputs, options, at_once)
    if model.image_input is None:
        raise HTTPError(
            415, f"this model takes tensors, no images; post JSON{_example_clause(model)}"
        )
    k = label_count(request.query, model.top, len(model.labels))
    finish = partial(_answer_best, model, k) if model.labels else answer_outputs
    files = [body] if json else images_of(body, content_type)
    if len(files) > 1:
        model.check_images_fit(len(files))
        # None is a request after an answer: the connection sends them together.
        options = replace(options, source=None, calls=len(files))
        calls = [Call(partial(image_feed, model, file), finish, options) for file in files]
        return Calls(calls, list_answer)
    prepare = partial(image_feed, model, files[0])
    if _may_lack_bytes(body, content_type):
        prepare = partial(with_curl_hint, prepare)
    return Call(prepare, finish, options)


def _may_lack_bytes(body: bytes, content_type: ContentType) -> bool:
    """
    Whether ``curl -d`` may have removed line ends from *body*.

    True if *content_type* is that of ``curl -d`` and *body* has no line end.  It may have zero
    bytes, because old versions of curl do not remove them.
    """
    return content_type.kind == URLENCODED and not any(end in body for end in (b"\r", b"\n"))


def _example_clause(model: ServedModel) -> str:
    """Return " such as" and a sample request to *model*; an empty string if there is no sample."""
    sample = sample_feed(model.signatures[model.default], None, model.samples)
    return "" if isinstance(sample, str) else f" such as {sample_request(sample, model.default)}"


def check_body(request: HTTPRequest) -> None:
    """Raise a 400 for an empty body."""
    if not request.body:
        raise HTTPError(
            400,
            "the body is empty: post an image, as form field 'data' or as the bare body, or JSON",
        )


def is_json(body: bytes, content_type: ContentType) -> bool:
    """
    Whether *body* begins with a brace, as no image does, or *content_type* is JSON.

    False for a multipart form.
    The Content-Type is not required, because ``curl -d`` sends another one.
    """
    if begins_object(body[:64]):
        return True
    # A form with the Content-Type of JSON is not JSON: its error reports the wrong Content-Type.
    return content_type.kind == "application/json" and boundary_in(body) is None


def answer_outputs(outputs: Outputs) -> HTTPResponse:
    """Return the answer with *outputs*: JSON, an object with the arrays."""
    body = json_tensors.encode_outputs(outputs.signature.outputs, outputs.arrays)
    return HTTPResponse(200, body)


def encode_labels(labels: list[tuple[str, np.floating]]) -> bytes:
    """Return the body of an answer with *labels*: JSON, a list of ``[label, score]``."""
    return orjson.dumps(labels, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def _answer_best(model: ServedModel, k: int, outputs: Outputs) -> HTTPResponse:
    return HTTPResponse(200, encode_labels(model.finish_image(outputs, k)))


def label_count(query: Mapping[str, tuple[str, ...]], default: int, classes: int) -> int:
    """
    Return the count of labels in the answer: the parameter ``k`` of *query*.

    Without ``k``, return *default*, but at most *classes*, the count of labels of the model.
    Raises a 400 for an invalid ``k`` and for any other parameter.
    """
    unknown = sorted(set(query) - {"k"})
    if unknown:
        raise HTTPError(400, f"unknown query parameter {unknown[0]!r}: there is only 'k'")
    values = query.get("k", ())
    if not values:
        return min(default, classes)
    if not classes:
        raise HTTPError(400, "k: this model has no labels")
    if len(values) > 1 or not values[0].isascii() or not values[0].isdigit():
        raise HTTPError(400, f"k: expected one number from 1 to {classes}, got {','.join(values)}")
    k = int(values[0]) if len(values[0]) < 10 else classes + 1
    if not 1 <= k <= classes:
        raise HTTPError(400, f"k: expected a number from 1 to {classes}, got {values[0]}")
    return k


def images_of(body: bytes, content_type: ContentType) -> list[bytes]:
    """
    Return the image files in *body*; of an image that the client sent as base64, the text.

    Only a form may have several.  Other bytes may be returned, too: only the decoder refuses them.
    Raises a 400 for a wrong form and for an image that ``curl -d`` has changed, and a 415 for
    another type of body.
    """
    kind = content_type.kind
    if kind == "multipart/form-data":
        return images_in(body, content_type.parameters.get("boundary", ""))
    check_is_no_form(body, content_type.text)
    if kind.startswith("text/") and not (begins_image(body) or is_image_in_json(body)):
        raise HTTPError(415, f"{kind} is not supported; post an image or JSON")
    if kind == URLENCODED and image_format(body) is not None and b"\0" not in body:
        raise HTTPError(400, f"the body begins as an image and has no zero byte; {CURL_HINT}")
    return [body]


#: The dialect of `POST /`.
NATIVE = Dialect(_read)
