"""
Keep what came of each exchange, in columns: minutes at 10,000 requests a second must fit.

Decides what counts as an answer (2xx), as a refusal (the server was too busy) and as an error (all
else).  Reads Server-Timing.  Pure; times are seconds.
"""

import re
from array import array
from collections import Counter
from math import nan

from scripts.load.exchange import Exchange

#: A server's words for "not now": Request Timeout, Too Many Requests, Service Unavailable, Gateway
#: Timeout.
REFUSALS = frozenset({408, 429, 503, 504})

#: Entries of Server-Timing as this project's server writes them; what others write is passed over.
_ENTRY = re.compile(
    rb"(?:^|,)\s*(?:"
    rb"(decode|queue|run)\s*;\s*dur=([0-9]{1,9}(?:\.[0-9]+)?)(?=\s*(?:[,;]|$))"
    rb'|batch\s*;\s*desc="([1-9][0-9]{0,8})/)'
)

#: The parts of an answer's time that the server tells.
PARTS = ("decode", "queue", "run")


class Record:
    """What is known of all exchanges that were due at *counted_from* or later."""

    def __init__(self, start: float, counted_from: float) -> None:
        """Both are times of the monotonic clock; columns count from *start*."""
        self.start = start
        self.counted_from = counted_from
        self.lags = array("d")  #: from when a request was due until it was handed over to be sent
        #: For each answer when it was due, when it was complete, and the seconds in between.
        self.intended, self.ended, self.latencies = array("d"), array("d"), array("d")
        #: For each answer what the server tells of it; nan where it tells nothing.
        self.parts = {part: array("d") for part in PARTS}
        #: The seconds of each refusal, by its status.
        self.refusals: dict[int, array[float]] = {}
        #: The seconds of answers to what was due before, which came when things counted already.
        self.carried = array("d")
        self.unanswered = 0  #: requests that no answer of any kind came to
        self.statuses: Counter[int] = Counter()  #: of all answers
        self.errors: Counter[str] = Counter()  #: what is neither answer nor refusal, in words
        self.examples: dict[int, str] = {}  #: the first body of each status that is no success
        self.rides: Counter[int] = Counter()  #: for each number of rows the rides in such batches

    def add(self, exchange: Exchange) -> None:
        """Take what came of one exchange."""
        took, status = exchange.ended - exchange.intended, exchange.status
        if exchange.intended < self.counted_from:
            if 200 <= status < 300 and exchange.ended >= self.counted_from:
                self.carried.append(took)
            return
        self.lags.append(exchange.asked - exchange.intended)
        if status == 0:
            self.unanswered += 1
            self.errors[exchange.detail] += 1
            return
        self.statuses[status] += 1
        if 200 <= status < 300:
            self.intended.append(exchange.intended - self.start)
            self.ended.append(exchange.ended - self.start)
            self.latencies.append(took)
            self._read(exchange.timing)
            return
        self.examples.setdefault(status, exchange.detail)
        if status in REFUSALS:
            self.refusals.setdefault(status, array("d")).append(took)
        else:
            self.errors[f"status {status}"] += 1

    def _read(self, timing: bytes) -> None:
        told = {}
        if timing:
            for part, milliseconds, rows in _ENTRY.findall(timing):
                if rows:
                    self.rides[int(rows)] += 1
                else:
                    told[part.decode()] = float(milliseconds) / 1e3
        for part, column in self.parts.items():
            column.append(told.get(part, nan))

    @property
    def refused(self) -> int:
        """How many were refused."""
        return sum(map(len, self.refusals.values()))

    @property
    def sent(self) -> int:
        """How many exchanges have finished."""
        return len(self.lags)
