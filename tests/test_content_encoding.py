"""Compressed bodies and answers: server/http/content_encoding.py."""

import gzip
import zlib
from collections.abc import Callable

import pytest

from model.signature import FeedError
from server.http.content_encoding import (
    MIN_COMPRESSED_BYTES,
    coding_of,
    compressed,
    decoded,
    only_coding,
    preferred_coding,
)
from server.http.error_statuses import HTTPError
from server.http.limits import BodyTooLarge
from server.http.messages import HTTPResponse

BODY = b"numbers " * 200
WRITERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "": bytes,
}
READERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "": bytes,
}


@pytest.mark.parametrize("coding", WRITERS)
def test_a_body_is_decoded_and_an_answer_compressed(coding: str) -> None:
    """By each coding, and without one; a limit of exactly the length is kept."""
    assert decoded(WRITERS[coding](BODY), coding, len(BODY)) == BODY
    answer = compressed(HTTPResponse(200, BODY, {"X-A": "b"}), coding)
    assert READERS[coding](answer.body) == BODY
    assert answer.headers == {"X-A": "b", **({"Content-Encoding": coding} if coding else {})}
    assert compressed(answer, "gzip") is answer or not coding


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("body", [BODY, b"", b"x", bytes(range(256))])
def test_deflate_may_lack_the_head_of_zlib(body: bytes, level: int) -> None:
    """As some clients send it, at any level; 0 stores the bytes as they are."""
    for form in (-15, 15):
        encoder = zlib.compressobj(level, zlib.DEFLATED, form)
        sent = encoder.compress(body) + encoder.flush()
        assert decoded(sent, "deflate", 10_000) == body


@pytest.mark.parametrize(
    ("accepted", "preferred", "only"),
    [
        ("", "", ""),
        ("gzip", "gzip", "gzip"),
        ("GZip", "gzip", "gzip"),
        ("x-gzip", "gzip", "gzip"),
        ("deflate", "deflate", "deflate"),
        ("gzip;q=0.5", "gzip", "gzip"),
        ("gzip;q=0", "", ""),
        ("gzip; q=0.000", "", ""),
        ("br", "", ""),
        ("identity", "", ""),
        ("*", "gzip", ""),
        ("gzip;q=0, *", "deflate", ""),
        ("*;q=0", "", ""),
        ("*;q=0, deflate", "deflate", ""),
        ("deflate, gzip", "gzip", ""),
        ("gzip, deflate, br, zstd", "gzip", ""),
        ("gzip;q=0.2, deflate;q=0.3", "deflate", ""),
        ("identity;q=1, gzip;q=0.5", "", ""),
        ("identity;q=0.5, gzip;q=0.5", "gzip", ""),
        ("identity;q=0, gzip;q=0.1", "gzip", ""),
        ("gzip;q=2", "", ""),
        ("gzip;q=much", "", ""),
        ("gzip;level=9;q=0", "", ""),
        (" , ,gzip , ", "gzip", ""),
    ],
)
def test_the_client_names_its_codings_by_weight(accepted: str, preferred: str, only: str) -> None:
    """RFC 9110, 12.5.3; numbers are compressed for those that name one coding."""
    assert (preferred_coding(accepted), only_coding(accepted)) == (preferred, only)


def test_a_short_answer_is_not_compressed() -> None:
    """It would not become shorter."""
    answer = HTTPResponse(200, bytes(MIN_COMPRESSED_BYTES - 1))
    assert compressed(answer, "gzip") is answer


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_that_decodes_to_too_many_bytes_is_refused(coding: str) -> None:
    """Without decoding all of it."""
    with pytest.raises(BodyTooLarge, match="more than 1599 bytes"):
        decoded(WRITERS[coding](BODY), coding, len(BODY) - 1)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sent: sent[1:], "is not in Content-Encoding"),
        (lambda sent: sent[:-4], "is cut short"),
        (lambda sent: sent + b"more", "bytes after its end"),
        (lambda sent: sent[:0], "is cut short"),
    ],
)
def test_a_broken_body_is_refused(
    coding: str, change: Callable[[bytes], bytes], message: str
) -> None:
    """With the reason."""
    with pytest.raises(FeedError, match=message):
        decoded(change(WRITERS[coding](BODY)), coding, 10_000)


@pytest.mark.parametrize(
    ("sent", "coding"),
    [
        (None, ""),
        ("identity", ""),
        ("", ""),
        ("GZIP", "gzip"),
        (" deflate ", "deflate"),
        ("x-gzip", "gzip"),
    ],
)
def test_the_coding_is_that_of_the_header(sent: str | None, coding: str) -> None:
    """In upper or lower case."""
    assert coding_of({} if sent is None else {"content-encoding": sent}) == coding


@pytest.mark.parametrize(
    "sent", ["br", "gzip, gzip", "identity, gzip", "gzip, identity", "x-x-gzip"]
)
def test_an_unknown_coding_is_refused_with_those_that_there_are(sent: str) -> None:
    """In the header that the specification names; several codings are not known, either."""
    with pytest.raises(HTTPError, match="is not supported") as raised:
        coding_of({"content-encoding": sent})
    assert (raised.value.status, raised.value.headers) == (
        415,
        {"Accept-Encoding": "gzip, deflate"},
    )
