"""
One request and what came of it, passed from who sends it to who records it.

Plain slots: there is one for every request of a load, and building it is a part of what limits
the rate.  Times are seconds of the monotonic clock.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Exchange:
    """A request that is due, is on its way, or has been answered."""

    __slots__ = (
        "asked",
        "detail",
        "ended",
        "finish",
        "intended",
        "request",
        "retried",
        "status",
        "timing",
    )

    def __init__(
        self, request: bytes, intended: float, asked: float, finish: "Callable[[Exchange], object]"
    ) -> None:
        """*finish* is called exactly once, when *ended* and *status* or *detail* are set."""
        self.request = request
        self.intended = intended  #: when it was due
        self.asked = asked  #: when it was handed over to be sent
        self.finish = finish
        self.retried = False  #: whether it was sent once more
        self.ended = 0.0  #: when the last byte of the answer was read
        self.status = 0  #: of HTTP; 0 where there was no answer
        self.timing = b""  #: the answer's header Server-Timing
        self.detail = ""  #: the body of an answer that is no success, or why there was no answer


class Sender(Protocol):
    """Where exchanges are handed over to be sent."""

    def send(self, exchange: Exchange) -> None:
        """Send it as soon as there is a connection; it finishes later, exactly once."""
