"""
Decode compressed bodies, and compress answers: the codings gzip and deflate.

Pure.  Work that grows with the length of a body runs on decode threads.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import replace

from model.signature import FeedError
from server.http.error_statuses import HTTPError
from server.http.limits import BodyTooLarge
from server.http.messages import HTTPResponse

#: The codings that are read and written, the preferred one first, with the format that zlib names
#: by a number.
_FORMATS = {"gzip": 31, "deflate": 15}

#: Deflate without the head and the checksum of zlib, as some clients send it.
_RAW_DEFLATE = -15

#: Answers with fewer bytes are not compressed.
MIN_COMPRESSED_BYTES = 1024

#: The fastest level: a client waits for the answer.
_LEVEL = 1

_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def coding_of(headers: Mapping[str, str]) -> str:
    """
    Return the Content-Encoding in *headers*: "gzip", "deflate", or "" for an unencoded body.

    Raises a 415 for any other coding, and for several.
    """
    coding = headers.get("content-encoding", "").strip().lower().removeprefix("x-")
    if coding in {"", "identity"}:
        return ""
    if coding not in _FORMATS:
        raise HTTPError(
            415,
            f"Content-Encoding {coding[:40]!r} is not supported; send gzip, deflate or no coding",
            {"Accept-Encoding": ", ".join(_FORMATS)},
        )
    return coding


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """
    Return the bytes that *body* holds in *coding*, one that `coding_of` returns.

    Raises `BodyTooLarge` for more than *limit* bytes, and `FeedError` if *body* is not in *coding*.
    """
    if not coding:
        return body
    decoder = zlib.decompressobj(_format_of(body, coding))
    try:
        content = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise FeedError(f"the body is not in Content-Encoding {coding}: {error}") from None
    if len(content) > limit:
        del content  # the traceback of the error would keep it
        raise BodyTooLarge(f"the decoded body is more than {limit} bytes, which is the limit")
    if not decoder.eof or decoder.unused_data:
        del content
        raise FeedError(f"the body is cut short, or has bytes after its end in {coding}")
    return content


def _format_of(body: bytes, coding: str) -> int:
    """Return the format of *body* in *coding*; deflate has the head of zlib, or none."""
    if coding == "deflate" and body and body[0] & 0x0F != zlib.DEFLATED:
        return _RAW_DEFLATE  # no raw deflate begins as zlib does: the bits would be its padding
    return _FORMATS[coding]


def preferred_coding(accepted: str) -> str:
    """
    Return the coding that *accepted*, the client's Accept-Encoding, prefers; "" for none.

    Of equal ones gzip.  As in RFC 9110, 12.5.3: a weight of 0 refuses a coding, and the star stands
    for each that is not named.
    """
    weights = _weights(accepted)
    others = weights.get("*", 0.0)
    coding = max(_FORMATS, key=lambda it: weights.get(it, others))
    weight = weights.get(coding, others)
    return coding if weight > 0 and weight >= weights.get("identity", 0.0) else ""


def _weights(accepted: str) -> Mapping[str, float]:
    """Return the weight of each coding in *accepted*; one that is malformed has the weight 0."""
    weights = {}
    for part in accepted.lower().split(","):
        name, *parameters = (it.strip() for it in part.split(";"))
        values = [it[2:] for it in parameters if it.startswith("q=")]
        value = values[0] if values else "1"
        weights[name.removeprefix("x-")] = float(value) if _WEIGHT.fullmatch(value) else 0.0
    return weights


def only_coding(accepted: str) -> str:
    """
    Return the coding that *accepted*, the client's Accept-Encoding, names alone; "" for none.

    So a client asks for compressed numbers: most HTTP libraries send a list with every request, and
    to compress numbers costs more time than it saves on a local network.
    """
    return "" if "," in accepted or "*" in accepted else preferred_coding(accepted)


def compressed(answer: HTTPResponse, coding: str) -> HTTPResponse:
    """Return *answer* in *coding*, one of the codings or "", unless it is short or has a coding."""
    if not coding or not may_compress(answer):
        return answer
    encoder = zlib.compressobj(_LEVEL, zlib.DEFLATED, _FORMATS[coding])
    body = encoder.compress(answer.body) + encoder.flush()
    return replace(answer, body=body, headers={**answer.headers, "Content-Encoding": coding})


def may_compress(answer: HTTPResponse) -> bool:
    """Whether *answer* is long enough to be compressed, and is not."""
    return len(answer.body) >= MIN_COMPRESSED_BYTES and "Content-Encoding" not in answer.headers
