"""Compressed bodies and answers: server/api/content_encoding.py."""

import gzip
import zlib
from collections.abc import Callable

import pytest

from model.signature import FeedError
from server.api.content_encoding import MIN_COMPRESSED_BYTES, coding_of, compressed, decoded
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
    answer = compressed(HTTPResponse(200, BODY, {"X-A": "b"}), coding.upper())
    assert READERS[coding](answer.body) == BODY
    assert answer.headers == {"X-A": "b", **({"Content-Encoding": coding} if coding else {})}


@pytest.mark.parametrize("accepted", ["gzip, deflate", "br", "*", "identity"])
def test_an_answer_is_compressed_only_if_the_client_names_one_coding(accepted: str) -> None:
    """Libraries send a list with every request."""
    answer = HTTPResponse(200, BODY)
    assert compressed(answer, accepted) is answer


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
    [(None, ""), ("identity", ""), ("", ""), ("GZIP", "gzip"), (" deflate ", "deflate")],
)
def test_the_coding_is_that_of_the_header(sent: str | None, coding: str) -> None:
    """In upper or lower case."""
    assert coding_of({} if sent is None else {"content-encoding": sent}) == coding


def test_an_unknown_coding_is_refused_with_those_that_there_are() -> None:
    """In the header that the specification names."""
    with pytest.raises(HTTPError, match="'br' is not supported") as raised:
        coding_of({"content-encoding": "br"})
    assert (raised.value.status, raised.value.headers) == (
        415,
        {"Accept-Encoding": "gzip, deflate"},
    )
