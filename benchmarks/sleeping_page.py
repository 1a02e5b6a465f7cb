"""
Write how the server did against itself, and whether it is as good as it is to be.

Pure: a measurement in, Markdown out.  Ratios are taken within a round, and their median counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median, stdev
from typing import Any

from benchmarks.kept import Kept
from benchmarks.markdown import DASH, bold, figure, number, paragraphs, percent, table

#: Of the best fixed setting's mean latency, the most that the server without flags may take.
MOST_OF_BEST = 1.05

#: Of greedy's throughput, the least with so many clients, and with any number.
GAIN, GAINING = 1.3, range(2, 9)
LEAST_OF_GREEDY = 0.99

#: Of the capacity, the least that is to be answered in time under overload, by arrivals.
LEAST_GOODPUT = {"poisson": 0.95, "bursts": 0.78}

#: Milliseconds within which 99 of 100 refusals are to be told.
REFUSED_WITHIN = 50.0

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and what it is to be."""

    name: str
    value: float | None  #: None where it was not measured
    bound: float
    least: bool = True  #: whether *bound* is the least it may be; else the most
    error: float | None = None  #: its standard error, where that is known

    @property
    def holds(self) -> bool:
        """Whether the figure is as it is to be."""
        if self.value is None:
            return False
        return self.value >= self.bound if self.least else self.value <= self.bound

    def __str__(self) -> str:
        side = "at least" if self.least else "at most"
        verdict = "holds" if self.holds else "**missed**"
        value = number(self.value, 1 if self.value is not None and self.value >= 10 else 3)
        if self.error is not None:
            value += f" ± {number(self.error, 3)}"
        return f"{self.name}: {value}, {side} {number(self.bound, 2)}: {verdict}"


#: Who is compared where clients wait for their answers: no flags, and who never waits.
POLICIES = ("auto", "greedy")


def middle(values: Iterable[float | None]) -> float | None:
    """Return the median of those that are known."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def ratio(ours: Row, theirs: Row, name: str) -> float | None:
    """Return the median of our figure to theirs of the same round."""
    return middle(_ratios(ours, theirs, name))


def ratio_error(ours: Row, theirs: Row, name: str) -> float | None:
    """Return the standard error of `ratio`; None of fewer than two rounds."""
    known = _ratios(ours, theirs, name)
    # The median of many that scatter normally is off by a quarter more than the average.
    return 1.25 * stdev(known) / sqrt(len(known)) if len(known) > 1 else None


def _ratios(ours: Row, theirs: Row, name: str) -> list[float]:
    pairs = zip(ours[name], theirs[name], strict=False)
    return [a / b for a, b in pairs if a is not None and b]


def section(kept: Kept) -> str:
    """Return the section on all parts that were measured."""
    parts = {"grid": _grid, "closed": _closed, "overload": _overload}
    return paragraphs(
        "## The server against itself",
        "The whole server over HTTP, with a model that sleeps for the time of a run, without the"
        " interpreter lock, and takes no core; the client has the same cores."
        " `python -m benchmarks.sleeping run`. Medians of the rounds, which are interleaved;"
        " ratios are taken within a round.",
        *(write(kept[name], kept["terms"][name]) for name, write in parts.items() if name in kept),
    )


def _rounds(terms: Row) -> str:
    rounds = "1 round" if terms["rounds"] == 1 else f"{number(terms['rounds'])} rounds"
    return f"{rounds} of {number(terms['seconds'])} s"


def verdicts(bars: Sequence[Bar]) -> str:
    """Return a line for each bar."""
    return "\n".join(f"- {bar}" for bar in bars)


# --- against fixed settings


def best_fixed(rows: Sequence[Row], share: float) -> Row | None:
    """Return the row of the fixed setting with the least mean latency at a load of *share*."""
    rounds = max((len(row["mean_ms"]) for row in rows if row["load"] == share), default=0)
    fixed = [
        row
        for row in rows
        if row["load"] == share
        and row["max_batch"] is not None
        and len(row["mean_ms"]) == rounds
        and middle(row["mean_ms"]) is not None
    ]
    return min(fixed, key=lambda row: middle(row["mean_ms"]) or 0.0, default=None)


def without_flags(rows: Sequence[Row], share: float) -> Row:
    """Return the row of the server without flags at a load of *share*."""
    return next(row for row in rows if row["load"] == share and row["max_batch"] is None)


def grid_bars(rows: Sequence[Row]) -> list[Bar]:
    """Return for each load how the server without flags does beside the best fixed setting."""
    bars = []
    for share in sorted({row["load"] for row in rows}):
        best = best_fixed(rows, share)
        value = ratio(without_flags(rows, share), best, "mean_ms") if best else None
        name = f"mean latency at {percent(share)}, to the best of the grid"
        bars.append(Bar(name, value, MOST_OF_BEST, least=False))
    return bars


def _grid(rows: Sequence[Row], terms: Row) -> str:
    lines = []
    for share in sorted({row["load"] for row in rows}):
        ours = without_flags(rows, share)
        fixed = [row for row in rows if row["load"] == share and row is not ours]
        best = best_fixed(rows, share)
        fixed.sort(key=lambda row: (-len(row["mean_ms"]), middle(row["mean_ms"]) or 0.0))
        close = [row for row in fixed if len(row["mean_ms"]) == len(ours["mean_ms"])]
        others = [row for row in fixed if row not in close]
        lines += [bold(_setting(ours, best)), *(_setting(row, best) for row in close)]
        if others:
            lines.append(_rest(others, share, best))
    head = ["load", "setting", "mean ms", "of the best", "p99 ms", "of the best's", "rows a batch"]
    return paragraphs(
        "### No flags against fixed settings",
        f"A run of b rows takes {terms['curve']}, at most {terms['cap']} rows:"
        f" {figure(terms['capacity'])} a second at best. Poisson arrivals at shares of that, the"
        f" same ones for each server in a round; {_rounds(terms)}. Each request grants 10 s, so"
        f" that none is refused. The grid has {number(terms['settings'])} settings. Not tried are"
        " those whose full batches cannot keep up, and after the first round those that are not"
        " close to the best.",
        table(head, lines, words=2),
        verdicts(grid_bars(rows)),
    )


def _setting(row: Row, best: Row | None) -> list[str]:
    name = "no flags" if row["max_batch"] is None else _name(row)
    to_best = {
        key: ratio(row, best, key) if best is not None else None for key in ("mean_ms", "p99_ms")
    }
    return [
        percent(row["load"]), name,
        figure(middle(row["mean_ms"])), number(to_best["mean_ms"], 3),
        figure(middle(row["p99_ms"])), number(to_best["p99_ms"], 3),
        figure(middle(row["mean_rows"])),
    ]  # fmt: skip


def _rest(rows: Sequence[Row], share: float, best: Row | None) -> list[str]:
    """Return a line for all settings that were tried in the first round alone."""
    means = [mean for row in rows if best and (mean := ratio(row, best, "mean_ms")) is not None]
    span = f"{number(min(means), 2)} to {number(max(means), 2)}" if means else DASH
    return [percent(share), f"{len(rows)} others, one round", "", span, "", "", ""]


def _name(row: Row) -> str:
    return f"{row['max_batch']} rows, {row['delay_ms']:g} ms"


# --- clients who wait for their answers


@dataclass(frozen=True, slots=True)
class Gain:
    """Our throughput to greedy's."""

    ratio: float | None
    error: float | None  #: its standard error, where that is known


def gains(rows: Sequence[Row]) -> dict[int, Gain]:
    """Return what is gained by the number of clients."""
    by = {(row["clients"], row["policy"]): row for row in rows}
    found = {}
    for count in sorted({row["clients"] for row in rows}):
        both = by[count, "auto"], by[count, "greedy"], "rate"
        found[count] = Gain(ratio(*both), ratio_error(*both))
    return found


def closed_bars(rows: Sequence[Row]) -> list[Bar]:
    """Return the least gain of a few clients, and of any number."""
    each = gains(rows)
    few = [gain for count, gain in each.items() if count in GAINING]
    return [
        _least("throughput to greedy's, least of 2 to 8 clients", few, GAIN),
        _least("least of any number", each.values(), LEAST_OF_GREEDY),
    ]


def _least(name: str, each: Iterable[Gain], bound: float) -> Bar:
    known = [(it.ratio, it.error) for it in each if it.ratio is not None]
    value, error = min(known, key=lambda pair: pair[0], default=(None, None))
    return Bar(name, value, bound, error=error)


def between_runs(row: Row, terms: Row) -> float | None:
    """Return the milliseconds from the end of a run to the next one's beginning, on average."""
    pairs = zip(row["rate"], row["mean_rows"], strict=True)
    return middle(rows / rate * 1e3 - _run_ms(rows, terms) for rate, rows in pairs if rate)


def longest_between_runs(clients: int, rate: float | None, terms: Row) -> float | None:
    """Return what lets all *clients* share each run and have *rate* answers a second."""
    return clients / rate * 1e3 - _run_ms(clients, terms) if rate else None


def _run_ms(rows: float, terms: Row) -> float:
    """Return how long a run takes; the times lie on a line."""
    first, last = terms["run_ms"]
    return float(first + (rows - 1.0) * (last - first) / (terms["cap"] - 1))


def _closed(rows: Sequence[Row], terms: Row) -> str:
    by = {(row["clients"], row["policy"]): row for row in rows}
    lines = []
    for count, gain in gains(rows).items():
        both = [by[count, name] for name in POLICIES]
        rates, batches, cores = (
            [figure(middle(row.get(key, ()))) for row in both]
            for key in ("rate", "mean_rows", "server_cores")
        )
        greedys = middle(both[1]["rate"])
        wanted = GAIN * greedys if greedys and count in GAINING else None
        pauses = between_runs(both[0], terms), longest_between_runs(count, wanted, terms)
        told = [number(milliseconds, 2) for milliseconds in pauses]
        ours = number(gain.ratio, 3), number(gain.error, 3)
        lines.append([number(count), *rates, *ours, *batches, *told, *cores])
    head = [
        "clients", "answers/s", "greedy's", "ratio", "±", "rows a batch", "greedy's",
        "ms between runs", f"for {number(GAIN, 1)}", "server's cores", "greedy's",
    ]  # fmt: skip
    return paragraphs(
        "### Clients who wait for their answers",
        f"A run of b rows takes {terms['curve']}, at most {terms['cap']} rows."
        f" Greedy never waits and takes up to {number(terms['greedy'])} rows, the true knee."
        f" {_rounds(terms)}; wrk is the client. Behind ± is the standard error of the"
        " ratio. The server answers on one core: what comes near"
        " that limits both. Those who are waited for come through it while the model stands"
        " still: the more there are, the less is gained by running them together. *For"
        f" {number(GAIN, 1)}* is how long the model may stand still between two runs that all"
        " clients share, if that is to be so many times as quick as greedy: in that time each of"
        " them is answered, and its next request is read and taken in.",
        table(head, lines, words=0),
        verdicts(closed_bars(rows)),
    )


# --- overload


def overload_bars(rows: Sequence[Row], terms: Row) -> list[Bar]:
    """Return the least goodput of each kind of arrivals, and the latest refusals."""
    bars = []
    for pattern, bound in LEAST_GOODPUT.items():
        shares = [good_share(row, terms) for row in rows if row["arrivals"] == pattern]
        known = [share for share in shares if share is not None]
        name = f"goodput to what is possible, least of all loads, {pattern}"
        bars.append(Bar(name, min(known, default=None), bound))
    late = [middle(row["refused_p99_ms"]) for row in rows]
    latest = max((each for each in late if each is not None), default=None)
    name = "p99 of refusals in ms, most of all loads"
    return [*bars, Bar(name, latest, REFUSED_WITHIN, least=False)]


def good_share(row: Row, terms: Row) -> float | None:
    """Return the share of the capacity, or of what came where that was less, answered in time."""
    pairs = zip(row["goodput"], row["offered"], strict=True)
    return middle(good / min(came, float(terms["capacity"])) for good, came in pairs if came)


def _overload(rows: Sequence[Row], terms: Row) -> str:
    lines = [
        [
            row["arrivals"], percent(row["load"]), figure(middle(row["offered"])),
            figure(middle(row["goodput"])), number(good_share(row, terms), 3),
            figure(middle(row["p99_ms"])), number(middle(row["refused"])),
            figure(middle(row["refused_p99_ms"])), number(middle(row["dropped"])),
            figure(middle(row["mean_rows"])),
        ]
        for row in rows
    ]  # fmt: skip
    head = [
        "arrivals", "load", "offered/s", "good/s", "of the possible", "p99 ms", "refused",
        "p99 ms of those", "given up", "rows a batch",
    ]  # fmt: skip
    return paragraphs(
        "### More than it can do",
        f"A run of b rows takes {terms['curve']}, at most {terms['cap']} rows:"
        f" {figure(terms['capacity'])} a second at best; {number(terms['clients'])} clients who"
        f" wait for their answers get {figure(middle(terms['closed_loop']))}. Each request grants"
        f" {number(terms['slo_ms'])} ms, and what comes later is not good. *Refused* is at once,"
        " with 429; *given up* is what was taken in and could not be in time, with 504. *Possible*"
        " is the capacity, or what came where chance made that less."
        " Bursts and lulls are 1.8 and 0.2 times the rate and last for three of the longest runs"
        f" on average. {_rounds(terms)}.",
        table(head, lines, words=1),
        verdicts(overload_bars(rows, terms)),
    )
