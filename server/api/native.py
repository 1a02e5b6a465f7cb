"""
The native dialect: `POST /` with an image, answered by `[["label", score], ...]`, or with JSON.

An image is the bare body, the file of a multipart form (server/api/forms.py), or base64 of either
(server/api/image_body.py).  JSON is ``{"inputs": {"name": value, ...}}``, answered by ``{"outputs":
{"name": value, ...}}``.  A model without labels answers an image in the form of ``outputs``, too.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
from multipart import parse_options_header
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from batcher.errors import QueueFull
from model.images.errors import BadImage, TooManyPixels
from model.images.first_bytes import image_format
from model.images.input import ImageInput, check_encoded_images
from model.signature import STRING, Feed, FeedError, Signature
from server.api import json_tensors
from server.api.dialect import Dialect
from server.api.forms import boundary_in, check_is_no_form, image_in
from server.api.image_body import begins_image, from_text, image_file, is_image_in_json, texts_in
from server.api.samples import sample_feed, sample_request
from server.deadlines import RequestOptions
from server.http.error_statuses import HTTPError
from server.http.messages import HTTPRequest
from server.inference import Inference, Outputs, Prediction, ServedModel, Timing

#: The Content-Type that curl sends with --data-binary, and with -d, which changes an image.
URLENCODED = "application/x-www-form-urlencoded"

_CURL_HINT = (
    "curl -d drops line ends and zero bytes: send the image with --data-binary @photo.jpg, "
    "or with -F data=@photo.jpg"
)


def _infer(
    inference: Inference, request: HTTPRequest, options: RequestOptions, timing: Timing
) -> Deferred[Any]:
    """
    Return a Deferred of a `Prediction` for an image if the model has labels, else of `Outputs`.

    Raises `HTTPError` for an error in the head or in the first bytes of the body.
    """
    model = inference.model
    check_body(request)
    json = is_json(request)
    if json and (model.image_input is None or not is_image_in_json(request.body)):
        label_count(request.query, 1, 0)
        prepare = partial(tensor_feed, model, request.body)
        return inference.run(prepare, options, timing=timing)
    if model.image_input is None:
        raise HTTPError(
            415, f"this model takes tensors, no images; post JSON{_example_clause(model)}"
        )
    k = label_count(request.query, model.top, len(model.labels))
    data = request.body if json else image_of(request)
    answer: Deferred[Any]
    if model.labels:
        answer = inference.classify(data, k, options, timing=timing, read=image_file)
    else:
        answer = inference.run(
            partial(_image_feed, model.image_input, data), options, timing=timing
        )
    return answer.addErrback(_add_curl_hint) if _may_lack_bytes(request) else answer


def _may_lack_bytes(request: HTTPRequest) -> bool:
    """
    Whether ``curl -d`` may have removed line ends from the body.

    True if the Content-Type is that of ``curl -d`` and the body has no line end.  The body may have
    zero bytes, because old versions of curl do not remove them.
    """
    ends = (b"\r", b"\n")
    return _media_type(request) == URLENCODED and not any(each in request.body for each in ends)


def _image_feed(image_input: ImageInput, data: bytes) -> Feed:
    """
    Return the feed of the image in *data*, which is an image file or holds one as base64.

    Called on a decode thread.  Raises `BadImage` if *data* has no image that can be decoded.
    """
    return image_input.feed(image_file(data))


def _add_curl_hint(failure: Failure) -> Failure:
    """
    If *failure* is a `BadImage`, raise it again with advice for users of ``curl -d`` added.

    Any other *failure*, and one with a `TooManyPixels`, is returned unchanged.
    """
    if failure.check(BadImage) and not failure.check(TooManyPixels):
        raise BadImage(f"{failure.value}; {_CURL_HINT}")
    return failure


def _example_clause(model: ServedModel) -> str:
    """Return " such as" and a sample request to *model*; an empty string if there is no sample."""
    sample = sample_feed(model.signatures[model.default], None, model.samples)
    return "" if isinstance(sample, str) else f" such as {sample_request(sample, model.default)}"


def check_body(request: HTTPRequest) -> None:
    """Raise a 415 for a body with a Content-Encoding, and a 400 for an empty body."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise HTTPError(
            415, f"Content-Encoding {encoding!r} is not supported; send the unencoded bytes"
        )
    if not request.body:
        raise HTTPError(
            400,
            "the body is empty: post an image, as form field 'data' or as the bare body, or JSON",
        )


def is_json(request: HTTPRequest) -> bool:
    """
    Whether the body begins with a brace, as no image does, or its Content-Type is JSON.

    False for a multipart form.
    The Content-Type is not required, because ``curl -d`` sends another one.
    """
    head = request.body[:64]
    if json_tensors.begins_object(head):
        return True
    # A form with the Content-Type of JSON is not JSON: its error reports the wrong Content-Type.
    return _media_type(request) == "application/json" and boundary_in(request.body) is None


def tensor_feed(model: ServedModel, body: bytes) -> Feed:
    """
    Return the feed in *body*, a JSON request to *model*; called on a decode thread.

    Raises `FeedError` if the body is no valid request to *model*, `BadImage` if an image in it
    cannot be decoded, and `QueueFull` for more images than the queue can ever hold.
    """
    name, inputs = json_tensors.parse_request(body)
    signature = model.signatures.get(model.default if name is None else name)
    if signature is None:
        known = ", ".join(model.signatures)
        raise FeedError(f"unknown signature {str(name)[:80]!r}: the model has {known}")
    image_input = model.image_input
    if image_input is not None and _takes_pixels_of(signature, image_input):
        texts = texts_in(inputs, signature.inputs[0].name)
        if texts:
            _check_rows_fit(model, len(texts))
            return image_input.feed_all(map(from_text, texts))
    feed = signature.feed(json_tensors.arrays_of(signature, inputs))
    if image_input is not None and signature == image_input.encoded:
        _check_rows_fit(model, feed.rows)
        return image_input.feed_encoded(feed)
    return feed if model.max_pixels is None else check_encoded_images(feed, model.max_pixels)


def _check_rows_fit(model: ServedModel, rows: int) -> None:
    """
    Raise `QueueFull` if *rows* images are more than the queue of *model* can ever hold.

    Called before decoding, since pixels take far more memory than files.
    """
    limit = model.default_queue.max_queued_rows
    if rows > limit:
        raise QueueFull(rows, 0, limit)


def _takes_pixels_of(signature: Signature, image_input: ImageInput) -> bool:
    """
    Whether *signature* can be fed with the pixels that *image_input* decodes.

    That is: it has one input, whose dtype is not strings, and its outputs are equal to
    those of ``image_input.signature``.
    """
    return (
        len(signature.inputs) == 1
        and signature.inputs[0].dtype != STRING
        and signature.outputs == image_input.signature.outputs
    )


def encode_result(result: Prediction | Outputs) -> bytes:
    """
    Return the body of the answer, in JSON.

    A `Prediction` becomes a list of ``[label, score]``, `Outputs` an object with the arrays.
    """
    if isinstance(result, Outputs):
        return json_tensors.encode_outputs(result.signature.outputs, result.arrays)
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(result.classes, option=option)


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


def image_of(request: HTTPRequest) -> bytes:
    """
    Return the image file in *request*; if the client sent base64, return that text, not decoded.

    Other bytes may be returned, too: only the decoder refuses them.  Raises a 400 for a
    wrong form and for an image that ``curl -d`` has changed, and a 415 for another type of body.
    """
    content_type, body = request.headers.get("content-type", ""), request.body
    kind, options = parse_options_header(content_type)
    if kind == "multipart/form-data":
        return image_in(body, options.get("boundary", ""))
    check_is_no_form(body, content_type)
    if kind.startswith("text/") and not (begins_image(body) or is_image_in_json(body)):
        raise HTTPError(415, f"{kind} is not supported; post an image or JSON")
    if kind == URLENCODED and image_format(body) is not None and b"\0" not in body:
        raise HTTPError(400, f"the body begins as an image and has no zero byte; {_CURL_HINT}")
    return body


def _media_type(request: HTTPRequest) -> str:
    return str(parse_options_header(request.headers.get("content-type", ""))[0])


#: The dialect of `POST /`.
NATIVE = Dialect(_infer, encode_result)
