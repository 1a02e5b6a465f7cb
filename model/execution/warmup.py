"""
Measure the seconds of a run of 1, 2, 4, ... rows, until more rows no longer raise the rate.

The decisions are pure functions.  `warm_up` performs this sweep through the batcher, in a queue of
low weight, so that other models on the device are served meanwhile.  All lanes run at the same
time, since lanes that share a device slow each other down.  Rates are rows per second.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import median
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList

from batcher.batcher import Batcher
from batcher.errors import OutOfMemory, RunFailed, ShuttingDown
from batcher.learning.latency import LatencyCurve
from batcher.learning.sizes import KNEE_RATE_SHARE
from batcher.policy import FixedPolicy
from batcher.queue import Queue
from batcher.share import Account, Share
from batcher.trace import Trace
from model.errors import ModelError
from model.execution.warmup_runs import MIN_WARMUP_RUNS, trimmed_mean, warmup_runs
from model.signature import Arrays, Feed

#: The weight of the runs of a warm-up, beside the weight 1 of a model that is served.
WARMUP_WEIGHT = 1 / 16

#: The largest batch of a sweep, in rows, if no option and no signature limits it.
MAX_WARMUP_ROWS = 128

#: A sweep ends after two sizes in a row with a rate below this factor times the best earlier rate.
MIN_RATE_GAIN = 1.05

#: With a cap of this many rows, enough rows share the server's own cost of a run; see `choose_cap`.
MIN_CAP_ROWS = 4


class SampleFailed(ModelError):
    """The model cannot run the generated row that warm-up uses."""


def averages(times: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """Return the seconds of a run of each size: the `trimmed_mean` of *times*, by rows."""
    return {rows: trimmed_mean(of_size) for rows, of_size in times.items()}


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


def sizes_to_time(sizes: Collection[int]) -> set[int]:
    """Return the smallest and the largest of *sizes*, in rows, and up to two evenly between."""
    ordered = sorted(sizes)
    last = len(ordered) - 1
    return {ordered[last * part // 3] for part in range(4)}


def repeat_sample(sample: Feed, rows: int) -> Feed:
    """Return a feed of *rows* copies of *sample*; *sample* itself if it can only run alone."""
    return sample.repeated(rows) if sample.signature.batched else sample


class MeasuredRuns:
    """
    Runs copies of a row on the lanes of *batcher*, and measures them.

    Each run is a batch of its own.  The runs take turns with the batches of other models, with
    `WARMUP_WEIGHT`.  If *beside*, other models are served: then one run at a time is launched, so
    that on a device with several lanes their requests wait for none.
    """

    def __init__(self, batcher: Batcher[Feed, Arrays], name: str, *, beside: bool = False) -> None:
        """*name* is the name of the queue for reports."""
        self._batcher = batcher
        self.beside = beside
        self._lanes = 1 if beside else batcher.stats().lanes
        self.account = Account(WARMUP_WEIGHT)
        self._share = Share(name, self.account, background=True)
        self._under_way: Deferred[list[tuple[bool, Any]]] | None = None

    async def run(self, feed: Feed, count: int, latency: LatencyCurve | None = None) -> list[float]:
        """
        Run *feed* *count* times; return the seconds of each run, without the dispatch overhead.

        *latency* has the earlier runs of *feed*, and learns from these runs.  Waits until all of
        them have ended.  Raises `OutOfMemory` if the rows do not fit in memory, else the error of
        the first run that failed.
        """
        rows = feed.rows
        # The batcher lowers the cap and runs fewer rows if they do not fit in memory.
        queue: Queue[Feed, Arrays] = Queue(
            latency or LatencyCurve({}),
            rows,
            rows * count,
            self._share.name,
            share=self._share,
            policy=FixedPolicy(rows, 0.0),
        )
        traces = [Trace() for _ in range(count)]
        at_once = 1 if self.beside else count
        for first in range(0, count, at_once):
            answers: list[Deferred[Any]] = [
                # Drop the outputs of each run at once: those of all runs may not fit in memory.
                self._batcher.submit(feed, rows, queue, trace=trace).addCallback(lambda _: None)
                for trace in traces[first : first + at_once]
            ]
            self._under_way = DeferredList(answers, consumeErrors=True)
            for succeeded, result in await self._under_way:
                if not succeeded:
                    raise _cause(result.value)
            if queue.cap < rows:
                raise OutOfMemory(rows)
        launched = [trace.runs[-1] for trace in traces]
        return [(run.seconds or 0.0) - run.dispatch_overhead for run in launched]

    async def run_on_all(self, feed: Feed, repeats: Callable[[float], int]) -> list[float]:
        """
        Return the seconds of each timed run of *feed*, while all lanes run it.

        *repeats* returns the number of runs to time on each lane, given the median of the seconds
        of the runs so far.  An untimed run on each lane before the timed ones lets the engine
        prepare for the shape.
        """
        latency = LatencyCurve({})
        await self.run(feed, self._lanes, latency)
        times = await self.run(feed, self._lanes, latency)
        while (missing := self._lanes * repeats(median(times)) - len(times)) > 0:
            times += await self.run(feed, missing, latency)
        return times

    async def run_sizes(self, sample: Feed, sizes: Collection[int]) -> dict[int, list[float]]:
        """
        Run copies of *sample* once for each of *sizes*, in rows, so that the engine prepares.

        Each lane does so.  Return the seconds of a few timed runs of `sizes_to_time`, by rows.
        """
        timed = sizes_to_time(sizes)
        times: dict[int, list[float]] = {}
        for rows in sorted(sizes):
            feed = repeat_sample(sample, rows)
            if rows in timed:
                times[rows] = await self.run_on_all(feed, few_runs)
            else:
                await self.run(feed, self._lanes)
        return times

    def stop(self) -> Deferred[None]:
        """
        Drop the runs that wait, and start none from now on; fire when no run is under way.

        A call of `run` that is under way then raises `CancelledError`.
        """
        if self._under_way is not None:
            self._under_way.cancel()
        return self._batcher.drain(self._share)


def few_runs(seconds: float) -> int:
    """Return the number of runs of one size in a check, if one run takes *seconds*."""
    return min(MIN_WARMUP_RUNS, warmup_runs(seconds))


def _cause(error: BaseException) -> BaseException:
    """Return the error of the run that *error* reports."""
    return error.cause if isinstance(error, RunFailed) else error


async def warm_up(
    runs: MeasuredRuns,
    sample: Feed,
    largest: int | None,
    *,
    on_progress: Callable[[str], object],
) -> dict[int, list[float]]:
    """
    Run 1, 2, 4, ... copies of the row *sample*; return the seconds of the runs, by their rows.

    With *largest*, in rows, the sweep ends at that size.  Without it the sweep ends at a plateau of
    the rate, at `MAX_WARMUP_ROWS`, or before the first size that cannot be run: the device may be
    out of memory, or the graph may be fixed to a number of rows.  *on_progress* is called with a
    line of text for each size.  Raises `SampleFailed` if the model fails to run one row, and
    `ModelError` if the device has no memory for one row or if a size up to *largest* cannot be run.
    """
    times: dict[int, list[float]] = {}
    for rows in sizes_up_to(largest or MAX_WARMUP_ROWS):
        try:
            # Beside other models a few runs do: their requests wait for each of them.
            repeats = few_runs if runs.beside else warmup_runs
            times[rows] = await runs.run_on_all(repeat_sample(sample, rows), repeats)
        except (CancelledError, ShuttingDown):
            raise
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if not times and not isinstance(error, OutOfMemory):
                raise SampleFailed(f"a run of one row failed: {reason}") from error
            if largest is not None or not times:
                raise ModelError(f"a run of {rows} rows failed: {reason}") from error
            on_progress(f"a run of {rows} rows failed, the largest batch is {max(times)}: {reason}")
            break
        measured = averages(times)
        on_progress(f"{rows} rows: {measured[rows] * 1e3:.1f} ms")
        if largest is None and has_plateaued(measured):
            break
    return times
