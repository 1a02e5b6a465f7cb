"""
The moving average of the run times of one batch size, the noise of run times, and changes of both.

Pure; imports nothing of ours.  A run that differs much from the average counts as if it differed
less, because it may have stalled; several such runs in a row are a change.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import sqrt
from statistics import median

MIN_COUNT, MAX_COUNT = 1e-4, 255.0  #: the limits of the weight of an average, in runs
DOUBTED_COUNT = 0.5  #: with less weight, the next run replaces the average
HALF_LIFE_BATCHES = 1024.0  #: after so many batches without its size an average weighs half as much
MAX_DEVIATION = 0.5  #: a larger deviation, relative to the average, counts as this

MIN_CHANGE = 0.1  #: a deviation is no chance from this share of the average on,
MIN_CHANGE_DEVIATIONS = 3.0  #: and from so many standard deviations of the noise on
SIZE_RUNS = 4  #: so many such runs of one size in a row, in one direction, replace its average
MACHINE_RUNS = 8  #: so many of any sizes in a row show that the machine has changed,
MIN_KNOWN_COUNT = 3.0  #: if the averages of these sizes have at least this weight

INITIAL_NOISE = 0.05
MIN_NOISE = 0.001  #: the precision of a clock
NOISE_WEIGHT = 0.02  #: the weight of a new run


@dataclass(slots=True)
class Average:
    """The average run time of one size."""

    seconds: float  #: above 0.0
    count: float = 1.0  #: its weight, as a number of runs; below `DOUBTED_COUNT`: in doubt
    launched: int = 0  #: the sequence number of its last launch, among those of all sizes,
    before: int = 0  #: and of the launch before
    corrected: int = 0  #: the number of the last launch when `shift` corrected it
    is_old: bool = False  #: it was measured long ago, and its run under way is to check it
    confirmed: bool = False  #: it was measured once more after a doubt, or by a run alone
    #: The times of the last runs, if all of these took longer, or all took less.
    apart: list[float] = field(default_factory=list)
    since: int = 0  #: the last launch before these runs

    def weight(self, batches: int) -> float:
        """Return the weight after *batches* launches of all sizes."""
        return self.count / (1.0 + (batches - self.launched) / HALF_LIFE_BATCHES)

    def is_doubted_by(self, seconds: float, noise: "Noise") -> bool:
        """Return whether a run of *seconds* replaces the average."""
        if self.is_old and abs(seconds / self.seconds - 1.0) >= noise.least_change:
            return True
        return self.count < DOUBTED_COUNT

    def add(self, seconds: float, noise: "Noise") -> float:
        """Add a run of *seconds*; return by what share of the average it is apart; 0.0: chance."""
        deviation = seconds / self.seconds - 1.0
        apart = deviation if abs(deviation) >= noise.least_change else 0.0
        if not apart or (self.apart and (self.apart[-1] > self.seconds) != (apart > 0.0)):
            self.apart.clear()
        if apart:
            if not self.apart:
                self.since = self.before
            self.apart.append(seconds)
        else:
            noise.observe(deviation, self.count)
        self.count = min(self.count + 1.0, MAX_COUNT)
        near = max(-MAX_DEVIATION, min(MAX_DEVIATION, deviation))
        self.seconds *= 1.0 + near / self.count
        return apart

    @property
    def has_changed(self) -> bool:
        """Whether its last runs show that the average is wrong."""
        return len(self.apart) >= SIZE_RUNS

    def replace(self) -> float:
        """Replace the average by the last runs, all apart from it; return the relative change."""
        new, old = median(self.apart), self.seconds
        self.seconds, self.count = new, float(len(self.apart))
        self.apart.clear()
        return new / old - 1.0

    def doubt(self, error: float, noise: float) -> None:
        """Lower the weight: the average may have this *error*, relative to it."""
        self.count = min(self.count, max(MIN_COUNT, (noise / error) ** 2))
        self.apart.clear()


class Noise:
    """The standard deviation of run times, relative to the average of their size."""

    __slots__ = ("_variance", "least_change", "value")

    def __init__(self) -> None:
        self._variance = INITIAL_NOISE**2
        self.value = INITIAL_NOISE
        #: The least deviation, relative to an average, that is no chance.
        self.least_change = MIN_CHANGE_DEVIATIONS * INITIAL_NOISE

    def observe(self, deviation: float, count: float) -> None:
        """Learn the relative *deviation* of a run from an average of *count* runs."""
        # The average has an error, too: the fewer runs it has, the larger is the error.
        variance = deviation * deviation * count / (count + 1.0)
        self._variance += NOISE_WEIGHT * (variance - self._variance)
        self.value = max(MIN_NOISE, sqrt(self._variance))
        self.least_change = max(MIN_CHANGE, MIN_CHANGE_DEVIATIONS * self.value)


class Streak:
    """The last runs of any sizes, if all of these took longer than expected, or all took less."""

    __slots__ = ("_apart", "_sizes")

    def __init__(self) -> None:
        self._apart: list[float] = []  # the shares by which the runs were apart
        self._sizes: dict[int, Average] = {}

    def observe(self, rows: int, of: Average, apart: float) -> None:
        """Add a run *of* a size; *apart* is as `Average.add` returns it."""
        if not apart or (self._apart and (self._apart[-1] > 0.0) != (apart > 0.0)):
            self._apart.clear()
            self._sizes.clear()
        if apart:
            self._apart.append(apart)
            self._sizes[rows] = of

    def end(self) -> tuple[float, int] | None:
        """
        Return the change of the machine that these runs show, and the last launch before it.

        None if they are too few.  Else replaces the averages of their sizes and forgets the runs.
        """
        if len(self._apart) < MACHINE_RUNS:
            return None
        found = median(self._apart), max(it.since for it in self._sizes.values())
        for it in self._sizes.values():
            if it.apart:
                it.replace()
        self._apart.clear()
        self._sizes.clear()
        return found


def shift(
    averages: Iterable[Average], change: float, since: int, launches: int, noise: float
) -> None:
    """
    Correct by *change* the averages of sizes that have not run since the launch numbered *since*.

    They are then in doubt: their times may have changed by less, or by more.  *launches* is the
    number of launches so far; an average is corrected once for one change.
    """
    for it in averages:
        if max(it.launched, it.corrected) <= since:
            it.seconds *= 1.0 + change
            it.doubt(change, noise)
            it.corrected, it.confirmed = launches, False
