"""
Keep the counts of workers that have ended, so that no counter of all workers together falls.

Pure: reads no clock.
"""

from collections.abc import Collection

from server.metrics.readings import Readings
from server.workers.sums import add_up, counts_of, lost_counts, without_ended_series


class KeptCounts:
    """What the workers have reported last, by process id, and the counts of those that ended."""

    def __init__(self) -> None:
        self._last: dict[int, Readings] = {}
        self._ended = Readings()

    def report(self, pid: int, readings: Readings) -> None:
        """Note the *readings* of the process *pid*, which runs; keep the counts that it lost."""
        before = self._last.get(pid)
        if before is not None:
            self._keep(lost_counts(before, readings))
        self._last[pid] = readings

    def forget_ended(self, running: Collection[int]) -> None:
        """Keep the counts of all processes but those in *running*: they have ended."""
        for pid in [it for it in self._last if it not in running]:
            self._keep(counts_of(self._last.pop(pid)))

    def _keep(self, counts: Readings) -> None:
        if counts.numbers or counts.counts or counts.process:
            self._ended = add_up([self._ended, counts])

    def total(self, answered: Collection[int]) -> Readings:
        """
        Return the sum of what the processes in *answered* have reported, and of the counts kept.

        Of another process that runs, only the counts are added: its gauges are out of date.
        """
        self._ended = without_ended_series(self._ended, self._last.values())
        parts = [it if pid in answered else counts_of(it) for pid, it in self._last.items()]
        return add_up([self._ended, *parts])
