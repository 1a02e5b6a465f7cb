"""
Draw latency over the load, as a PNG file.

Needs matplotlib, which the extra ``plot`` brings.
"""

from collections.abc import Sequence
from pathlib import Path

from scripts.load.plot import new_figure
from scripts.simulation.report import Row


def plot_loads(path: Path, title: str, rows: Sequence[Row], slo: float | None) -> None:
    """Write mean and p99 over the load to *path*; dashed, those of the tuned settings."""
    figure, axes = new_figure(1, 1, title)
    loads = [row.load for row in rows]
    for name, colour in (("mean_ms", "tab:blue"), ("p99_ms", "tab:orange")):
        values = [getattr(row.figures, name) for row in rows]
        axes.semilogy(loads, values, "o-", markersize=3, color=colour, label=name[:-3])
        if all(row.tuned for row in rows):
            values = [row.tuned and getattr(row.tuned.figures, name) for row in rows]
            axes.semilogy(loads, values, "--", color=colour, label=f"{name[:-3]}, tuned")
    if slo is not None:
        axes.axhline(slo * 1e3, color="tab:red", linewidth=1, label="SLO")
    axes.set(xlabel="load, share of the best rate", ylabel="latency, ms")
    axes.legend()
    figure.savefig(path, format="png")
