"""
Draw latencies over the load, as a PNG file.

Needs matplotlib, which the extra ``plot`` installs.
"""

from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.load.plot import new_figure
from scripts.simulation.report import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_loads(path: Path, title: str, rows: Sequence[Row], slo: float | None) -> None:
    """
    Write a PNG file with the mean and the p99 of each policy over the load to *path*.

    Lines of tuned settings are dashed; *slo* is in seconds.
    """
    figure, panels = new_figure(1, 2, title)
    for axes, name in zip(panels, ("mean_ms", "p99_ms"), strict=True):
        for policy in dict.fromkeys(row.policy for row in rows):
            its = [row for row in rows if row.policy == policy]
            _draw(axes, its, [getattr(row.figures, name) for row in its], "o-", policy)
        best = [(row, row.tuned.figures) for row in rows if row.tuned]
        if best:
            values = [getattr(figures, name) for _, figures in best]
            _draw(axes, [row for row, _ in best], values, "k--", "tuned for each load")
        if slo is not None:
            axes.axhline(slo * 1e3, color="tab:red", linewidth=1, label="SLO")
        axes.set(xlabel="load, share of the best rate", ylabel="ms", title=name[:-3])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, format="png")


def _draw(
    axes: "Axes", rows: Sequence[Row], values: Sequence[float | None], style: str, label: str
) -> None:
    loads = [row.load for row in rows]
    known = [nan if value is None else value for value in values]
    axes.semilogy(loads, known, style, markersize=3, linewidth=1, label=label)
