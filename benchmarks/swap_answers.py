"""
Record the answers of a load, and find those from a version that was not served at the time.

Pure; times are seconds of the monotonic clock.
"""

import json
from collections.abc import Mapping
from math import inf

from scripts.load.connection import MAX_DETAIL_BYTES, Connection
from scripts.load.exchange import Exchange
from scripts.load.record import Record

MAX_EXAMPLES = 5  #: of wrong answers that are kept


class WholeConnection(Connection):
    """A connection that keeps the start of successful answers, too."""

    def on_body(self, body: bytes) -> None:
        """Keep the first `MAX_DETAIL_BYTES` bytes of the body."""
        if len(self._body) < MAX_DETAIL_BYTES:
            self._body += body[:MAX_DETAIL_BYTES]


class Expected:
    """When each version may answer the requests for one path."""

    def __init__(self) -> None:
        self._times: dict[int, tuple[float, float]] = {}

    def begins(self, version: int, now: float) -> None:
        """From *now* on, *version* may answer."""
        self._times[version] = (now, inf)

    def alone(self, version: int, now: float) -> None:
        """Requests that are sent later than *now* must be answered by *version*."""
        for other, (began, ended) in self._times.items():
            if other != version:
                self._times[other] = (began, min(ended, now))

    def allows(self, version: int, sent: float, answered: float) -> bool:
        """Return whether a request of the time *sent* may be *answered* by *version* then."""
        began, ended = self._times.get(version, (inf, inf))
        return began <= answered and sent <= ended


class Answers(Record):
    """A record that also counts late answers and those of wrong versions."""

    def __init__(self, start: float, expected: Mapping[bytes, Expected], deadline: float) -> None:
        """*expected* is by the bytes of a request; *deadline* is in seconds from when it is due."""
        super().__init__(start, start)
        self.late = 0  #: answers after the deadline
        self.wrong = 0  #: answers of status 200 from a version that was not served at the time
        self.wrong_examples: list[str] = []
        self._expected = expected
        self._deadline = deadline

    @property
    def failed(self) -> int:
        """The number of requests without an answer of status 200."""
        return self.sent - self.statuses[200]

    def add(self, exchange: Exchange) -> None:
        """Record the outcome of one exchange."""
        super().add(exchange)
        if exchange.status != 200:
            return
        self.late += exchange.ended - exchange.intended > self._deadline
        try:
            version = round(json.loads(exchange.detail)["outputs"]["y"][0])
        except (ValueError, LookupError, TypeError):
            version = -1
        expected = self._expected[exchange.request]
        if not expected.allows(version, exchange.submitted, exchange.ended):
            self.wrong += 1
            if len(self.wrong_examples) < MAX_EXAMPLES:
                after = exchange.submitted - self.start
                self.wrong_examples.append(f"{exchange.detail} to a request at {after:.3f} s")
