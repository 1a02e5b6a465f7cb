"""The head of an answer: server/http/head.py."""

import pytest

from server.http.head import encode_head, encode_response, http_date
from server.http.messages import HTTPResponse


def test_a_head_has_its_fields_in_order() -> None:
    """After the version and the status, before an empty line."""
    head = encode_head(404, {"Content-Length": "3", "X-É": "é"}, b"HTTP/1.0")
    assert head == "HTTP/1.0 404 Not Found\r\nContent-Length: 3\r\nX-É: é\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (429, b"HTTP/1.1 429 Too Many Requests"),
        (431, b"HTTP/1.1 431 Request Header Fields Too Large"),
        (799, b"HTTP/1.1 799 Unknown Status"),
    ],
)
def test_a_status_has_its_reason_phrase(status: int, line: bytes) -> None:
    """Also a status that twisted.web does not know."""
    assert encode_head(status, {}).splitlines()[0] == line


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("value", ["a{}Evil: 1", "{}Evil: 1", "a{}", "a{0}{0}"])
def test_no_value_adds_a_line(value: str, end: str) -> None:
    """Nor ends the head."""
    head = encode_head(200, {"First": value.format(end), "Last": value.format(end)})
    assert head.endswith(b"\r\n\r\n")
    lines = head[:-4].splitlines()
    assert [line.partition(b":")[0] for line in lines] == [b"HTTP/1.1 200 OK", b"First", b"Last"]


def test_a_date_is_written_as_http_has_it() -> None:
    """In GMT."""
    assert http_date(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_an_answer_is_encoded_as_a_whole() -> None:
    """Its own fields override the others."""
    answer = HTTPResponse(404, b"no\n", {"Retry-After": "1", "X-Two": "own"}, "text/plain")
    assert encode_response(answer, {"Date": "today", "X-Two": "other"}) == (
        b"HTTP/1.1 404 Not Found\r\nServer: TensorFerry\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 3\r\nDate: today\r\nX-Two: own\r\nRetry-After: 1\r\n\r\nno\n"
    )
