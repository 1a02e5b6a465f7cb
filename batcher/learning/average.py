"""
The moving average of the run times of one batch size, the noise of run times, and changes of both.

Pure; imports nothing of ours.  A run that differs much from the average does not count, because it
may have stalled; several such runs in a row are a change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, sqrt
from statistics import median

MIN_COUNT = 1e-4  #: the least weight of an average, in runs
DOUBTED_COUNT = 0.5  #: with less weight, the next run replaces the average
#: After so many batches without its size, an average weighs no more than one run.
MAX_AGE_BATCHES = 8192.0

MAX_DEVIATION = 0.5  #: a larger deviation, relative to the average, counts as this noise
MIN_CHANGE = 0.1  #: a deviation is no chance from this share of the average on,
MIN_CHANGE_DEVIATIONS = 3.0  #: and from so many standard deviations of the noise on
#: So many such runs in a row, in one direction, replace the average; fewer if it weighs less.
CHANGE_RUNS = 4

INITIAL_NOISE = 0.05
MIN_NOISE = 0.001  #: the precision of a clock
NOISE_WEIGHT = 0.02  #: the weight of a new run


@dataclass(slots=True)
class Average:
    """The average run time of one size."""

    seconds: float  #: above 0.0
    count: float = 1.0  #: its weight, as a number of runs; below `DOUBTED_COUNT`: in doubt
    launched: int = 0  #: number of batches launched at its last launch, or when it was corrected
    confirmed: bool = False  #: it is of a first run, or of the first after a doubt, and later ones
    #: The times of the last runs, if all of these took longer, or all took less.
    apart: list[float] = field(default_factory=list)
    since: int = 0  #: the launch of the first of these runs

    def weight(self, batches: int) -> float:
        """Return the weight after *batches* launches of all sizes."""
        return 1.0 / (1.0 / self.count + (batches - self.launched) / MAX_AGE_BATCHES)

    def add(self, seconds: float, noise: "Noise") -> float:
        """
        Add a run of *seconds*.

        If the last runs show that the average is wrong, they replace it: return the change,
        relative to the former average.  Else return 0.0.
        """
        deviation = seconds / self.seconds - 1.0
        is_chance = abs(deviation) < noise.least_change
        if is_chance or (self.apart and (self.apart[-1] > self.seconds) != (deviation > 0.0)):
            for each in self.apart:  # no change: they are noise, too
                noise.observe(min(MAX_DEVIATION, each / self.seconds - 1.0), self.count)
            self.apart.clear()
        if is_chance:
            noise.observe(deviation, self.count)
            self.count += 1.0
            self.seconds *= 1.0 + deviation / self.count
            return 0.0
        if not self.apart:
            self.since = self.launched
        self.apart.append(seconds)
        if len(self.apart) < min(CHANGE_RUNS, 1.0 + self.count):
            return 0.0
        change = median(self.apart) / self.seconds - 1.0
        self.seconds, self.count = median(self.apart), float(len(self.apart))
        self.apart.clear()
        return change if self.count >= CHANGE_RUNS else 0.0

    def doubt(self, error: float, noise: "Noise") -> None:
        """Lower the weight: the average may have this *error*, relative to it."""
        self.count = min(self.count, max(MIN_COUNT, (noise.value / error) ** 2))
        self.apart.clear()


class Noise:
    """The standard deviation of run times, relative to the average of their size."""

    def __init__(self) -> None:
        self._variance = INITIAL_NOISE**2

    @property
    def value(self) -> float:
        """The standard deviation."""
        return max(MIN_NOISE, sqrt(self._variance))

    @property
    def least_change(self) -> float:
        """The least deviation, relative to an average, that is no chance."""
        return max(MIN_CHANGE, MIN_CHANGE_DEVIATIONS * self.value)

    def observe(self, deviation: float, count: float) -> None:
        """Learn the relative *deviation* of a run from an average of *count* runs."""
        # The average has an error, too: the fewer runs it has, the larger is the error.
        variance = deviation * deviation * count / (count + 1.0)
        self._variance += NOISE_WEIGHT * (variance - self._variance)


def correct(
    averages: Mapping[int, Average],
    rows: int,
    change: float,
    since: int,
    batches: int,
    noise: Noise,
) -> None:
    """
    Correct *averages*, which are by rows, after a *change* of that of *rows* rows.

    The change is relative to the former average.  Those are corrected whose last launch was before
    that numbered *since*, and as far as the new average allows: a run takes no less time than one
    of fewer rows, and no longer than runs of its parts.  Without this limit, the corrections of a
    size that is never launched would multiply without end.  They are then in doubt: their times may
    have changed by less, or by more.  *batches* is the number of launches so far: an average is
    corrected once for one change.
    """
    changed = averages[rows].seconds
    for size, it in averages.items():
        if it.launched < since:
            least, most = changed / ceil(rows / size), changed * ceil(size / rows)
            it.seconds = min(max(it.seconds * (1.0 + change), least), most)
            it.doubt(change, noise)
            it.launched, it.confirmed = batches, False
