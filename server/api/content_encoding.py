"""
Decode compressed bodies, and compress answers: the codings gzip and deflate.

Pure.  Work that grows with the length of a body runs on decode threads.
"""

import zlib
from collections.abc import Mapping
from dataclasses import replace

from model.signature import FeedError
from server.http.error_statuses import HTTPError
from server.http.limits import BodyTooLarge
from server.http.messages import HTTPResponse

#: The codings that are read and written, with the format that zlib names by a number.
_FORMATS = {"gzip": 31, "deflate": 15}

#: Answers with fewer bytes are not compressed.
MIN_COMPRESSED_BYTES = 1024

#: The fastest level: a client waits for the answer.
_LEVEL = 1


def coding_of(headers: Mapping[str, str]) -> str:
    """
    Return the Content-Encoding in *headers*: "gzip", "deflate", or "" for an unencoded body.

    Raises a 415 for any other coding.
    """
    coding = headers.get("content-encoding", "").strip().lower()
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
    decoder = zlib.decompressobj(_FORMATS[coding])
    try:
        content = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise FeedError(f"the body is not in Content-Encoding {coding}: {error}") from None
    if len(content) > limit:
        raise BodyTooLarge(f"the decoded body is more than {limit} bytes, which is the limit")
    if not decoder.eof or decoder.unused_data:
        raise FeedError(f"the body is cut short, or has bytes after its end in {coding}")
    return content


def compressed(answer: HTTPResponse, accepted: str) -> HTTPResponse:
    """
    Return *answer* in the coding that *accepted*, the client's Accept-Encoding, names.

    Only if it names one coding: most HTTP libraries send a list with every request, and to compress
    numbers costs more time than it saves on a local network.
    """
    coding = accepted.strip().lower()
    if coding not in _FORMATS or len(answer.body) < MIN_COMPRESSED_BYTES:
        return answer
    encoder = zlib.compressobj(_LEVEL, zlib.DEFLATED, _FORMATS[coding])
    body = encoder.compress(answer.body) + encoder.flush()
    return replace(answer, body=body, headers={**answer.headers, "Content-Encoding": coding})
