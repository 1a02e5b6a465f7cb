"""
Show people what a load has shown, as tables.

Pure: figures in, what rich can print out.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scripts.load.compare import Comparison
from scripts.load.search import Point, bounds
from scripts.load.summary import Summary

#: Batch sizes that are listed; the rest are summed up.
SIZES = 12


def of_load(title: str, summary: Summary) -> RenderableType:
    """Return the figures of one load under *title*."""
    return Group(
        Text(title, style="bold"),
        Text(""),
        _counts(summary),
        Text(""),
        _latencies(summary),
        *_words(summary),
    )


def of_search(slo: float, best: float | None, points: Sequence[Point]) -> RenderableType:
    """Return the curve, and the rate that keeps *slo* seconds."""
    table = _table("rate/s", "answered/s", "goodput/s", "p50 ms", "p99 ms", "in time", "rows", "")
    for point in points:
        figures = point.summary
        table.add_row(
            _number(point.rate),
            _number(figures.rate),
            _number(figures.goodput),
            _number(figures.p50_ms),
            _number(figures.p99_ms),
            f"{figures.good_share:.1%}",
            _number(figures.mean_rows),
            "" if point.keeps else "broken",
        )
    once = sum(point.rate == best for point in points) == 1
    found = (
        f"99 in 100 are answered within {slo * 1e3:g} ms at up to {best:.1f} requests/s"
        + (", measured only once" if once else "")
        if best is not None
        else f"no rate tried keeps {slo * 1e3:g} ms for 99 in 100"
    )
    _, broke = bounds(points)
    warnings = [
        _warning(
            f"at {point.rate:.1f}/s, which {'kept' if point.rate == best else 'broke'} it: {line}"
        )
        for point in points
        if point.rate in (best, broke)
        for line in point.summary.warnings
    ]
    return Group(table, Text(""), Text(found, style="bold"), *warnings)


def of_comparison(names: tuple[str, str], seen: Comparison) -> RenderableType:
    """Return the medians of both, and the ratios within the rounds."""
    table = _table("", "first", "second", "first / second", "least", "most", "rounds", left=1)
    ratios = seen.ratios()
    for name, ratio in ratios.items():
        table.add_row(
            name.replace("_", " "),
            _number(_middle(seen.first, name)),
            _number(_middle(seen.second, name)),
            f"{ratio.median:.3f}",
            f"{ratio.least:.3f}",
            f"{ratio.most:.3f}",
            f"{ratio.rounds}",
        )
    counts = [
        Text(
            f"{which}: {name}: refused {sum(each.refused for each in rounds)}, "
            f"errors {sum(each.errors for each in rounds)}"
        )
        for which, name, rounds in zip(
            ("first", "second"), names, (seen.first, seen.second), strict=True
        )
    ]
    for which, rounds in (("first", seen.first), ("second", seen.second)):
        kinds = Counter[str]()
        for each in rounds:
            kinds.update(each.error_kinds)
        examples = {status: body for each in rounds for status, body in each.examples.items()}
        counts += (
            Text(f"{which}: {line.plain}", style=line.style) for line in _failures(kinds, examples)
        )
    warnings = [
        _warning(f"{which}: {line}")
        for which, rounds in (("first", seen.first), ("second", seen.second))
        for line in _each_kind(rounds)
    ]
    note = Text(f"medians of {len(seen.first)} rounds, in turn; ratios are within a round")
    return Group(*counts, Text(""), table, note, *warnings)


def _middle(rounds: Sequence[Summary], name: str) -> float | None:
    values = [value for each in rounds if (value := getattr(each, name)) is not None]
    return median(values) if values else None


def _each_kind(rounds: Sequence[Summary]) -> list[str]:
    """Return the first warning of each kind: those that differ by more than numbers."""
    lines = (line for each in rounds for line in each.warnings)
    kinds: dict[str, str] = {}
    for line in lines:
        kinds.setdefault(re.sub(r"[\d.,%]+", "", line), line)
    return list(kinds.values())


def _counts(summary: Summary) -> Table:
    table = _table("sent", "answered", "refused", "errors", "offered", "rate", "goodput", "in time")
    table.add_row(
        f"{summary.sent:,}",
        f"{summary.answered:,}",
        f"{summary.refused:,}",
        f"{summary.errors:,}",
        f"{_number(summary.offered)}/s",
        f"{_number(summary.rate)}/s",
        f"{_number(summary.goodput)}/s",
        f"{summary.good_share:.1%} within {summary.slo_ms:g} ms",
    )
    return table


def _latencies(summary: Summary) -> Table:
    table = _table("ms", "mean", "p50", "p90", "p95", "p99", "p99.9", "max", left=1)
    whole = (summary.mean_ms, summary.p50_ms, summary.p90_ms, summary.p95_ms, summary.p99_ms)
    ends = (summary.p999_ms, summary.max_ms)
    missing = "endless" if summary.answered else "-"
    table.add_row("from when due", *(_number(each, missing) for each in (*whole, *ends)))
    for part in ("decode", "queue", "run"):
        p50, p99 = (getattr(summary, f"{part}_{share}_ms") for share in ("p50", "p99"))
        if p50 is not None:
            table.add_row(f"  {part}", "", _number(p50), "", "", _number(p99), "", "")
    return table


def _words(summary: Summary) -> Iterator[Text]:
    if summary.mean_rows is not None:
        yield Text(f"\nbatches of {summary.mean_rows:.1f} rows on average; {_sizes(summary)}")
    if summary.refused:
        told = ", ".join(
            f"{summary.statuses[status]} with status {status} (p99 {_number(times['p99_ms'])} ms)"
            for status, times in summary.refusals.items()
        )
        yield Text(f"\nrefused: {told}")
    yield from _failures(summary.error_kinds, summary.examples)
    yield from map(_warning, summary.warnings)


def _failures(kinds: Mapping[str, int], examples: Mapping[str, str]) -> Iterator[Text]:
    for kind, count in sorted(kinds.items(), key=lambda each: -each[1])[:5]:
        yield Text(f"{count} x {_plainly(kind)}", style="red")
    for status, body in examples.items():
        yield Text(f"the first {status} said: {_plainly(body[:200]) or 'nothing'}", style="dim")


def _plainly(said: str) -> str:
    """Return *said* on one line, and what would draw on a terminal as its code."""
    line = " ".join(said.split())
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in line)


def _sizes(summary: Summary) -> str:
    told = sum(summary.rides.values())
    shares = [f"{rows}: {count / told:.0%}" for rows, count in summary.rides.items()]
    if len(shares) > SIZES:
        shares = [*shares[: SIZES // 2], "...", *shares[-SIZES // 2 :]]
    return "requests by the rows of their batch: " + ", ".join(shares)


def _warning(line: str) -> Text:
    return Text(f"warning: {line}", style="yellow")


def _number(value: float | None, missing: str = "-") -> str:
    if value is None:
        return missing
    return f"{value:,.0f}" if value >= 1000 else f"{value:.{1 if value >= 10 else 2}f}"


def _table(*columns: str, left: int = 0) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right")
    return table
