"""
Count the requests of one version of a model, and the time of their stages, for all dialects.

`server.inference.Inference` calls this once for each request that ends.  Used on the reactor
thread; reads no clock.  Times are seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from batcher.trace import Run
from server.call import Timing


@dataclass(slots=True)
class Total:
    """A count, and the sum of as many durations."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration of *seconds*."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class Statistics:
    """
    The requests that have ended since the version was loaded.

    The totals of the stages have the requests that were answered.  A run that several requests
    share counts with its whole duration for each of them.
    """

    success: Total = field(default_factory=Total)  #: answered, from the call to its result
    fail: Total = field(default_factory=Total)  #: ended with any error, or were cancelled
    queue: Total = field(default_factory=Total)
    prepare: Total = field(default_factory=Total)  #: `Call.prepare`, decoding included
    run: Total = field(default_factory=Total)  #: from the first launch to the end of the last run
    finish: Total = field(default_factory=Total)  #: `Call.finish`
    rows: int = 0  #: those of the requests that were answered
    #: When the last answer was ready, in seconds of the monotonic clock; None before the first.
    last: float | None = None

    def answered(self, timing: Timing, seconds: float, now: float) -> None:
        """Count a request that is answered at *now*, *seconds* after its call."""
        self.success.add(seconds)
        trace = timing.trace
        self.queue.add(trace.queued or 0.0)
        self.prepare.add(timing.decode or 0.0)
        self.run.add(span(trace.runs))
        self.finish.add(timing.encode or 0.0)
        self.rows += timing.rows
        self.last = now

    def failed(self, seconds: float = 0.0) -> None:
        """Count a request that has no result, *seconds* after its call; 0.0: it made no call."""
        self.fail.add(seconds)


def span(runs: Sequence[Run]) -> float:
    """Return the seconds from the launch of the first of *runs* to the end of the last."""
    if len(runs) == 1:
        return runs[0].seconds or 0.0
    ends = [run.started + (run.seconds or 0.0) for run in runs]
    return max(ends) - runs[0].started if ends else 0.0
