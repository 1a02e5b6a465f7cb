"""
Requests that no server can answer with labels, and the errors it must answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.images import claims
from tests.integration.clients import Answer, form, post, send_until_answered
from tests.integration.photos import jpeg

MIB = 2**20
HUGE = 100 * 10**6  #: bytes


def huge_body() -> Iterator[bytes]:
    """Return a body over the limit, with its length declared."""
    yield f"POST / HTTP/1.1\r\nHost: ferry\r\nContent-Length: {HUGE}\r\n\r\n".encode()
    for _ in range(HUGE // 10**6):
        yield bytes(10**6)


def endless_body() -> Iterator[bytes]:
    """Return a body of the same size without a declared length."""
    yield b"POST / HTTP/1.1\r\nHost: ferry\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(HUGE // 10**6):
        yield b"%x\r\n" % 10**6 + bytes(10**6) + b"\r\n"
    yield b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Bad:
    """A request that cannot be answered with labels."""

    send: Callable[[int], Answer]  #: takes the port
    status: int
    reason: str  #: part of the message


def posted(body: bytes, headers: dict[str, str] | None = None) -> Callable[[int], Answer]:
    """Return a function that posts *body*."""
    return lambda port: post(port, body, headers=headers)


BAD = {
    "not an image": Bad(posted(b"%PDF-1.7 and so on"), 400, "is not a JPEG, PNG, GIF, BMP or WebP"),
    "empty": Bad(posted(*form(b"")), 400, "the image's field of the form is empty"),
    "no body": Bad(posted(b""), 400, "the body is empty: post an image"),
    "truncated": Bad(posted(jpeg("coffee.png")[:-1000]), 400, "the JPEG image is cut short"),
    "images in two fields": Bad(
        posted(*form(*[jpeg("coffee.png")] * 2, fields=("front", "back"))),
        400,
        "the form holds 2 images in several fields ('front', 'back'); send one image, or",
    ),
    "PNG bomb": Bad(
        posted(claims("PNG", 50_000, 50_000)),
        413,
        "50000 x 50000 is 2500000000 pixels, over the limit of 50000000",
    ),
    "100 MB": Bad(
        lambda port: send_until_answered(port, huge_body()),
        413,
        f"the body is {HUGE} bytes, the limit is {64 * MIB}",
    ),
    "100 MB, length not declared": Bad(
        lambda port: send_until_answered(port, endless_body()),
        413,
        f"the body is more than {64 * MIB} bytes",
    ),
}
