"""
What is known of one kind of run: how long it takes, how many come, how large it may be.

Kept up to date by the batcher on the reactor thread.
"""

from dataclasses import dataclass, field

from batcher.learning.arrivals import ArrivalRate, Arrivals
from batcher.learning.latency import LatencyCurve
from batcher.learning.margin import Caution
from batcher.learning.returns import Returns


@dataclass(slots=True, eq=False)
class Profile:
    """
    One kind of run: only requests with the very same profile share a batch, and a queue.

    Raises ValueError for limits below 1.
    """

    latency: LatencyCurve  #: learns what each run took
    cap: int  #: the most rows a batch may have; less after out of memory
    max_queued_rows: int  #: the most rows that wait, not counting those that are run again
    name: str = ""  #: for people
    arrivals: ArrivalRate = field(default_factory=ArrivalRate)
    returns: Returns = field(default_factory=Returns)
    caution: Caution = field(default_factory=Caution)  #: in letting requests in
    #: The last run, until it is learned: what `LatencyCurve.observe` takes.
    _last_run: tuple[int, float, float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.cap < 1 or self.max_queued_rows < 1:
            raise ValueError(
                f"no batcher has a cap of {self.cap} rows and a queue of "
                f"{self.max_queued_rows} rows"
            )

    def ran(self, rows: int, seconds: float, way: float) -> None:
        """
        Note that a run of *rows* rows took *seconds*, and *way* before and after.

        What it changes little is learned while the next one runs, or before the batcher refuses
        anybody: that takes longer than a lane should stand idle for.
        """
        self.learn()
        self._last_run = rows, seconds, way
        if self.latency.is_news(rows):
            self.learn()

    def learn(self) -> bool:
        """Learn what was noted; return whether anything was."""
        run, self._last_run = self._last_run, None
        if run is None:
            return False
        self.latency.observe(*run)
        return True

    @property
    def margin(self) -> float:
        """The factor by which the time of who is let in must exceed what is expected."""
        return self.latency.margin * self.caution.factor

    def expected(self, now: float) -> Arrivals:
        """Return how many rows are to be expected."""
        return self.arrivals.expect(now, self.latency.predict(self.cap))
