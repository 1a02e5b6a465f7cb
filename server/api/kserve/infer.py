"""
The v2 protocol as a dialect: ``POST /v2/models/NAME[/versions/V]/infer``.

A body is JSON, or JSON followed by the bytes of tensors, or the bytes of one tensor or image.  This
module decides on the reactor thread where a body is read; server/api/kserve/feeds.py reads it.
"""

import re
from collections.abc import Mapping

from model.signature import STRING, Feed, FeedError
from server.api.dialect import Dialect
from server.api.json_text import read_json
from server.api.kserve.answers import JSON_LENGTH, answer_of, check_wishes
from server.api.kserve.envelope import Envelope, read_envelope
from server.api.kserve.errors import v2_error
from server.api.kserve.feeds import feed_of, raw_feed
from server.api.native import MAX_BYTES_READ_AT_ONCE
from server.call import Call, Outputs, RequestOptions
from server.http.messages import HTTPRequest, HTTPResponse
from server.served_model import ServedModel

_LENGTH = re.compile(r"[0-9]{1,15}")

#: What a raw binary request asks for: all outputs, in binary.
_RAW = Envelope(binary=True)


def _read(model: ServedModel, request: HTTPRequest, options: RequestOptions) -> Call[HTTPResponse]:
    json_length = _json_length(request.headers)
    inference = _Inference(model, request, options, json_length)
    # The numbers of tensors in binary are not read at all.
    read = len(request.body) if json_length is None or _reads_values(model) else json_length
    at_once = not model.reads_images and read <= MAX_BYTES_READ_AT_ONCE
    return Call(inference.prepare, inference.finish, options, at_once, inference.takes_long)


def _json_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of the JSON part of a body; None: all of it; 0: there is no JSON."""
    text = headers.get(JSON_LENGTH.lower())
    if text is None:
        return None
    if not _LENGTH.fullmatch(text):
        raise FeedError(f"{JSON_LENGTH}: expected a number of bytes, got {text[:40]!r}")
    return int(text)


def _reads_values(model: ServedModel) -> bool:
    """Whether *model* takes strings, or bools, which are checked."""
    kinds = {spec.dtype.kind for each in model.signatures.values() for spec in each.inputs}
    return not kinds.isdisjoint({STRING.kind, "b"})


class _Inference:
    """One request: what it asks for is known once `prepare` has read its body."""

    def __init__(
        self,
        model: ServedModel,
        request: HTTPRequest,
        options: RequestOptions,
        json_length: int | None,
    ) -> None:
        self._model = model
        self._body = request.body
        self._received = request.received
        self._options = options
        self._json_length = json_length
        self._envelope = _RAW

    def prepare(self) -> Feed:
        """Return the feed; see `Call.prepare`."""
        body, self._body = self._body, b""  # only the views of binary tensors need it from now on
        if self._json_length == 0:
            feed = raw_feed(self._model, body)
        else:
            length = len(body) if self._json_length is None else self._json_length
            if length > len(body):
                raise FeedError(f"{JSON_LENGTH} is {length}, but the body has {len(body)} bytes")
            json = body if length == len(body) else body[:length]
            self._envelope = read_envelope(read_json(json, tokens=True))
            self._envelope.apply(self._options, self._received)
            feed = feed_of(self._model, self._envelope, body, length)
        check_wishes(self._model, feed.signature, self._envelope)
        return feed

    def finish(self, outputs: Outputs) -> HTTPResponse:
        """Return the answer; see `Call.finish`."""
        return answer_of(self._model, self._envelope, outputs)

    def takes_long(self, outputs: Outputs) -> bool:
        """Whether `finish` takes long; see `Call.takes_long`."""
        if any(wish.classes for wish in self._envelope.outputs):
            return outputs.have_many_numbers()
        return outputs.are_large()


#: The dialect of the v2 protocol.
V2 = Dialect(_read, v2_error)
