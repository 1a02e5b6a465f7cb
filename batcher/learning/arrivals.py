"""
The arrival rate: how many rows arrive per second, in the long run and recently.

Pure: the caller passes each arrival and the time.  Imports nothing of ours.
"""

from copy import copy
from dataclasses import dataclass
from math import expm1, sqrt

#: Windows and durations, as multiples of the time of the longest run.
LONG_WINDOW_RUNS = 64.0
RECENT_WINDOW_RUNS = 0.7
SURGE_DURATION_RUNS = 3.0  #: the time for which a recent excess is expected to last

#: An excess of the recent rate up to this many standard deviations of Poisson arrivals is chance.
MAX_CHANCE_DEVIATIONS = 1.5

#: The averages are updated at most once in this share of the recent window.
MIN_UPDATE_SHARE = 1 / 32


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The arrival rate, and the additional rows expected from a burst."""

    rate: float = 0.0  #: rows per second, in the long run
    surge: float = 0.0  #: rows expected, in addition to that rate, until a burst is over


UNEXPECTED = Arrivals()


class ArrivalRate:
    """Moving averages of the arriving rows per second."""

    def __init__(self) -> None:
        self._rows = 0  # since the last update
        self._squares = 0  # sum of squared rows per request: larger requests scatter more
        self._long = self._recent = self._squared = 0.0
        self._since: float | None = None  # time of the last update
        self._seen = 0.0  # seconds that the averages cover
        self.latest = UNEXPECTED  #: the estimate at the last update

    def observe(self, rows: int, now: float) -> None:
        """Count a request of *rows* rows that arrived at *now*, in seconds."""
        if self._since is None:
            self._since = now
        self._rows += rows
        self._squares += rows * rows

    def expect(self, now: float, longest: float) -> Arrivals:
        """Return what `update` would return; changes nothing."""
        return copy(self).update(now, longest)

    def update(self, now: float, longest: float) -> Arrivals:
        """
        Update the averages if enough time has passed, and return the estimate at *now*.

        *longest* is the expected seconds of the longest run.  If it is unknown, pass 0.0: then the
        previous estimate is returned and nothing is updated.
        """
        if self._since is None or longest <= 0.0:
            return self.latest
        passed = now - self._since
        if 0.0 <= passed < MIN_UPDATE_SHARE * RECENT_WINDOW_RUNS * longest:
            return self.latest
        self._since = now
        if passed > 0.0:
            self.latest = self._updated(passed, longest)
        return self.latest

    def _updated(self, passed: float, longest: float) -> Arrivals:
        """Update the averages with the rows of the last *passed* seconds; return the estimate."""
        rate, self._rows = self._rows / passed, 0
        squared, self._squares = self._squares / passed, 0
        decay = expm1(-passed / (LONG_WINDOW_RUNS * longest))
        self._long -= (rate - self._long) * decay
        self._squared -= (squared - self._squared) * decay
        self._recent -= (rate - self._recent) * expm1(-passed / (RECENT_WINDOW_RUNS * longest))
        # The averages start at 0: correct for the time before the first arrival.
        self._seen += passed
        known = -expm1(-self._seen / (LONG_WINDOW_RUNS * longest))
        long_rate = self._long / known
        recent = self._recent / -expm1(-self._seen / (RECENT_WINDOW_RUNS * longest))
        deviation = sqrt(self._squared / known / (2.0 * RECENT_WINDOW_RUNS * longest))
        excess = max(0.0, recent - long_rate - MAX_CHANCE_DEVIATIONS * deviation)
        return Arrivals(long_rate, excess * SURGE_DURATION_RUNS * longest)
