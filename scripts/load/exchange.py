"""
One request and its outcome, passed from the load driver to the connection pool and the record.

Has `__slots__`: a load creates one exchange for each request, and the cost of that limits the rate.
Times are seconds of the monotonic clock.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Exchange:
    """A request that is due, in flight or finished."""

    __slots__ = (
        "detail",
        "ended",
        "finish",
        "intended",
        "request",
        "retried",
        "status",
        "submitted",
        "timing",
    )

    def __init__(
        self,
        request: bytes,
        intended: float,
        submitted: float,
        finish: "Callable[[Exchange], object]",
    ) -> None:
        """
        *finish* is called with the exchange when its outcome is known.

        It is called at most once, and not if the pool is closed before.  `ended`, and `status` or
        `detail`, are set before the call.
        """
        self.request = request
        self.intended = intended  #: when the request was due
        self.submitted = submitted  #: when it was passed to the pool
        self.finish = finish
        self.retried = False  #: whether it was sent a second time
        self.ended = 0.0  #: when the last byte of the answer was read, or the failure was noticed
        self.status = 0  #: the HTTP status; 0 without an answer
        self.timing = b""  #: the Server-Timing header of the answer
        self.detail = ""  #: the body of an unsuccessful answer, or why there was no answer


class Sender(Protocol):
    """Sends exchanges: the connection pool, or a fake in tests."""

    def send(self, exchange: Exchange) -> None:
        """
        Send *exchange* when a connection is free, and call its `finish` when its outcome is known.

        `finish` is called at most once, and not if the sender is closed before.
        """
