"""
Show the progress of a load on a terminal: one line, drawn again a few times a second.

Draws on the reactor thread: a thread of its own would delay the requests that are measured.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from scripts.load.measure import Progress

if TYPE_CHECKING:
    from scripts.load.record import Record


class ProgressLine:
    """A context manager that shows the line, but only if *console* is a terminal."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._shown = console.is_terminal
        self._seen: tuple[Record | None, int, float] = (None, 0, 0.0)

    def __enter__(self) -> Self:
        if self._shown:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._live.stop()

    def draw(self, progress: Progress) -> None:
        """Replace the line on the terminal by that of *progress*."""
        if self._shown:
            self._live.update(Text(self.line(progress)), refresh=True)

    def line(self, progress: Progress) -> str:
        """
        Return the text of the line; its rate and latencies are of the answers since the last call.
        """
        record = progress.record
        before, at = self._seen[1:] if self._seen[0] is record else (0, 0.0)
        recent = np.frombuffer(record.latencies[before:])
        self._seen = (record, len(record.latencies), progress.elapsed)
        rate = len(recent) / max(progress.elapsed - at, 1e-9)
        p50, p99 = (
            (f"{1e3 * each:.1f}" for each in np.percentile(recent, (50, 99)))
            if len(recent)
            else ("-", "-")
        )
        return (
            f"{progress.elapsed:5.1f}/{progress.seconds:g} s  "
            f"{progress.server}  {progress.load.name}  "
            f"{rate:,.0f}/s  p50 {p50} ms  p99 {p99} ms  in flight {progress.in_flight}  "
            f"answered {len(record.latencies):,}  refused {record.refused:,}  "
            f"errors {sum(record.errors.values()):,}"
        )
