"""
Decode a chunked body, as RFC 9112 defines it: strictly, since a lenient reader can be deceived.

Sizes have hexadecimal digits alone, lines end with CR and LF; extensions and trailer fields are
dropped.  Pure; may import neither twisted.web nor Klein.
"""

import re
from collections.abc import Iterator
from typing import NoReturn

from server.http.error_statuses import HTTPError

#: Longest line with the size of a chunk and its extensions, in bytes.
MAX_SIZE_LINE_BYTES = 1024

#: The most bytes of trailer fields.
MAX_TRAILER_BYTES = 16_384

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#-'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*")


class ChunkedBody:
    """A chunked body that is being received."""

    def __init__(self) -> None:
        #: What follows the body, once it is complete; None before.
        self.rest: bytes | None = None
        self._line = b""  # the beginning of a line whose end has not been received
        self._missing = 0  # bytes of the present chunk that have not been received
        self._read_line = self._size
        self._trailer_bytes = 0
        self._is_complete = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the parts of the body in *data*, received bytes; raises an `HTTPError` 400."""
        start = 0
        while self.rest is None and start < len(data):
            if self._missing:
                part = data[start : start + self._missing]
                start += len(part)
                self._missing -= len(part)
                yield part
                continue
            end = data.find(b"\n", start)
            line = self._line + data[start : end if end >= 0 else len(data)]
            if len(line) > MAX_SIZE_LINE_BYTES:
                _malformed("a line between chunks is too long")
            if end < 0:
                self._line = line
                return
            self._line, start = b"", end + 1
            if not line.endswith(b"\r"):
                _malformed("a line ends without a carriage return")
            self._read_line(line[:-1])
            if self._is_complete:
                self.rest = data[start:]

    def _size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            _malformed("the size of a chunk is no hexadecimal number")
        self._missing = int(match[1], 16)
        self._read_line = self._chunk_end if self._missing else self._trailer

    def _chunk_end(self, line: bytes) -> None:
        if line:
            _malformed("a chunk is longer than its size")
        self._read_line = self._size

    def _trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if not line:
            self._is_complete = True
        elif self._trailer_bytes > MAX_TRAILER_BYTES:
            raise HTTPError(431, f"the trailer fields are over {MAX_TRAILER_BYTES} bytes")
        elif not _TRAILER.fullmatch(line):
            _malformed("a trailer field is no header field")


def _malformed(reason: str) -> NoReturn:
    raise HTTPError(400, f"the body of this request is not chunked as in HTTP/1.1: {reason}")
