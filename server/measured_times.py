"""
Decide whether stored run times still hold, and whether measured ones are kept for the next start.

A measurement beside a busy program finds the cores slow: its times are used, but never stored, and
never replace stored ones.  The same holds for a measurement while other models are served.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

from twisted.logger import Logger

from batcher.errors import OutOfMemory
from model.execution.disturbance import OtherPrograms, disturbance, quartiles
from model.execution.warmup import MeasuredRuns, averages, sweep_is_complete, warm_up
from model.execution.warmup_runs import MAX_WARMUP_RUNS
from model.repository.cache import CacheUnavailableError, user_cache_folder
from model.repository.latencies import store_latencies, stored_latencies
from model.signature import Feed, Signature

_log = Logger()

#: A stored time holds unless three quarters of the runs now differ from it by this factor.  The
#: times of a start beside a busy program were 1.4 to 2.6 times those of a quiet one; smaller
#: differences are corrected while the server runs.
MAX_STORED_RATIO = 1.25


def slow_sizes(stored: Mapping[int, float], times: Mapping[int, Sequence[float]]) -> list[int]:
    """Return the sizes of which the *stored* seconds are clearly above the runs in *times*."""
    return [
        rows for rows, now in times.items() if stored[rows] > MAX_STORED_RATIO * quartiles(now)[2]
    ]


def quick_sizes(stored: Mapping[int, float], times: Mapping[int, Sequence[float]]) -> list[int]:
    """Return the sizes of which the *stored* seconds are clearly below the runs in *times*."""
    return [
        rows for rows, now in times.items() if MAX_STORED_RATIO * stored[rows] < quartiles(now)[0]
    ]


class MeasuredTimes:
    """The run times of the signatures of one model, from the cache or measured by *runs*."""

    def __init__(
        self,
        runs: MeasuredRuns,
        fingerprint: str,
        *,
        watch: Callable[[], OtherPrograms],
        on_progress: Callable[[str], object],
    ) -> None:
        """
        *fingerprint* identifies the model and the device.

        *watch* begins to measure the share of the cores that other programs take.  *on_progress* is
        called with each step, in words.
        """
        self._runs = runs
        self._fingerprint = fingerprint
        self._watch = watch
        self._on_progress = on_progress
        self._cache_is_usable = True

    async def of(self, sample: Feed, largest: int | None) -> dict[int, float]:
        """
        Return the seconds of a run, by its rows.

        The runs have rows like *sample*, at most *largest*; None: the measurement finds the limit.
        Raises what `warm_up` raises.
        """
        key = latency_key(self._fingerprint, sample.signature, largest)
        stored = self._stored(key)
        if stored is not None and await self._holds(stored, sample):
            return stored
        watch = self._watch()
        times = await warm_up(
            self._runs,
            sample,
            largest,
            on_progress=lambda line: self._on_progress(f"warming up: {line}"),
        )
        measured = averages(times)
        if self._runs.beside:
            return measured
        if reason := disturbance(times.values(), watch.share()):
            self._on_progress(
                f"{reason} during the warm-up: its run times are not kept for the next start"
            )
        elif largest is not None or sweep_is_complete(measured):
            self._store(key, measured)
        return measured

    async def _holds(self, stored: dict[int, float], sample: Feed) -> bool:
        """
        Run each size in *stored*; return whether its seconds, by rows, are used for this start.

        Stored times above those of runs now were measured on a busy machine, even if the machine
        is busy now, too.  Stored times below are used if the machine is busy now.  While other
        models are served, stored times are always used: they are those of runs on all lanes at
        once.
        """
        self._on_progress("warming up")
        watch = self._watch()
        try:
            times = await self._runs.run_sizes(sample, stored)
        except OutOfMemory as error:
            self._on_progress(f"{error}, although it did before; measuring again")
            return False
        slow, quick = slow_sizes(stored, times), quick_sizes(stored, times)
        if self._runs.beside or not (slow or quick):
            return True
        rows = max(slow or quick)
        change = (
            f"a run of {rows} rows takes {averages(times)[rows] * 1e3:.1f} ms instead of the "
            f"stored {stored[rows] * 1e3:.1f} ms"
        )
        if not slow and (reason := disturbance(times.values(), watch.share())):
            self._on_progress(f"{change}, but {reason}: the stored run times are used")
            return True
        self._on_progress(f"{change}; measuring again")
        return False

    def _stored(self, key: str) -> dict[int, float] | None:
        try:
            return stored_latencies(user_cache_folder(), key)
        except CacheUnavailableError:
            return None

    def _store(self, key: str, measured: dict[int, float]) -> None:
        try:
            store_latencies(user_cache_folder(), key, measured)
        except CacheUnavailableError as error:
            if self._cache_is_usable:
                self._cache_is_usable = False
                _log.warn("run times are not kept for the next start: {error}", error=error)


def latency_key(fingerprint: str, signature: Signature, largest: int | None) -> str:
    """
    Return the key of the stored run times of *signature*.

    *fingerprint* identifies the model and the device.  *largest* is the limit of the warm-up in
    rows, or None.  The key depends on it, because a warm-up that stops at a given size does not
    show at which size it would have stopped without that limit.
    """
    facts = f"{fingerprint} {signature} {largest or 'learned'} {MAX_WARMUP_RUNS} runs"
    return hashlib.sha256(facts.encode()).hexdigest()
