"""
Define the fixed settings to compare, and the loads.

Pure.  Times are seconds unless a name states milliseconds; rates are requests a second.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from scripts.simulation.service import Service, measured

#: Slow enough that the server around the model is no bottleneck on one core: 381 rows a second.
SLOW = measured("20 + 2 b ms", {1: 0.022, 32: 0.084})

#: Slow enough that the server can refuse twice as many rows as it answers: 190 rows a second.
SLOWER = measured("20 + 4 b ms", {1: 0.024, 16: 0.084})

#: As short as runs on a GPU, so that the CPU of the server counts as well.
QUICK = measured("4 + 0.1 b ms", {1: 0.0041, 64: 0.0104})

#: Delays of a batch, in durations of a run of one row.
WAITS = (0.0, 0.5, 1.0, 2.0)

#: Shares of the capacity at which fixed settings are tried, and the clients of the closed loop.
LOADS = (0.3, 0.6, 0.9)
CLIENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)

#: Shares of the capacity above 1.
OVERLOADS = (1.05, 1.2, 1.5, 2.0, 3.0)

#: Settings to try again after the first round: the largest ratio to the best mean, and how many.
CLOSE, FINALISTS = 1.15, 5


@dataclass(frozen=True, slots=True)
class Fixed:
    """A fixed setting of the batcher."""

    rows: int  #: the largest batch
    delay_ms: float  #: the delay of a batch that is not full

    @property
    def options(self) -> tuple[str, ...]:
        """The setting as command line options of `tensorferry serve`."""
        return (
            "--max-batch-size", f"{self.rows}",
            "--max-queue-delay-ms", f"{self.delay_ms:g}",
        )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.rows} rows, {self.delay_ms:g} ms"


def grid(service: Service) -> list[Fixed]:
    """
    Return the settings to try: each power of two up to the cap, with each of `WAITS`.

    The power of two is the largest batch; a wait is a multiple of the time of a run of one row.
    """
    sizes = [1 << power for power in range(service.cap.bit_length())]
    delays = [round(wait * service.seconds[1] * 1e3, 3) for wait in WAITS]
    return [Fixed(rows, delay) for rows in sizes for delay in delays]


def that_carry(settings: Iterable[Fixed], service: Service, share: float) -> list[Fixed]:
    """Return those of *settings* whose full batches serve more than *share* of the best rate."""
    return [it for it in settings if service.rate(it.rows) > share * service.best_rate]


def greedy(service: Service) -> Fixed:
    """Return the setting that never delays a batch, and whose largest batch is the knee."""
    return Fixed(service.knee, 0.0)


def finalists(means: Mapping[Fixed, float | None]) -> list[Fixed]:
    """
    Return the settings to measure after the first round, the best first.

    *means* has the mean latency of each setting in the first round.  At most `FINALISTS` settings
    are returned, each with a mean of at most `CLOSE` times the best mean.
    """
    known: Sequence[tuple[float, Fixed]] = sorted(
        ((mean, fixed) for fixed, mean in means.items() if mean is not None),
        key=lambda each: each[0],
    )
    best = known[0][0] if known else inf
    return [fixed for mean, fixed in known[:FINALISTS] if mean <= CLOSE * best]
