"""
The settings of HTTP requests and connections: a part of the table in server/settings/table.py.

Pure, as the table is.
"""

# ruff: noqa: RUF009 - `setting` returns a dataclass field, not a shared default

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal, TypeAlias

from server.settings import groups
from server.settings.kinds import Choice, Number, OrWord, Size, WholeNumber
from server.settings.option import setting
from server.settings.place_kinds import ReadableFile

FrontEnd: TypeAlias = Literal["express", "klein"]
FRONT_ENDS: Choice[FrontEnd] = Choice(("express", "klein"))


@dataclass(frozen=True, slots=True)
class HTTPSettings:
    """
    The settings of HTTP requests and connections.

    With several workers, each has these limits for itself.
    """

    tls_cert: Path | None = setting(
        ReadableFile(),
        groups.LISTENING,
        "The certificate for TLS in PEM, followed by those that lead to its root; the addresses of "
        "TCP then speak TLS. It is read again after SIGHUP, and so is its key.",
        unset="none, plain HTTP",
        needs=("tls_key",),
    )
    tls_key: Path | None = setting(
        ReadableFile(),
        groups.LISTENING,
        "The private key of the certificate, in PEM.",
        unset="none",
        needs=("tls_cert",),
    )
    front_end: FrontEnd = setting(
        FRONT_ENDS,
        groups.HTTP,
        "What answers requests: express calls the endpoints at once; klein lets Klein find and "
        "call them, and is slower. The answers are the same.",
        default="express",
    )
    max_request_line_bytes: int = setting(
        Size(),
        groups.HTTP,
        "The longest first line of a request, in bytes; a longer one is answered with 414.",
        default=16 * 2**10,
    )
    max_header_bytes: int = setting(
        Size(),
        groups.HTTP,
        "The most bytes of the header fields of a request; with more, the answer is 431.",
        default=16 * 2**10,
    )
    max_header_fields: int = setting(
        WholeNumber("N"),
        groups.HTTP,
        "The most header fields of a request; with more, the answer is 431.",
        default=500,
    )
    max_body_bytes: int = setting(
        Size(),
        groups.HTTP,
        "The largest request body, in bytes.",
        default=64 * 2**20,
    )
    header_timeout: float = setting(
        Number("SECONDS", above=0),
        groups.HTTP,
        "How long the head of a request may take to arrive from its first byte, and how long a "
        "new connection may send nothing, in seconds.",
        default=20.0,
    )
    client_timeout: float = setting(
        Number("SECONDS", above=0),
        groups.HTTP,
        "How long a client may take to send its request from its first byte, or to read a part "
        "of its answer, in seconds.",
        default=60.0,
    )
    keep_alive_timeout: float = setting(
        Number("SECONDS", above=0),
        groups.HTTP,
        "How long a connection stays open between two requests, in seconds; it should be longer "
        "than that of a load balancer, which is often 60.",
        default=75.0,
    )
    max_connections: int | None = setting(
        OrWord("auto", None, WholeNumber("N")),
        groups.HTTP,
        "The most open connections; a further one is answered with 503. auto takes what the "
        "limit of file descriptors (ulimit -n) leaves.",
        default=None,
    )
    max_requests_in_flight: int = setting(
        WholeNumber("N"),
        groups.HTTP,
        "The most requests that are received or answered at once; a further one is answered with "
        "503, unless it is a GET, HEAD or OPTIONS.",
        default=10_000,
    )
    max_connection_requests: float = setting(
        OrWord("none", inf, WholeNumber("N")),
        groups.HTTP,
        "The most requests of one connection; the last answer closes it. With none there is no "
        "limit.",
        default=100_000,
    )
    max_connection_age: float = setting(
        OrWord("none", inf, Number("SECONDS", above=0)),
        groups.HTTP,
        "The age, in seconds, from which a connection closes with its next answer, so that load "
        "balancers spread connections anew; up to a tenth less, by chance. With none there is no "
        "limit.",
        default=3600.0,
    )
