"""
Draw the figures of loads as PNG files.

Needs matplotlib, which the extra ``plot`` installs; it is imported at the first drawing.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.load.record import Record
from scripts.load.search import Point
from scripts.load.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The error message where `has_config_folder` is false.
NO_CONFIG_FOLDER = (
    "--png: matplotlib has no folder to write to: set MPLCONFIGDIR to one that can be written"
)

#: About the most requests that are drawn, and the share of slowest requests that are always drawn.
MAX_POINTS, SLOWEST_SHARE = 20_000, 0.001


def can_plot() -> bool:
    """Return whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def has_config_folder() -> bool:
    """Return whether matplotlib finds a folder for its cache; matplotlib must be installed."""
    try:
        import_module("matplotlib.figure")
    except (OSError, RuntimeError):
        return False
    return True


def plot_load(path: Path, title: str, record: Record, summary: Summary) -> None:
    """
    Write a PNG file with four plots of one load to *path*.

    They show latencies over time, latencies by percentile, answers over time, and batch sizes.
    """
    counts = (
        f"answered {summary.answered:,}, refused {summary.refused:,}, errors {summary.errors:,}"
    )
    figure, axes = new_figure(2, 2, f"{title}\n{counts}")
    due, latencies = np.frombuffer(record.intended), np.frombuffer(record.latencies) * 1e3
    every = max(1, len(due) // MAX_POINTS)
    drawn = np.arange(len(due)) % every == 0
    if len(due):
        drawn |= latencies >= np.percentile(latencies, 100 - 100 * SLOWEST_SHARE)
    over_time, by_share, rates, batches = axes.flat
    over_time.semilogy(due[drawn], latencies[drawn], ".", markersize=2)
    over_time.axhline(summary.slo_ms, color="tab:red", linewidth=1)
    over_time.set(xlabel="due, s", ylabel="latency, ms", title="latency over time")
    _by_share(by_share, np.sort(latencies), record.unanswered)
    ended = np.frombuffer(record.ended)
    if len(ended):
        rates.stairs(
            *np.histogram(ended, np.arange(0, np.ceil(max(ended.max(), summary.duration)) + 1))
        )
    rates.set(xlabel="s", ylabel="answers/s", title="answers", ylim=(0, None))
    batches.bar(list(summary.requests_by_rows), list(summary.requests_by_rows.values()))
    about_batches = "batches" if summary.requests_by_rows else "batches: not reported by the server"
    batches.set(xlabel="rows of the batch", ylabel="requests", title=about_batches)
    figure.savefig(path, format="png")


def _by_share(axes: "Axes", latencies: np.ndarray, unanswered: int) -> None:
    """
    Draw latencies over 1 / (1 - share), so that p90, p99 and p99.9 are equally far apart.

    *unanswered* requests count as the slowest, but are not drawn.
    """
    if len(latencies):
        sent = len(latencies) + unanswered
        axes.loglog(sent / np.arange(sent, unanswered, -1), latencies)
    nines = {1: "min", 2: "p50", 10: "p90", 100: "p99", 1000: "p99.9", 10000: "p99.99"}
    shown = [place for place in nines if place <= max(2, len(latencies))]
    axes.set_xticks(shown, [nines[place] for place in shown])
    axes.tick_params(axis="x", which="minor", bottom=False)
    axes.set(ylabel="latency, ms", title="latency by percentile")


def plot_search(path: Path, title: str, points: Sequence[Point], slo: float) -> None:
    """
    Write a PNG file with the p50, the p99 and the goodput of each rate to *path*.

    *slo* is in seconds.
    """
    figure, (latency, goodput) = new_figure(1, 2, title)
    points = list({point.rate: point for point in points}.values())  # the last of each rate
    rates = [point.rate for point in points]
    for name in ("p50_ms", "p99_ms"):
        values = [getattr(point.summary, name) for point in points]
        known = [np.nan if value is None else value for value in values]
        latency.semilogy(rates, known, "o-", markersize=3, label=name[:3])
    latency.axhline(slo * 1e3, color="tab:red", linewidth=1, label="SLO")
    latency.set(xlabel="requests/s", ylabel="latency, ms", title="latency over the rate")
    latency.legend()
    goodput.plot(rates, rates, color="lightgrey", label="offered")
    goodput.plot(rates, [point.summary.goodput for point in points], "o-", markersize=3)
    goodput.set(xlabel="requests/s", ylabel="answers in time/s", title="goodput over the rate")
    figure.savefig(path, format="png")


def new_figure(rows: int, columns: int, title: str) -> Any:  # Any: pyplot's own shape of axes
    """Return a figure of *rows* x *columns* plots under *title*, and the axes of the plots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    figure = Figure(figsize=(5.5 * columns, 3.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    return figure, figure.subplots(rows, columns)
