"""
Record the outcome of each exchange in columns, so that minutes at 10,000 requests/s fit in memory.

An answer of status 2xx counts as answered, one of `REFUSALS` (the server was too busy) as a
refusal, and every other outcome as an error.  Reads Server-Timing.  Pure; times are seconds.
"""

import re
from array import array
from collections import Counter
from math import nan

from scripts.load.exchange import Exchange

#: Statuses of a busy server: Request Timeout, Too Many Requests, Service Unavailable, Gateway
#: Timeout.
REFUSALS = frozenset({408, 429, 503, 504})

#: Entries of Server-Timing as the server of this project writes them; others are ignored.
_ENTRY = re.compile(
    rb"(?:^|,)\s*(?:"
    rb"(decode|queue|run)\s*;\s*dur=([0-9]{1,9}(?:\.[0-9]+)?)(?=\s*(?:[,;]|$))"
    rb'|batch\s*;\s*desc="([1-9][0-9]{0,8})/)'
)

#: The parts of an answer's time that the server reports.
PARTS = ("decode", "queue", "run")


class Record:
    """The outcomes of the exchanges that were due at *counted_from* or later."""

    def __init__(self, start: float, counted_from: float) -> None:
        """Both are times of the monotonic clock; times in the columns are seconds after *start*."""
        self.start = start
        self.counted_from = counted_from
        self.lags = array("d")  #: from when a request was due until it was passed to the pool
        #: For each answer: when it was due, when it was complete, and the seconds in between.
        self.intended, self.ended, self.latencies = array("d"), array("d"), array("d")
        #: For each answer: the seconds of each part in Server-Timing; nan where it has none.
        self.parts = {part: array("d") for part in PARTS}
        #: The latency of each refusal, by status.
        self.refusals: dict[int, array[float]] = {}
        #: The latencies of answers that came after *counted_from* to requests due before it.
        self.carried = array("d")
        self.unanswered = 0  #: requests without any answer
        self.statuses: Counter[int] = Counter()  #: the number of answers by status
        #: The number of requests that were neither answered nor refused, by reason.
        self.errors: Counter[str] = Counter()
        self.examples: dict[int, str] = {}  #: the first body of each unsuccessful status
        #: For each batch size in rows, how often a request was in a batch of that size.
        self.requests_by_rows: Counter[int] = Counter()

    def add(self, exchange: Exchange) -> None:
        """Record the outcome of one exchange."""
        took, status = exchange.ended - exchange.intended, exchange.status
        if exchange.intended < self.counted_from:
            if 200 <= status < 300 and exchange.ended >= self.counted_from:
                self.carried.append(took)
            return
        self.lags.append(exchange.submitted - exchange.intended)
        if status == 0:
            self.unanswered += 1
            self.errors[exchange.detail] += 1
            return
        self.statuses[status] += 1
        if 200 <= status < 300:
            self.intended.append(exchange.intended - self.start)
            self.ended.append(exchange.ended - self.start)
            self.latencies.append(took)
            self._add_timing(exchange.timing)
            return
        self.examples.setdefault(status, exchange.detail)
        if status in REFUSALS:
            self.refusals.setdefault(status, array("d")).append(took)
        else:
            self.errors[f"status {status}"] += 1

    def _add_timing(self, timing: bytes) -> None:
        parts = {}
        if timing:
            for part, milliseconds, rows in _ENTRY.findall(timing):
                if rows:
                    self.requests_by_rows[int(rows)] += 1
                else:
                    parts[part.decode()] = float(milliseconds) / 1e3
        for part, column in self.parts.items():
            column.append(parts.get(part, nan))

    @property
    def refused(self) -> int:
        """The number of recorded refusals."""
        return sum(map(len, self.refusals.values()))

    @property
    def sent(self) -> int:
        """The number of recorded requests."""
        return len(self.lags)
