"""
Encode the head of an answer.

Pure, except for the date.  May import neither twisted.web nor Klein.
"""

from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time  # noqa: TID251  # the date of an answer is the wall clock's

from server.http.messages import HTTPResponse

#: Value of the Server header.
SERVER_NAME = "TensorFerry"

_REASONS = {
    **{it.value: it.phrase.encode("ascii") for it in HTTPStatus},
    # As twisted.web writes them.
    408: b"Request Time-out",
    504: b"Gateway Time-out",
}


def reason_phrase(status: int) -> bytes:
    """Return the reason phrase of *status*, for the status line."""
    return _REASONS.get(status, b"Unknown Status")


def encode_head(status: int, fields: Mapping[str, str]) -> bytes:
    """Return the head of an answer with *fields*; line ends in a value are replaced by spaces."""
    lines = [f"{name}: {value}\r\n".encode() for name, value in fields.items()]
    head = b"".join(lines)
    if len(head.splitlines()) != len(lines):
        head = b"".join(b"%b\r\n" % b" ".join(line.splitlines()) for line in lines)
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason_phrase(status), head)


def header_fields(answer: HTTPResponse, more: Mapping[str, str]) -> dict[str, str]:
    """Return the header fields of *answer* and *more*; fields of *answer* override *more*."""
    fields = {
        "Server": SERVER_NAME,
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        **more,
        **answer.headers,
    }
    if not answer.content_type:
        del fields["Content-Type"]
    if "Vary" in more and "Vary" in answer.headers:
        fields["Vary"] = f"{more['Vary']}, {answer.headers['Vary']}"
    if answer.status == HTTPStatus.NO_CONTENT:
        del fields["Content-Length"]  # HTTP forbids it for 204
        fields.pop("Content-Type", None)  # there is no body
    return fields


@lru_cache(maxsize=1)
def http_date(second: int) -> str:
    """Return the value of the Date header for the time *second*, in seconds since the epoch."""
    return formatdate(second, usegmt=True)


def current_http_date() -> str:
    """Return the value of the Date header for an answer that is written now."""
    return http_date(int(time()))
