"""
Count the requests for inference of one model: how many were received, and how each has ended.

The counts outlive the versions of the model.  Each request is a `CountedRequest`, which ends once:
so the count of received requests is at all times the count of those in progress and of those that
have ended.  Pure; used on the reactor thread.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

#: How a request ended.  ``answered``: with a result.  ``refused``: nothing was wrong with it, but
#: the server did not accept it.  ``expired``: its deadline passed.  ``cancelled``: the client hung
#: up.  ``failed``: with any other error.
Outcome: TypeAlias = Literal["answered", "refused", "cancelled", "expired", "failed"]

#: An outcome and its cause: why it was refused, the stage in which it expired or was cancelled, or
#: the kind of its error; "" for an answer.
End: TypeAlias = tuple[Outcome, str]

ANSWERED: End = ("answered", "")


class CountedRequest:
    """One request of a model, from its head to its end."""

    __slots__ = ("_counts",)

    def __init__(self, counts: "RequestCounts") -> None:
        """See `RequestCounts.receive`."""
        self._counts: RequestCounts | None = counts

    def end(self, end: End) -> None:
        """Count *end* as the end of this request; only the first call has an effect."""
        counts, self._counts = self._counts, None
        if counts is not None:
            counts.ended[end] = counts.ended.get(end, 0) + 1


@dataclass(slots=True)
class RequestCounts:
    """The requests for one model since it was served first."""

    received: int = 0
    ended: dict[End, int] = field(default_factory=dict)  #: without zeros

    def receive(self) -> CountedRequest:
        """Count one more request; the caller ends it."""
        self.received += 1
        return CountedRequest(self)

    @property
    def in_progress(self) -> int:
        """The count of requests that have not ended."""
        return self.received - sum(self.ended.values())
