"""
What is logged of each request that has ended: a line of the access log, and a slow request.

Everything here runs on the reactor thread.
"""

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from server.call import Timing
from server.http.access import Access, AccessLog, access_line, phases

#: The most slow requests that are logged in a minute; the rest are counted.
MAX_SLOW_PER_MINUTE = 10

MINUTE = 60.0

_log = Logger()


def log_access(access: Access) -> None:
    """Log *access* at once, as an event of its own."""
    _log.info("{line}", line=access_line(access), access=access)


class SlowRequests:
    """Logs the requests for inference that took longer than a limit, with their phases."""

    def __init__(self, limit: float, clock: IReactorTime) -> None:
        """*limit* is in seconds, from the complete head until the answer is sent."""
        self._limit = limit
        self._clock = clock
        self._logged = self._more = 0  # in the present minute
        self._minute: IDelayedCall | None = None

    def observe(self, access: Access) -> None:
        """Log the request of *access* if it was slow, unless many were in this minute."""
        if access.timing is None or access.whole is None or access.whole <= self._limit:
            return
        if self._minute is None:
            self._minute = self._clock.callLater(MINUTE, self._minute_ends)
        if self._logged == MAX_SLOW_PER_MINUTE:
            self._more += 1
            return
        self._logged += 1
        _log.warn("slow request {line}", line=slow_line(access), access=access)

    def stop(self) -> None:
        """Log the count of the requests that were not logged."""
        if self._minute is not None:
            self._minute.cancel()
            self._minute_ends()

    def _minute_ends(self) -> None:
        if self._more:
            _log.warn(
                "+{more} more slow requests in the last minute, over {limit:g} ms",
                more=self._more,
                limit=self._limit * 1e3,
            )
        self._logged = self._more = 0
        self._minute = None


def slow_line(access: Access) -> str:
    """
    Return the request in words.

    These are its whole time, its phases, its batches and the rows that waited before it.
    """
    timing = access.timing or Timing()
    times = ", ".join(
        f"{phase.replace('_', ' ')} {seconds * 1e3:.1f}"
        for phase, seconds in phases(access).items()
    )
    whole = (access.whole or 0.0) * 1e3
    what = f"{access.request_id}: {access.method} {access.uri} {access.status}"
    parts = [f"{what} took {whole:.1f} ms ({times})"]
    if access.model:
        parts.append(f"model {access.model}")
    runs = timing.trace.runs
    if runs:
        last = runs[-1]
        count = f"{len(runs)} batches, the last " if len(runs) > 1 else "batch "
        parts.append(f"{count}{last.rows}/{last.cap} {last.reason}")
    if timing.rows:
        parts.append(f"rows {timing.rows}, {timing.rows_before} waited before")
    if access.trace is not None:
        parts.append(f"trace {access.trace.trace_id}")
    return "; ".join(parts)


class RequestLog:
    """Logs the requests that have ended: all of them, those that were slow, or both."""

    def __init__(self, write: AccessLog | None, slow_limit: float, clock: IReactorTime) -> None:
        """
        *write* writes a line of the access log; None: there is no such log.

        *slow_limit* is that of `SlowRequests`, in seconds; 0.0: no request is slow.
        """
        self._write = write
        self._slow = SlowRequests(slow_limit, clock) if slow_limit else None

    @property
    def access_log(self) -> AccessLog | None:
        """The function that takes the entry of each request; None if nothing is logged."""
        return None if self._write is None and self._slow is None else self._log

    def _log(self, access: Access) -> None:
        if self._write is not None:
            self._write(access)
        if self._slow is not None:
            self._slow.observe(access)

    def stop(self) -> None:
        """Log what was only counted; called when the server has stopped."""
        if self._slow is not None:
            self._slow.stop()
