"""
Format the figures as a table: one row for each load and policy.

Pure: returns an object that rich prints.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scripts.simulation.figures import Figures
from scripts.simulation.policies import Tuned

COLUMNS = (
    *("load", "policy", "offered/s", "rate/s", "goodput/s", "in time"),
    *("mean ms", "p50 ms", "p99 ms", "rows", "refused", "dropped"),
)

#: A percentile is unreliable if fewer requests than this lie beyond it.
MIN_TAIL_REQUESTS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one policy at one load, and of the tuned setting if there is one."""

    load: float | None  #: as a share of the best rate of all lanes; None in a closed loop
    policy: str
    figures: Figures
    tuned: Tuned | None
    stable: bool  #: whether the policy can serve this load

    def as_json(self) -> dict[str, Any]:
        """Return the figures as data for JSON."""
        found = {
            "load": self.load,
            "policy": self.policy,
            **asdict(self.figures),
            "stable": self.stable,
        }
        if self.tuned is not None:
            found["tuned"] = {
                "max_batch": self.tuned.max_batch,
                "timeout_ms": self.tuned.timeout * 1e3,
                **asdict(self.tuned.figures),
            }
        return found


def of_rows(title: str, rows: Sequence[Row]) -> RenderableType:
    """Return the table of *rows* under *title*; a tuned setting has its own line below its row."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "policy" else "right")
    before: Row | None = None
    for row in rows:
        load = "-" if row.load is None else f"{row.load:.3g}"
        again = before is not None and before.load == row.load
        table.add_row("" if again else load, row.policy, *_cells(row.figures))
        if row.tuned is not None:
            table.add_row("", row.tuned.name, *_cells(row.tuned.figures))
        before = row
    return Group(Text(title, style="bold"), Text(""), table, *_warnings(rows))


def _cells(figures: Figures) -> Iterator[str]:
    for value in (figures.offered, figures.rate, figures.goodput):
        yield _number(value)
    yield f"{figures.goodput_share:.1%}"
    for value in (figures.mean_ms, figures.p50_ms, figures.p99_ms, figures.mean_rows):
        yield _number(value)
    yield f"{figures.refused:,}"
    yield f"{figures.dropped:,}"


def _warnings(rows: Sequence[Row]) -> Iterator[Text]:
    for policy in dict.fromkeys(row.policy for row in rows):
        unstable = [row for row in rows if row.policy == policy and not row.stable]
        if unstable:
            loads = ", ".join(f"{row.load:.3g}" for row in unstable if row.load is not None)
            sheds = any(row.figures.refused or row.figures.dropped for row in unstable)
            effect = "the rest is refused" if sheds else "latencies grow with --requests"
            yield _warning(f"{policy}, load {loads}: more arrive than can be served; {effect}")
    fewest = min(row.figures.requests for row in rows)
    if fewest / 100 < MIN_TAIL_REQUESTS:
        yield _warning(f"p99 of only {fewest} requests is not reliable: simulate more")


def _warning(line: str) -> Text:
    return Text(f"warning: {line}", style="yellow")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.{1 if value >= 100 else 2}f}"
