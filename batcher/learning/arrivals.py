"""
The arrival rate: how many rows come in a second, in the long run and of late.

Pure: told each arrival, asked for the rates.  Imports nothing of ours.
"""

from dataclasses import dataclass
from math import expm1, sqrt

LONG = 64.0  #: longest runs over which the rate is averaged
LATE = 0.7  #: longest runs that count as of late
LASTS = 3.0  #: longest runs for which what is of late may be expected to go on
BY_CHANCE = 1.5  #: standard deviations of what is of late that are no burst, if all come by chance
STEP = 1 / 32  #: of what counts as of late: no more often are the averages renewed


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What to expect."""

    rate: float = 0.0  #: rows per second, in the long run
    surge: float = 0.0  #: rows beyond that which will come before a burst has passed


UNEXPECTED = Arrivals()


class ArrivalRate:
    """Moving averages of the rows per second: told each arrival, asked now and then."""

    __slots__ = ("_came", "_expected", "_late", "_long", "_seen", "_since", "_squared", "_squares")

    def __init__(self) -> None:
        self._came = 0
        self._squares = 0  # of the rows of each who came: what many bring at once scatters more
        self._long = self._late = self._squared = 0.0
        self._since: float | None = None  # when the averages were last renewed
        self._seen = 0.0  # seconds that they are of
        self._expected = UNEXPECTED

    def came(self, rows: int, now: float) -> None:
        """Count *rows* that came at *now*, in seconds."""
        if self._since is None:
            self._since = now
        self._came += rows
        self._squares += rows * rows

    def expect(self, now: float, longest: float) -> Arrivals:
        """Return what to expect at *now*, where the longest run takes *longest* seconds."""
        if self._since is None or longest <= 0.0:
            return self._expected
        passed = now - self._since
        if 0.0 <= passed < STEP * LATE * longest:
            return self._expected
        self._since = now
        if passed > 0.0:
            self._expected = self._renewed(passed, longest)
        return self._expected

    def _renewed(self, passed: float, longest: float) -> Arrivals:
        recent, self._came = self._came / passed, 0
        squared, self._squares = self._squares / passed, 0
        aged = expm1(-passed / (LONG * longest))
        self._long -= (recent - self._long) * aged
        self._squared -= (squared - self._squared) * aged
        self._late -= (recent - self._late) * expm1(-passed / (LATE * longest))
        # All began at nothing: what they have not seen yet is not to count as silence.
        self._seen += passed
        known = -expm1(-self._seen / (LONG * longest))
        rate = self._long / known
        late = self._late / -expm1(-self._seen / (LATE * longest))
        chance = BY_CHANCE * sqrt(self._squared / known / (2.0 * LATE * longest))
        return Arrivals(rate, max(0.0, late - rate - chance) * LASTS * longest)
