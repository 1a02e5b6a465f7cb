"""
Draw what the page shows: the standing among servers, and the CPU of a request by part.

Needs matplotlib, which the extra `plot` brings; imported when something is drawn.
"""

from collections.abc import Mapping
from math import floor, log10, nan
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.kept import Kept
from benchmarks.page import PLOTS
from benchmarks.parts import PARTS
from benchmarks.yardstick import OURS, Point, Yardstick
from benchmarks.yardstick_page import LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUR_COLOUR, CEILING_COLOUR = "#c1272d", "#222222"
#: Those of the others, in the order of their names, so that each has the same in every panel.
COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#aa3377", "#88a0b8", "#a08060", "#bbbbbb")


def draw(kept: Mapping[str, Kept], folder: Path) -> None:
    """Write the plots of the measurements *kept* into *folder*."""
    if "yardstick" in kept:
        _save(_standing(Yardstick(kept["yardstick"])), folder / PLOTS["yardstick"])
    if "profile" in kept:
        _save(_shares(kept["profile"]), folder / PLOTS["profile"])


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # noqa: PLC0415 - only a person who draws needs it

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: "Figure", path: Path) -> None:
    # Without the version of matplotlib, so that the same figures give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _standing(yardstick: Yardstick) -> "Figure":
    """Draw a panel for each of A to D that was measured."""
    panels = {
        "A": ("A: null model, answers/s, in powers of ten", _bars),
        "B": ("B: JPEG, images/s over clients", _lines),
        "C": ("C: good answers/s over the share of the capacity", _lines),
        "D": ("D: tensor, images/s", _bars),
    }
    taken = [workload for workload in panels if yardstick.points(workload)]
    figure = _figure(11, 4.2 * ((len(taken) + 1) // 2) + 0.4)
    grid = list(figure.subplots((len(taken) + 1) // 2, 2, squeeze=False).flat)
    for axes in grid[len(taken) :]:
        axes.set_axis_off()
    for workload, axes in zip(taken, grid, strict=False):
        title, paint = panels[workload]
        axes.set_title(title, loc="left", fontsize=10)
        paint(axes, yardstick, workload)
        axes.spines[["top", "right"]].set_visible(False)
    handles = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, fontsize=9)
    return figure


def _colour(yardstick: Yardstick, peer: str) -> str:
    others = sorted({name for workload in "ABCD" for name in yardstick.peers(workload)} - {OURS})
    return OUR_COLOUR if peer == OURS else COLOURS[others.index(peer) % len(COLOURS)]


def _bars(axes: "Axes", yardstick: Yardstick, workload: str) -> None:
    """Draw a group of bars for each number of clients; A over powers of ten."""
    points, peers = yardstick.points(workload), yardstick.peers(workload)
    width = 0.84 / max(1, len(peers))
    for place, peer in enumerate(peers):
        rates = [yardstick.middle(workload, peer, point) or 0 for point in points]
        where = [group - 0.42 + width * (place + 0.5) for group in range(len(points))]
        axes.bar(
            where, rates, width * 0.92, label=LABELS.get(peer, peer), color=_colour(yardstick, peer)
        )
    for group, point in enumerate(points):
        ceiling = yardstick.middle(workload, *yardstick.ceiling(workload, point))
        if ceiling:
            axes.hlines(
                ceiling, group - 0.45, group + 0.45, color=CEILING_COLOUR, linestyles="dashed",
                label="ceiling",
            )  # fmt: skip
    axes.set_xticks(range(len(points)), [f"{point} clients" for point in points])
    if workload == "A":
        axes.set_yscale("log")
        axes.set_ylim(bottom=10 ** floor(log10(axes.get_ylim()[0])))


def _lines(axes: "Axes", yardstick: Yardstick, workload: str) -> None:
    """Draw a line for each server, hollow where it has not all rounds; C's ceiling is the offer."""
    key = "goodput" if workload == "C" else "rate"
    points = sorted(yardstick.points(workload), key=float)
    for peer in yardstick.peers(workload):
        rates = [yardstick.middle(workload, peer, point, key) for point in points]
        seen = [
            (point, rate) for point, rate in zip(points, rates, strict=True) if rate is not None
        ]
        axes.plot(
            [points.index(point) for point, _ in seen], [rate for _, rate in seen],
            marker="o", markersize=4, label=LABELS.get(peer, peer), color=_colour(yardstick, peer),
            linewidth=2.6 if peer == OURS else 1.3, zorder=3 if peer == OURS else 2,
        )  # fmt: skip
        every = yardstick.kept["options"]["rounds"]
        hollow = [p for p, _ in seen if yardstick.rounds(workload, peer, p) < every]
        axes.scatter(
            [points.index(point) for point in hollow], [dict(seen)[point] for point in hollow],
            s=16, facecolor="white", edgecolor=_colour(yardstick, peer), zorder=4,
        )  # fmt: skip
    axes.plot(
        range(len(points)), [_ceiling(yardstick, workload, point) for point in points],
        color=CEILING_COLOUR, linestyle="dashed", label="ceiling",
    )  # fmt: skip
    names = [f"{float(p):.0%}" if workload == "C" else f"{p}" for p in points]
    axes.set_xticks(range(len(points)), names)
    axes.set_ylim(bottom=0)


def _ceiling(yardstick: Yardstick, workload: str, point: Point) -> float:
    if workload == "C":
        return yardstick.offered(point) or nan
    return yardstick.middle(workload, *yardstick.ceiling(workload, point)) or nan


def _shares(profile: Kept) -> "Figure":
    """Draw a bar for each workload, divided among the parts in the order of the table."""
    workloads: Mapping[str, Kept] = profile["workloads"]
    figure = _figure(11, 1.6 + 0.7 * len(workloads))
    axes = figure.subplots()
    from matplotlib import colormaps  # noqa: PLC0415 - only a person who draws needs it

    palette = colormaps["tab20"]
    names = [f"{name} ({each['cpu_us_per_request']:,.0f} µs)" for name, each in workloads.items()]
    left = [0.0] * len(names)
    for number, part in enumerate(PARTS):
        shares = [_share(each, part.name) * 100 for each in workloads.values()]
        if max(shares) >= 1:
            axes.barh(names, shares, left=left, label=part.name, color=palette(number % 20))
        left = [before + share for before, share in zip(left, shares, strict=True)]
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the CPU of a request")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=5, fontsize=9)
    return figure


def _share(profiled: Kept, name: str) -> float:
    return next((float(p["share"]) for p in profiled["parts"] if p["part"] == name), 0.0)
