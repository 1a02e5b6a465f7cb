"""
Write the head of an answer.

Pure.
"""

from collections.abc import Mapping
from functools import lru_cache

from twisted.web.http import RESPONSES, datetimeToString


def head_of(status: int, fields: Mapping[str, str], version: bytes = b"HTTP/1.1") -> bytes:
    """Return the head of an answer with *fields*; no value can add a line of its own."""
    reason = RESPONSES.get(status, b"Unknown Status")
    lines = [f"{name}: {value}\r\n".encode() for name, value in fields.items()]
    head = b"".join(lines)
    if len(head.splitlines()) != len(lines):
        head = b"".join(b"%b\r\n" % b" ".join(line.splitlines()) for line in lines)
    return b"%b %d %b\r\n%b\r\n" % (version, status, reason, head)


@lru_cache(maxsize=1)
def date_of(second: int) -> str:
    """Return the date of an answer that is given in this *second* of the epoch."""
    written: bytes = datetimeToString(second)
    return written.decode()
