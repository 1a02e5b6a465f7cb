"""
Hold the results of a yardstick that compares servers: trim them, and ask them.

Pure.  Figures are medians over the rounds.  Ratios are taken within a round, then their median, for
a machine may be slower in one round than in another.

A is the null model, B a JPEG to its best labels, C the same under arrivals at a fixed rate, D a
tensor, E memory, start and CPU.  A point is the number of clients, in C a share of the capacity,
in E the moment, and of the offline loops the arrangement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.kept import Kept
from benchmarks.machine import told

OURS = "tensorferry"
#: What the yardstick calls the server in its last slot.
SLOT = "new"
#: No servers but ceilings: a web server with a fixed answer, and the model without HTTP.
NGINX, OFFLINE = "nginx", "offline"

#: The figures of a run that are kept.
FIGURES = (
    "rate", "offered", "goodput", "sent", "p50", "p99", "refused", "refused_p99", "errors",
    "cpu_per_1000", "other_cores", "cold_start", "idle_cores", "rss_idle", "pss_idle", "rss_peak",
    "pss_loaded",
)  # fmt: skip

#: Of these, those that are kept where they are not 0 in every round.
TROUBLE = frozenset({"errors", "refused", "refused_p99"})

#: The yardstick tries no higher rate on a server with less good answers than this share of them.
HOPELESS = 0.05

_OPTIONS = ("rounds", "seconds", "open_seconds", "slo_ms", "capacity")

#: A point of a workload.
Point = int | float | str


def trimmed(result: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return of a yardstick's *result* what is kept: a row for each point, a list for each figure.

    Lists have an item a round.  Settings, paths and messages are left out; of the servers that
    failed the names stay.
    """
    places: dict[tuple[str, str, Point], list[Mapping[str, Any]]] = {}
    for run in result["runs"]:
        place = (run["workload"], _name(run["peer"]), run["point"])
        places.setdefault(place, []).append(run)
    options = result["options"]
    return {
        "what": "yardstick",
        "machine": told(result["machine"]),
        "options": {key: options[key] for key in _OPTIONS if key in options},
        "failed": [_failed(name) for name in result.get("failed") or ()],
        "rows": [_row(place, runs) for place, runs in places.items()],
    }


def of_workload(workload: str, kept: Kept) -> dict[str, Any]:
    """Return *kept* with the rows of one *workload*, as a measurement of how load is shed."""
    rows = [row for row in kept["rows"] if row["workload"] == workload]
    return {**kept, "what": "shedding", "rows": rows}


def _name(peer: str) -> str:
    return OURS if peer == SLOT else peer


def _failed(name: str) -> str:
    peer, _, model = name.partition(" ")
    return f"{_name(peer)} {model}".strip()


def _row(place: tuple[str, str, Point], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of *runs*; those that only tell of trouble where there was some."""
    figures = {key: [run.get(key) for run in runs] for key in FIGURES}
    return {
        **dict(zip(("workload", "peer", "point"), place, strict=True)),
        "round": [run["round"] for run in runs],
        **{
            key: values
            for key, values in figures.items()
            if (any(values) if key in TROUBLE else set(values) != {None})
        },
    }


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The questions that a page asks of results that were trimmed."""

    kept: Kept

    def row(self, workload: str, peer: str, point: Point | None) -> Mapping[str, Any]:
        """Return a row, empty where there is none."""
        place = (workload, peer, point)
        return next((r for r in self.kept["rows"] if _place(r) == place), {})

    def peers(self, workload: str) -> list[str]:
        """Return the servers in *workload*, ours too, the fastest first."""
        names = {r["peer"]: None for r in self.kept["rows"] if r["workload"] == workload}
        servers = [name for name in names if name not in {NGINX, OFFLINE}]
        return sorted(servers, key=lambda name: -self.highest(workload, name))

    def points(self, workload: str, peer: str | None = None) -> list[Point]:
        """Return the points of *workload* that *peer*, or else any server, was measured at."""
        found = {
            row["point"]: None
            for row in self.kept["rows"]
            if row["workload"] == workload
            and (row["peer"] == peer if peer else row["peer"] not in {NGINX, OFFLINE})
        }
        return list(found)

    def rounds(self, workload: str, peer: str, point: Point) -> int:
        """Return in how many rounds *peer* was measured there."""
        return len(set(self.row(workload, peer, point).get("round", ())))

    def gave_up(self, peer: str, share: Point) -> bool:
        """Return whether *peer* was not tried in C at *share*, hopeless as it was before that."""
        before = [point for point in self.points("C", peer) if float(point) < float(share)]
        if self.rounds("C", peer, share) or not before:
            return False
        last = self.row("C", peer, max(before, key=float))
        figures = zip(last["goodput"], last["offered"], strict=True)
        return all(good < HOPELESS * offered for good, offered in figures)

    def middle(
        self, workload: str, peer: str, point: Point | None, key: str = "rate"
    ) -> float | None:
        """Return the median of a figure; None where it was not measured."""
        row = self.row(workload, peer, point)
        if row and key not in row and key in TROUBLE:
            return 0
        values = [value for value in row.get(key, ()) if value is not None]
        return median(values) if values else None

    def highest(self, workload: str, peer: str) -> float:
        """Return the highest rate of *peer*, 0 without any; in C the most good answers."""
        key = "goodput" if workload == "C" else "rate"
        rates = [self.middle(workload, peer, p, key) for p in self.points(workload, peer)]
        return max((rate for rate in rates if rate is not None), default=0.0)

    def best_point(self, workload: str, peer: str) -> Point | None:
        """Return where *peer* has its highest rate."""
        points = self.points(workload, peer)
        return max(points, key=lambda p: self.middle(workload, peer, p) or 0, default=None)

    def ceiling(self, workload: str, point: Point) -> tuple[str, Point | None]:
        """Return the name and point of what no server can exceed: nginx in A, else offline."""
        if workload == "A":
            return NGINX, point
        return OFFLINE, self.best_point("D" if workload == "D" else "B", OFFLINE)

    def offered(self, share: Point) -> float | None:
        """Return the rate that all servers were offered in C at this share of the capacity."""
        rates = [self.middle("C", peer, share, "offered") for peer in self.peers("C")]
        return next((rate for rate in rates if rate is not None), None)

    def ratios(
        self, workload: str, point: Point, key: str, peer: str, to: tuple[str, Point | None]
    ) -> list[float]:
        """Return the figure of *peer* divided by that of *to*, of the rounds that have both."""
        mine, theirs = self.row(workload, peer, point), self.row(workload, *to)
        below = dict(zip(theirs.get("round", ()), theirs.get(key, ()), strict=False))
        pairs = zip(mine.get("round", ()), mine.get(key, ()), strict=False)
        return [
            value / below[round_]
            for round_, value in pairs
            if value is not None and below.get(round_)
        ]

    def ratio(
        self, workload: str, point: Point, key: str, peer: str, to: tuple[str, Point | None]
    ) -> float | None:
        """Return the median of those; None without any."""
        ratios = self.ratios(workload, point, key, peer, to)
        return median(ratios) if ratios else None

    def best_peer(
        self, workload: str, point: Point, key: str = "rate", *, least: bool = False
    ) -> str | None:
        """Return the server besides ours with the highest median of a figure, or the *least*."""
        figures = {
            name: value
            for name in self.peers(workload)
            if name != OURS and (value := self.middle(workload, name, point, key)) is not None
        }
        choose = min if least else max
        return choose(figures, key=lambda name: figures[name]) if figures else None


def _place(row: Mapping[str, Any]) -> tuple[str, str, Point]:
    return row["workload"], row["peer"], row["point"]


def noisy(yardstick: Yardstick, limit: float = 0.4) -> Sequence[str]:
    """Name the rows in any round of which other programs used more than *limit* cores."""
    return [
        f"{row['workload']} {row['peer']} {row['point']}"
        for row in yardstick.kept["rows"]
        if max((cores or 0 for cores in row.get("other_cores", ())), default=0) > limit
    ]
