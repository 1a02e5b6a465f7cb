"""
Format the measurements of a comparison as tables.

Pure.  A figure is the median over the rounds.  A ratio is computed within each round, and the table
has the median of the ratios.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.tables import middle, table

#: No servers but ceilings: a web server with a fixed answer, and the model without HTTP.
NGINX, OFFLINE = "nginx", "offline"

#: With this, the names of all rows of this server begin.
OURS = "tensorferry"

TITLES = {
    "A": "A: the null model, a body of 1 KiB, closed loop; the ceiling is nginx",
    "B": "B: a JPEG, closed loop; the ceiling is the best offline loop",
    "C": "C: a JPEG, Poisson arrivals at shares of the capacity",
    "D": "D: a float32 tensor, closed loop; the ceiling is the best offline loop",
    "T": "T: a row of 30 numbers in JSON, closed loop; the ratio is to the best other server",
    "E": "E: start and memory (MiB)",
}

#: The figures of each workload that are printed.
FIGURES = {
    "A": ("rate", "ratio", "p50", "p99", "errors", "cpu_per_1000"),
    "B": ("rate", "ratio", "p50", "p99", "errors", "cpu_per_1000"),
    "C": (
        "offered", "goodput", "good_share", "p50", "p99", "refused_share", "refused_p99", "errors",
    ),
    "D": ("rate", "ratio", "p50", "p99", "errors", "cpu_per_1000"),
    "T": ("rate", "ratio", "p50", "p99", "errors", "cpu_per_1000"),
    "E": ("cold_start", "idle_cores", "rss", "pss"),
}  # fmt: skip

#: A measurement during which other programs used more cores than this is listed as disturbed.
NOISE = 0.4

Run = Mapping[str, Any]


def report(kept: Mapping[str, Any]) -> str:
    """Return a table for each workload, then the disturbed measurements and the failed servers."""
    options = kept["options"]
    capacity = f"{options['capacity']:g} images/s" if options["capacity"] else "not measured"
    extent = (
        f"{options['rounds']} rounds of {options['seconds']} s (C: {options['open_seconds']} s;"
        f" capacity: {capacity}; good: {options['slo_ms']} ms)"
    )
    texts = [
        f"{kept['commit']}, {kept['date']}; {extent}",
        "versions: " + ", ".join(f"{name} {each}" for name, each in kept["versions"].items()),
    ]
    for workload, title in TITLES.items():
        runs = [run for run in kept["runs"] if run["workload"] == workload]
        if runs:
            texts += [title, table(rows(workload, runs))]
    noisy = {
        f"{run['workload']} {run['peer']} {run['point']} (round {run['round'] + 1})": None
        for run in kept["runs"]
        if run.get("other_cores", 0) > NOISE
    }
    if noisy:
        texts.append(f"Other programs used more than {NOISE} cores in: {', '.join(noisy)}")
    texts += [f"Failed: {name}: {error}" for name, error in kept["failed"].items()]
    return "\n\n".join(texts)


def rows(workload: str, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """
    Return a row for each point and server in *runs*, which are those of one workload.

    The rows of a point are together, the fastest server first.
    """
    ceiling = best_ceiling(runs)
    by: dict[tuple[float | str, str], list[Run]] = {}
    for run in runs:
        by.setdefault((run["point"], run["peer"]), []).append(run)
    found = [
        {
            "server": peer,
            "point": f"{point:.0%}" if workload == "C" else f"{point}",
            **{key: middle(_figures(key, its, ceiling)) for key in FIGURES[workload]},
        }
        for (point, peer), its in by.items()
    ]
    key = "goodput" if workload == "C" else "rate"
    points = list(dict.fromkeys(row["point"] for row in found))
    return sorted(found, key=lambda row: (points.index(row["point"]), -(row.get(key) or 0)))


def best_ceiling(runs: Sequence[Run]) -> dict[tuple[int, float | str], float]:
    """
    Return the rate of the ceiling by round and point.

    The ceiling of the null model is nginx, for each point its own rate.  That of tables is the best
    rate of all servers but this one, at any point.  Otherwise the ceiling is the offline loop in
    its best arrangement, with the same rate for all points.
    """
    runs = [run for run in runs if "rate" in run]
    if any(run["workload"] == "T" for run in runs):
        return _best_others(runs)
    offline: dict[float | str, list[float]] = {}
    for run in runs:
        if run["peer"] == OFFLINE:
            offline.setdefault(run["point"], []).append(run["rate"])
    best = max(offline, key=lambda point: middle(offline[point]) or 0.0, default=None)
    points = {run["point"] for run in runs}
    return {
        (run["round"], point): run["rate"]
        for run in runs
        for point in ([run["point"]] if run["peer"] == NGINX else points)
        if run["peer"] == NGINX or (run["peer"] == OFFLINE and run["point"] == best)
    }


def _best_others(runs: Sequence[Run]) -> dict[tuple[int, float | str], float]:
    """Return the best rate of the servers that are not this one, by round and point."""
    best: dict[int, float] = {}
    for run in runs:
        if not run["peer"].startswith(OURS):
            best[run["round"]] = max(best.get(run["round"], 0.0), run["rate"])
    return {
        (run["round"], run["point"]): best[run["round"]] for run in runs if run["round"] in best
    }


def _figures(
    key: str, runs: Sequence[Run], ceiling: Mapping[tuple[int, float | str], float]
) -> list[float | None]:
    """
    Return the figure *key* of each of *runs*, the rounds of one server at one point.

    For the key `ratio`, the figure is the rate divided by that of *ceiling*, in the same round and
    at the same point.  None: the figure is unknown.
    """
    found: list[float | None] = []
    for run in runs:
        if key == "ratio":
            top = ceiling.get((run["round"], run["point"]))
            found.append(run["rate"] / top if top else None)
        elif key == "good_share":
            found.append(run["goodput"] / run["offered"] if run["offered"] else None)
        elif key == "refused_share":
            found.append(run["refused"] / run["sent"] if run["sent"] else None)
        else:
            found.append(run.get(key))
    return found
