"""
Compare the server without flags with fixed settings, and check each figure against its bound.

Pure: makes tables from rows of `benchmarks.sleeping_runs`.  A row has, for each figure, a list with
one item per round.  A ratio is computed within each round, and the median over the rounds counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.kept import Kept
from benchmarks.tables import middle, number, table

#: The largest ratio of the mean latency without flags to that of the best fixed setting.
MAX_MEAN_RATIO = 1.05

#: The smallest ratio of the throughput without flags to greedy's: with these clients, and with any.
MIN_GAIN, GAIN_CLIENTS = 1.3, range(2, 9)
MIN_RATE_RATIO = 0.99

#: The smallest share of the capacity that is answered in time under overload, by arrivals.
MIN_GOODPUT = {"poisson": 0.95, "bursts": 0.78}

#: The largest p99 of the latency of a refusal, in milliseconds.
MAX_REFUSAL_MS = 50.0

Row = Mapping[str, Any]
Rows = Sequence[Row]


@dataclass(frozen=True, slots=True)
class BoundedFigure:
    """A figure and its bound."""

    name: str
    value: float | None  #: None where it was not measured
    bound: float
    least: bool = True  #: whether *bound* is a minimum; else a maximum

    @property
    def holds(self) -> bool:
        """Whether the figure is known and within its bound."""
        if self.value is None:
            return False
        return self.value >= self.bound if self.least else self.value <= self.bound

    def __str__(self) -> str:
        side = "min" if self.least else "max"
        verdict = "holds" if self.holds else "MISSED"
        return f"{self.name}: {number(self.value, 3)}, {side} {number(self.bound, 2)}: {verdict}"


def ratio(ours: Row, theirs: Row, name: str) -> float | None:
    """
    Return the median of the ratios of all rounds; None if no round has a ratio.

    A ratio is the figure *name* of *ours* divided by that of *theirs* in the same round.
    """
    pairs = zip(ours[name], theirs[name], strict=False)
    return middle(a / b for a, b in pairs if a is not None and b)


def report(kept: Kept) -> str:
    """Return, for each measured part, a line with its terms, a table, and a line for each bound."""
    texts = []
    for name, part in {"grid": grid, "closed": closed, "overload": overload}.items():
        if name in kept:
            terms = kept["terms"][name]
            lines, bounded = part(kept[name], terms)
            extent = f"{terms['rounds']} rounds of {terms['seconds']:g} s"
            head = f"{name}: a run of b rows takes {terms['curve']}, b <= {terms['cap']}; {extent}"
            texts += [head, table(lines), "\n".join(map(str, bounded))]
    return "\n\n".join(texts)


def best_fixed(rows: Rows) -> Row | None:
    """
    Return the row of the fixed setting with the smallest mean latency.

    The median over the rounds counts.  Settings that were not measured in all rounds are left out;
    None if no setting remains.
    """
    rounds = max((len(row["mean_ms"]) for row in rows), default=0)
    means = {
        place: mean
        for place, row in enumerate(rows)
        if row["max_batch"] is not None and len(row["mean_ms"]) == rounds
        if (mean := middle(row["mean_ms"])) is not None
    }
    return rows[min(means, key=means.__getitem__)] if means else None


def grid(rows: Rows, _: Row) -> tuple[list[Row], list[BoundedFigure]]:
    """
    Return two rows for each load, and the bounded figures.

    The rows are those without flags and of the best fixed setting.  The bounded figure of a load is
    the mean latency without flags divided by that of the best fixed setting.
    """
    lines: list[Row] = []
    bounded = []
    for share in sorted({row["load"] for row in rows}):
        its = [row for row in rows if row["load"] == share]
        ours = next(row for row in its if row["max_batch"] is None)
        best = best_fixed(its)
        value = ratio(ours, best, "mean_ms") if best else None
        bounded.append(
            BoundedFigure(
                f"mean latency at load {share:g}, to the best fixed", value, MAX_MEAN_RATIO, False
            )
        )
        for setting, row in (("no flags", ours), ("best fixed", best)):
            if row and best:
                ratios = {f"{key}_ratio": ratio(row, best, key) for key in ("mean_ms", "p99_ms")}
                lines.append({"setting": setting, **row, **ratios})
    return lines, bounded


def closed(rows: Rows, _: Row) -> tuple[list[Row], list[BoundedFigure]]:
    """
    Return a row for each number of clients, and the bounded figures.

    A row has the throughput without flags, that of the greedy setting, and the ratio.
    """
    by = {(row["clients"], row["policy"]): row for row in rows}
    counts = sorted({row["clients"] for row in rows})
    gains = {count: ratio(by[count, "auto"], by[count, "greedy"], "rate") for count in counts}
    lines: list[Row] = [
        {
            "clients": count,
            **{f"{name}_{key}": by[count, name][key] for name in ("auto", "greedy")
               for key in ("rate", "mean_rows", "server_cores")},
            "ratio": gain,
        }
        for count, gain in gains.items()
    ]  # fmt: skip
    known = {count: gain for count, gain in gains.items() if gain is not None}
    few = [gain for count, gain in known.items() if count in GAIN_CLIENTS]
    least = min(known.values(), default=None)
    return lines, [
        BoundedFigure("throughput to greedy's, 2 to 8 clients", min(few, default=None), MIN_GAIN),
        BoundedFigure("throughput to greedy's, any clients", least, MIN_RATE_RATIO),
    ]


def overload(rows: Rows, terms: Row) -> tuple[list[Row], list[BoundedFigure]]:
    """Return all rows, each with its share of the possible goodput, and the bounded figures."""
    lines: list[Row] = [{**row, "good_share": good_share(row, terms)} for row in rows]
    bounded = []
    for pattern, bound in MIN_GOODPUT.items():
        shares = [line["good_share"] for line in lines if line["arrivals"] == pattern]
        known = [share for share in shares if share is not None]
        bounded.append(
            BoundedFigure(f"goodput to the possible, {pattern}", min(known, default=None), bound)
        )
    late = [middle(row["refused_p99_ms"]) for row in rows]
    latest = max((each for each in late if each is not None), default=None)
    return lines, [*bounded, BoundedFigure("p99 of refusals, ms", latest, MAX_REFUSAL_MS, False)]


def good_share(row: Row, terms: Row) -> float | None:
    """
    Return the goodput divided by the possible goodput, as a median over the rounds.

    The possible goodput is the smaller of the capacity and the offered rate.
    """
    pairs = zip(row["goodput"], row["offered"], strict=True)
    return middle(good / min(came, float(terms["capacity"])) for good, came in pairs if came)
