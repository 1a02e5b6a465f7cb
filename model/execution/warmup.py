"""
Measure how long a run of b rows takes, upwards from one, and stop where more bring nothing.

The decisions are pure functions; `warm_up` performs them on the lanes, all of them at once, since
lanes that share a device slow each other down.  Durations are seconds.
"""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, TypeVar, cast

from twisted.internet.defer import CancelledError, DeferredList

from batcher.errors import OutOfMemory
from batcher.executor import Piece
from batcher.learning.latency import MIN_WARMUP_RUNS, trimmed_mean, warmup_runs
from batcher.learning.sizes import KNEE_RATE_SHARE
from model.errors import ModelError
from model.execution.lane import Lane
from model.execution.thread import ThreadStopped
from model.signature import Feed

if TYPE_CHECKING:
    from twisted.python.failure import Failure

T = TypeVar("T")

#: The largest batch that warm-up tries where nothing else bounds it.
LARGEST = 128

#: Two sizes in a row that bring less than this factor of more rows a second end the climb.
WORTH = 1.05

#: Rows over which a run's own cost in the server is spread well enough.
SHARED = 4


class SampleFailed(ModelError):
    """The model cannot run the row that was made up to measure it with."""


def sizes_up_to(largest: int) -> list[int]:
    """Return the sizes to try: the powers of two up to *largest*, and *largest* itself."""
    sizes = [1]
    while sizes[-1] * 2 <= largest:
        sizes.append(sizes[-1] * 2)
    return sizes if sizes[-1] == largest else [*sizes, largest]


def has_levelled_off(measured: dict[int, float]) -> bool:
    """Whether the last two sizes each brought less than 5 % over the best rate before them."""
    rates = [rows / seconds for rows, seconds in sorted(measured.items())]
    if len(rates) < 3:
        return False
    return rates[-2] < WORTH * max(rates[:-2]) and rates[-1] < WORTH * max(rates[:-1])


def climb_is_over(measured: dict[int, float]) -> bool:
    """Whether a climb to *measured* had seen all it looks for, and was not cut short."""
    return has_levelled_off(measured) or max(measured) == LARGEST


def learned_cap(measured: dict[int, float]) -> int:
    """
    Return the largest batch worth running: the smallest size with 95 % of the best rate.

    Where that is below 4 rows, as on most CPUs, it is 4 unless that halves the rate: what the
    server itself spends on a run is then shared by more rows, and a machine that was busy while it
    was measured is not held to batches of one.
    """
    rates = {rows: rows / seconds for rows, seconds in measured.items()}
    knee = min(rows for rows in rates if rates[rows] >= KNEE_RATE_SHARE * max(rates.values()))
    worthy = [rows for rows in rates if rows <= SHARED and rates[rows] > 0.5 * max(rates.values())]
    return max(knee, *worthy) if worthy else knee


def sized(sample: Feed, rows: int) -> Feed:
    """Return *rows* rows like *sample*; the very same where it can only run alone."""
    return sample.repeated(rows) if sample.signature.batched else sample


def _timed_runs(lane: Lane, feed: Feed, repeats: Callable[[float], int]) -> list[float]:
    """
    Run *feed* on the lane's own thread; return the durations of the timed runs.

    *repeats* says how many runs of so many seconds are timed.  One before them, untimed, lets the
    engine prepare for the shape.
    """
    piece = Piece(feed, 0, feed.rows)
    lane.run_now([piece])
    times: list[float] = []
    while not times or len(times) < repeats(median(times)):
        lane.run_now([piece])
        times.append(lane.seconds or 0.0)
    return times


async def _on_all(lanes: Sequence[Lane], work: Callable[[Lane], T]) -> list[T]:
    """
    Return what *work* gives on the thread of each of *lanes*, which do it at the same time.

    Returns when all have done it, and then raises what the first one of those that failed raised.
    """
    calls = [lane.thread.call(partial(work, lane)) for lane in lanes]
    results: list[T] = []
    for succeeded, result in await DeferredList(calls, consumeErrors=True):
        if not succeeded:
            cast("Failure", result).raiseException()
        results.append(result)
    return results


async def measure(
    lanes: Sequence[Lane],
    sample: Feed,
    rows: int,
    repeats: Callable[[float], int] = warmup_runs,
) -> float:
    """
    Return how long a run of *rows* rows like *sample* takes with all *lanes* busy.

    What is typical of a lane's runs, of as many as *repeats* says, and of the lanes the median.
    """
    feed = sized(sample, rows)
    gathered = await _on_all(lanes, lambda lane: _timed_runs(lane, feed, repeats))
    return median(trimmed_mean(times) for times in gathered)


async def prime(lanes: Sequence[Lane], sample: Feed, largest: int) -> float:
    """
    Run the sizes of a climb with *sample* to *largest*, so that the engine has prepared for them.

    Return how long a run of *largest* rows takes with all *lanes* busy, of a few runs.
    """

    def run_all(lane: Lane) -> None:
        for rows in sizes_up_to(largest):
            lane.run_now([Piece(sized(sample, rows), 0, rows)])

    def few(seconds: float) -> int:
        return min(MIN_WARMUP_RUNS, warmup_runs(seconds))

    await _on_all(lanes, run_all)
    return await measure(lanes, sample, largest, few)


async def warm_up(
    lanes: Sequence[Lane],
    sample: Feed,
    largest: int | None,
    *,
    say: Callable[[str], object],
) -> dict[int, float]:
    """
    Return the measured seconds of a run for 1, 2, 4, ... rows like *sample*, of one row.

    With *largest* None the climb ends where it levels off, or at a size that cannot be run: the
    device may be out of memory, or the graph made for one row inside.  Else it goes to *largest*.
    Raises `SampleFailed` where one row cannot be run, `ModelError` where it finds no room, and for
    more rows up to *largest*.
    """
    measured: dict[int, float] = {}
    for rows in sizes_up_to(largest or LARGEST):
        try:
            measured[rows] = await measure(lanes, sample, rows)
        except (CancelledError, ThreadStopped):
            raise
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if not measured and not isinstance(error, OutOfMemory):
                raise SampleFailed(f"a run of one row failed: {reason}") from error
            if largest is not None or not measured:
                raise ModelError(f"a run of {rows} rows failed: {reason}") from error
            say(f"a run of {rows} rows failed, the largest batch is {max(measured)}: {reason}")
            break
        say(f"{rows} rows: {measured[rows] * 1e3:.1f} ms")
        if largest is None and has_levelled_off(measured):
            break
    return measured
