"""
Read the head of a request: a request line and header fields, as RFC 9112 defines them.

llhttp checks the grammar.  This module decides what llhttp leaves open, so that each request has
one meaning: the Host field, the transfer codings, the form of the target, the version.  Pure; may
import neither twisted.web nor Klein.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn
from urllib.parse import parse_qsl, unquote

import httptools

from server.http.error_statuses import HTTPError
from server.http.trace_context import TraceContext, trace_context

_REQUEST_LINE = re.compile(rb"([!#-'*+\-.^_`|~0-9A-Za-z]+) ([!\"$-~]+) (HTTP/[0-9]\.[0-9])\r\n")
_METHOD_AND_TARGET = re.compile(rb"(\S+) (\S+) [^\r\n]*\r\n")
_TOKEN = re.compile(rb"[!#-'*+\-.^_`|~0-9A-Za-z]+")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)
_HOST = re.compile(rb"(\[[0-9A-Za-z:.]+\]|[0-9A-Za-z\-._~!$&'()*+,;=%]*)(:[0-9]*)?")
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """The longest head that is read."""

    line: int = 16_384  #: bytes of the request line, without its end
    fields_bytes: int = 16_384  #: bytes of all header fields, with their ends
    fields: int = 500  #: the number of header fields


@dataclass(frozen=True)
class RequestHead:
    """The head of one request; equal heads of a connection may share it."""

    method: str
    target: str  #: as sent
    version: str  #: HTTP/1.0 or HTTP/1.1
    headers: Mapping[str, str]  #: see `server.http.messages.Head`
    fields: tuple[tuple[bytes, bytes], ...] = field(repr=False)  #: as sent, without blanks around
    #: Bytes of the body; 0 if there is none, None if it is chunked.
    length: int | None
    #: Whether the client keeps the connection.
    keeps_connection: bool
    #: Whether the client waits for a 100 before it sends the body.
    expects_continue: bool
    raw_path: bytes  #: as sent, without scheme, host and query
    path: str  #: the same, decoded
    raw_query: bytes  #: as sent

    @cached_property
    def trace(self) -> TraceContext | None:
        """The ids in the header traceparent; None if there is no valid one."""
        values = [value for name, value in self.fields if name.lower() == b"traceparent"]
        return trace_context(values or None)

    @cached_property
    def query(self) -> Mapping[str, tuple[str, ...]]:
        """Values by name, decoded, in the order of the target; raises a 400 if not UTF-8."""
        found: dict[str, tuple[str, ...]] = {}
        if not self.raw_query:
            return found
        try:
            pairs = parse_qsl(
                self.raw_query.decode("ascii"), keep_blank_values=True, errors="strict"
            )
        except UnicodeDecodeError as error:
            raise HTTPError(400, "the query is not UTF-8") from error
        for name, value in pairs:
            found[name] = (*found.get(name, ()), value)
        return found


class _Fields:
    """Receives the header fields from llhttp."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called with each field."""
        self.fields.append((name, value.rstrip(b" \t")))


def parse_head(data: bytes, limits: HeadLimits) -> RequestHead:
    """
    Return the head of a request in *data*, which ends with the empty line.

    Raises an `HTTPError`: 400, 417, 431, 501 or 505.
    """
    method, target, version = _request_line(data)
    fields = _header_fields(data, limits)
    headers: dict[str, str] = {}
    for name, value in fields:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    _check_host(fields, version)
    expect = headers.get("expect", "100-continue").lower()
    if expect != "100-continue":
        raise HTTPError(417, f"the expectation {expect!r} is not 100-continue")
    path, _, query = _origin_form(method, target).partition(b"?")
    return RequestHead(
        method=method.decode("ascii"),
        target=target.decode("ascii"),
        version=version.decode("ascii"),
        headers=headers,
        fields=tuple(fields),
        length=_body_length(headers, version),
        keeps_connection=_keeps_connection(headers, version),
        expects_continue="expect" in headers and version == b"HTTP/1.1",
        raw_path=path,
        path=_decoded(path),
        raw_query=query,
    )


def _malformed(reason: str) -> NoReturn:
    raise HTTPError(400, f"the head of this request is not HTTP/1.1: {reason}")


def _request_line(data: bytes) -> tuple[bytes, bytes, bytes]:
    match = _REQUEST_LINE.match(data)
    if match is None:
        _malformed("its first line is no request line")
    method, target, version = match.groups()
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise HTTPError(505, f"the version {version.decode()} is not HTTP/1.1")
    return method, target, version


def _header_fields(data: bytes, limits: HeadLimits) -> list[tuple[bytes, bytes]]:
    found = _Fields()
    try:
        httptools.HttpRequestParser(found).feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # to use another protocol is an offer, which is not accepted
    except httptools.HttpParserInvalidMethodError as error:
        method = data.partition(b" ")[0].decode("ascii")
        raise HTTPError(501, f"the method {method} is not known") from error
    except httptools.HttpParserError as error:
        values = [value for name, value in found.fields if name.lower() == _CODING]
        if values:
            _check_codings(b", ".join(values))
        _malformed(str(error).strip().lower())
    if len(found.fields) > limits.fields:
        _too_many_fields(limits)
    return found.fields


_CODING = b"transfer-encoding"


def _check_codings(value: bytes) -> None:
    """Accept the coding chunked alone; without it at the end, the body has no known end."""
    if value.rpartition(b",")[2].strip(b" \t").lower() != b"chunked":
        _malformed("its last transfer coding is not chunked")
    if value.lower() != b"chunked":
        raise HTTPError(501, f"the transfer coding {value.decode('latin-1')!r} is not chunked")


def _check_host(fields: list[tuple[bytes, bytes]], version: bytes) -> None:
    hosts = [value for name, value in fields if name.lower() == b"host"]
    if len(hosts) > 1 or (not hosts and version == b"HTTP/1.1"):
        _malformed(f"it has {len(hosts)} Host fields")
    if hosts and not _HOST.fullmatch(hosts[0]):
        _malformed("the value of its Host field is no host")


def _body_length(headers: Mapping[str, str], version: bytes) -> int | None:
    coding = headers.get("transfer-encoding")
    if coding is None:
        return int(headers.get("content-length", "0"))  # llhttp has checked it
    if version == b"HTTP/1.0":
        _malformed("its version has no transfer codings")
    _check_codings(coding.encode("latin-1"))
    return None


def _keeps_connection(headers: Mapping[str, str], version: bytes) -> bool:
    if "connection" not in headers:
        return version == b"HTTP/1.1"
    options = {option.strip().lower() for option in headers["connection"].split(",")}
    return "close" not in options and (version == b"HTTP/1.1" or "keep-alive" in options)


def _origin_form(method: bytes, target: bytes) -> bytes:
    """
    Return *target* without scheme and host, which clients send to proxies.

    CONNECT has a host and a port instead, and OPTIONS may have an asterisk.
    """
    if method == b"CONNECT":
        if not _is_authority(target, with_port=True):
            _malformed("its target is no host with a port")
        return target
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    absolute = _ABSOLUTE.match(target)
    if absolute is None or not _is_authority(absolute[1]):
        _malformed("its target is no path, and no URL of HTTP with a host")
    rest = target[absolute.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def _is_authority(text: bytes, *, with_port: bool = False) -> bool:
    """Whether *text* is a host that is not empty, and may have, or *with_port* has, a port."""
    found = _HOST.fullmatch(text)
    return found is not None and found[1] != b"" and (found[2] is not None or not with_port)


def _decoded(path: bytes) -> str:
    try:
        return unquote(path.decode("ascii"), errors="strict")
    except UnicodeDecodeError as error:
        raise HTTPError(400, "the path is not UTF-8") from error


def head_end(data: bytes, start: int, limits: HeadLimits) -> int:
    """
    Return where the head at the beginning of *data* ends; -1 if its end has not been received.

    The bytes before *start* have been checked by former calls.  Raises an `HTTPError` as soon as
    *data* is too long, or can become no head: 400, 414, 431 or 505.
    """
    end = data.find(b"\r\n\r\n", max(0, start - 3))
    line = data.find(b"\r\n", 0, limits.line + 2)
    if line < 0 and len(data) > limits.line + 1:
        raise HTTPError(414, f"the request line is over {limits.line} bytes")
    if line >= 0 and (end + 2 if end >= 0 else len(data) - 1) - line - 2 > limits.fields_bytes:
        raise HTTPError(431, f"the header fields are over {limits.fields_bytes} bytes")
    if end >= 0:
        return end + 4
    if _BARE_LINE_FEED.search(data, max(0, start - 1)):
        _malformed("a line ends without a carriage return")
    if line >= max(0, start - 1):  # received just now
        _request_line(data)
    elif start == 0 and not _TOKEN.match(data):
        _malformed("its first line is no request line")
    if data.count(b"\r\n") > limits.fields + 1:
        _too_many_fields(limits)
    return -1


def _too_many_fields(limits: HeadLimits) -> NoReturn:
    raise HTTPError(431, f"the head has more than {limits.fields} header fields")


def request_line_in(data: bytes) -> tuple[bytes, bytes] | None:
    """Return method and target in *data*, the beginning of a malformed head, if it has them."""
    match = _METHOD_AND_TARGET.match(data)
    return None if match is None else (match[1], match[2])


def origin_in(data: bytes) -> str | None:
    """Return the Origin field in *data*, the beginning of a malformed head, if it has one."""
    match = _ORIGIN.search(data)
    return None if match is None else match[1].decode("latin-1")
