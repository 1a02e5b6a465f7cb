"""
Measure the seconds of a run of 1, 2, 4, ... rows, until more rows no longer raise the rate.

The decisions are pure functions.  `warm_up` performs this sweep on all lanes at the same time,
since lanes that share a device slow each other down.  Rates are rows per second.
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

#: The largest batch of a sweep, in rows, if no option and no signature limits it.
MAX_WARMUP_ROWS = 128

#: A sweep ends after two sizes in a row with a rate below this factor times the best earlier rate.
MIN_RATE_GAIN = 1.05

#: With a cap of this many rows, enough rows share the server's own cost of a run; see `choose_cap`.
MIN_CAP_ROWS = 4


class SampleFailed(ModelError):
    """The model cannot run the generated row that warm-up uses."""


def sizes_up_to(largest: int) -> list[int]:
    """Return the sizes to try, in rows: the powers of two up to *largest*, and *largest* itself."""
    sizes = [1]
    while sizes[-1] * 2 <= largest:
        sizes.append(sizes[-1] * 2)
    return sizes if sizes[-1] == largest else [*sizes, largest]


def has_plateaued(measured: dict[int, float]) -> bool:
    """
    Whether each of the two largest sizes raised the best rate of smaller sizes by less than 5 %.

    *measured* maps the rows of a run to its seconds.  With fewer than three sizes, returns False.
    """
    rates = [rows / seconds for rows, seconds in sorted(measured.items())]
    if len(rates) < 3:
        return False
    return all(rates[last] < MIN_RATE_GAIN * max(rates[:last]) for last in (-2, -1))


def sweep_is_complete(measured: dict[int, float]) -> bool:
    """Whether *measured* reached a plateau or `MAX_WARMUP_ROWS`; False if a failed run ended it."""
    return has_plateaued(measured) or max(measured) == MAX_WARMUP_ROWS


def choose_cap(measured: dict[int, float]) -> int:
    """
    Return the largest batch worth running, in rows: the smallest size with 95 % of the best rate.

    If that size is below 4 rows, as on most CPUs, the cap is the largest measured size up to 4 rows
    with more than half of the best rate.  The server's own cost of a run is then shared by more
    rows, and a machine that was busy during warm-up is not limited to batches of one row.
    *measured* maps the rows of a run to its seconds.
    """
    rates = {rows: rows / seconds for rows, seconds in measured.items()}
    best = max(rates.values())
    knee = min(rows for rows in rates if rates[rows] >= KNEE_RATE_SHARE * best)
    small = [rows for rows in rates if rows <= MIN_CAP_ROWS and rates[rows] > best / 2]
    return max(knee, *small) if small else knee


def repeat_sample(sample: Feed, rows: int) -> Feed:
    """Return a feed of *rows* copies of *sample*; *sample* itself if it can only run alone."""
    return sample.repeated(rows) if sample.signature.batched else sample


def _timed_runs(lane: Lane, feed: Feed, repeats: Callable[[float], int]) -> list[float]:
    """
    Run *feed* on the lane's own thread; return the seconds of the timed runs.

    *repeats* returns the number of runs to time, given the seconds of one run.  An untimed run
    before the timed ones lets the engine prepare for the shape.
    """
    piece = Piece(feed, 0, feed.rows)
    lane.run_now([piece])
    times: list[float] = []
    while not times or len(times) < repeats(median(times)):
        lane.run_now([piece])
        times.append(lane.seconds or 0.0)
    return times


async def _run_on_all(lanes: Sequence[Lane], work: Callable[[Lane], T]) -> list[T]:
    """
    Call *work* on the threads of all *lanes* at the same time; return one result for each lane.

    Waits until all calls have ended.  Raises the error of the first of *lanes* whose call failed.
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
    Return the seconds of a run of *rows* copies of *sample* while all *lanes* run it.

    The result is the median of the `trimmed_mean` of each lane.  *repeats* returns the number of
    runs to time on each lane, given the seconds of one run.
    """
    feed = repeat_sample(sample, rows)
    gathered = await _run_on_all(lanes, lambda lane: _timed_runs(lane, feed, repeats))
    return median(trimmed_mean(times) for times in gathered)


async def run_all_sizes(lanes: Sequence[Lane], sample: Feed, largest: int) -> float:
    """
    Run copies of *sample* once for each size of `sizes_up_to`, so that the engine prepares for it.

    All *lanes* do this at the same time.  Return the seconds of a run of *largest* rows while all
    lanes run it, from a few timed runs.
    """

    def run_all(lane: Lane) -> None:
        for rows in sizes_up_to(largest):
            lane.run_now([Piece(repeat_sample(sample, rows), 0, rows)])

    def few(seconds: float) -> int:
        return min(MIN_WARMUP_RUNS, warmup_runs(seconds))

    await _run_on_all(lanes, run_all)
    return await measure(lanes, sample, largest, few)


async def warm_up(
    lanes: Sequence[Lane],
    sample: Feed,
    largest: int | None,
    *,
    on_progress: Callable[[str], object],
) -> dict[int, float]:
    """
    Run 1, 2, 4, ... copies of the row *sample*; return the seconds of a run for each size in rows.

    With *largest*, in rows, the sweep ends at that size.  Without it the sweep ends at a plateau of
    the rate, at `MAX_WARMUP_ROWS`, or before the first size that cannot be run: the device may be
    out of memory, or the graph may be fixed to a number of rows.  *on_progress* is called with a
    line of text for each size.  Raises `SampleFailed` if the model fails to run one row, and
    `ModelError` if the device has no memory for one row or if a size up to *largest* cannot be run.
    """
    measured: dict[int, float] = {}
    for rows in sizes_up_to(largest or MAX_WARMUP_ROWS):
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
            on_progress(
                f"a run of {rows} rows failed, the largest batch is {max(measured)}: {reason}"
            )
            break
        on_progress(f"{rows} rows: {measured[rows] * 1e3:.1f} ms")
        if largest is None and has_plateaued(measured):
            break
    return measured
