"""
One request for runs of a model, as every dialect and every transport makes it.

A `Call` states how the feed is prepared, how the outputs become the result, and the options of the
request; `Calls` are those of a request that makes several.  server/inference.py runs them.  Pure;
knows neither HTTP nor another transport.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from typing import Generic, TypeVar

from twisted.python.failure import Failure

from batcher.priority import Priority
from batcher.trace import Trace
from model.signature import STRING, Arrays, Feed, Signature

T = TypeVar("T")

#: Outputs of more bytes are finished on a decode thread.  Writing 32 KiB of numbers as JSON takes
#: about 0.25 ms; so does the change to a decode thread and back.
MAX_BYTES_FINISHED_AT_ONCE = 1 << 15

#: The same if Python formats each number by itself, as 64 numbers in about 0.25 ms.
MAX_BYTES_FORMATTED_AT_ONCE = 1 << 8


@dataclass(slots=True)
class RequestOptions:
    """The timeout, the priority and the connection of a request."""

    #: When its timeout starts, in seconds of the monotonic clock.  The default timeout does not
    #: limit the time to prepare the request's own feeds: that time is added when it is known.
    since: float = 0.0
    timeout: float | None = inf  #: seconds; None: the server's default
    priority: Priority = Priority.NORMAL
    source: Hashable | None = None  #: its connection, which may send one request after the other
    calls: int = 1  #: the number of calls that the request makes, each with these options


#: The options of a request that may take any time.
NO_DEADLINE = RequestOptions()


@dataclass(slots=True)
class Timing:
    """
    How long the stages of one request took.

    The time of a stage is set when the stage ends, and stays set if a later stage fails.  Of a
    request with several calls, all times are set when the last call has ended.
    """

    decode: float | None = None  #: seconds of `Call.prepare`; None if that has not ended
    #: Seconds of `Call.finish`: to select labels and to write the body; None if that has not ended.
    encode: float | None = None
    rows: int = 0  #: rows of the feed; 0 until it is submitted
    trace: Trace = field(default_factory=Trace)  #: the time in the queue, and the runs
    #: Seconds until a decode thread was free for `Call.prepare`; None if it has not begun.
    decode_wait: float | None = None
    rows_before: int = 0  #: rows that waited in its queue when it was submitted
    finishing: bool = False  #: whether a decode thread was asked to call `Call.finish`

    def add(self, others: Sequence["Timing"]) -> None:
        """
        Set the times to those of a request with several calls, whose times are *others*.

        The times of `decode` and `encode` are sums, the waiting times are the longest ones, and
        each run is listed once, in the order of their launches.  The rows are a sum, too.
        """
        self.rows = sum(it.rows for it in others)
        self.rows_before = max((it.rows_before for it in others), default=0)
        self.finishing = any(it.finishing for it in others)
        waits = [it.decode_wait for it in others if it.decode_wait is not None]
        self.decode_wait = max(waits, default=None)
        self.decode = _sum(it.decode for it in others)
        self.encode = _sum(it.encode for it in others)
        queued = [it.trace.queued for it in others if it.trace.queued is not None]
        runs = {id(run): run for it in others for run in it.trace.runs}
        self.trace.queued = max(queued, default=None)
        self.trace.runs = sorted(runs.values(), key=attrgetter("started"))


def _sum(times: Iterable[float | None]) -> float | None:
    """Return the sum of those of *times* that are known, in seconds; None if none is known."""
    known = [seconds for seconds in times if seconds is not None]
    return sum(known) if known else None


@dataclass(slots=True)
class Outputs:
    """The output arrays of one request, in the order of the outputs of *signature*."""

    signature: Signature
    arrays: Arrays

    def exceed(self, limit: int) -> bool:
        """Whether the arrays, with the bytes of their strings, have more than *limit* bytes."""
        size = sum(array.nbytes for array in self.arrays)
        if size <= limit:
            for array in self.arrays:
                if array.dtype == STRING:
                    size += sum(map(len, array.flat))
        return size > limit

    def are_large(self) -> bool:
        """Whether it takes long to write the arrays, each at once."""
        return self.exceed(MAX_BYTES_FINISHED_AT_ONCE)

    def have_many_numbers(self) -> bool:
        """Whether it takes long to format each number of the arrays by itself."""
        return self.exceed(MAX_BYTES_FORMATTED_AT_ONCE)


@dataclass(slots=True)
class Call(Generic[T]):
    """What a request asks for: a feed, and a result of type T made of the outputs."""

    #: Returns the feed, or raises the error of a wrong request; may change `options` to those in
    #: the body.  Called on a decode thread, or on the reactor thread if `at_once` is true.
    prepare: Callable[[], Feed]
    #: Returns the result, for example the body of an answer.  Called on the reactor thread, or on a
    #: decode thread if `takes_long` returns true for the outputs.
    finish: Callable[[Outputs], T]
    options: RequestOptions = field(default_factory=RequestOptions)
    #: Whether `prepare` is quicker than the change to a decode thread and back, and decodes no
    #: image.
    at_once: bool = False
    #: Whether `finish` takes longer than the change to a decode thread and back; called once after
    #: `prepare`.
    takes_long: Callable[[Outputs], bool] = Outputs.are_large


@dataclass(slots=True)
class Calls(Generic[T]):
    """The calls of a request that makes several, such as one for each of its images."""

    each: Sequence[Call[T]]  #: all with the options of the request
    #: Returns the result of the request, given the result or the Failure of each call, in order.
    #: Called on the reactor thread.
    join: Callable[[Sequence[T | Failure]], T]
