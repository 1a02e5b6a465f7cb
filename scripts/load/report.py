"""
Format the figures of loads as tables for the terminal.

Pure: returns objects that rich prints.
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

#: The most batch sizes that are listed; if there are more, the smallest and the largest are.
MAX_LISTED_SIZES = 12


def load_report(title: str, summary: Summary) -> RenderableType:
    """Return the report on one load: its figures and warnings, under *title*."""
    return Group(
        Text(title, style="bold"),
        Text(""),
        _counts(summary),
        Text(""),
        _latencies(summary),
        *_notes(summary),
    )


def search_report(slo: float, best: float | None, points: Sequence[Point]) -> RenderableType:
    """
    Return the report on a search: a table of its rates, and *best*, the highest that keeps the SLO.

    *slo* is in seconds; *best* is in requests a second, None if no rate keeps the SLO.
    """
    table = _table("rate/s", "answered/s", "goodput/s", "p50 ms", "p99 ms", "in time", "rows", "")
    for point in points:
        figures = point.summary
        table.add_row(
            _format_number(point.rate),
            _format_number(figures.rate),
            _format_number(figures.goodput),
            _format_number(figures.p50_ms),
            _format_number(figures.p99_ms),
            f"{figures.good_share:.1%}",
            _format_number(figures.mean_rows),
            "" if point.keeps_slo else "broken",
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
            f"at {point.rate:.1f}/s, which "
            f"{'kept' if point.rate == best else 'broke'} the SLO: {line}"
        )
        for point in points
        if point.rate in (best, broke)
        for line in point.summary.warnings
    ]
    return Group(table, Text(""), Text(found, style="bold"), *warnings)


def comparison_report(names: tuple[str, str], seen: Comparison) -> RenderableType:
    """
    Return the report on a comparison: medians over the rounds, and ratios within a round.

    *names* are those of the two servers.
    """
    table = _table("", "first", "second", "first / second", "least", "most", "rounds", left=1)
    ratios = seen.ratios()
    for name, ratio in ratios.items():
        table.add_row(
            name.replace("_", " "),
            _format_number(_median_of(seen.first, name)),
            _format_number(_median_of(seen.second, name)),
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
        for line in _first_of_each_kind(rounds)
    ]
    note = Text(
        f"medians of {len(seen.first)} rounds, the servers measured in turn; "
        "each ratio is taken within a round"
    )
    return Group(*counts, Text(""), table, note, *warnings)


def _median_of(rounds: Sequence[Summary], name: str) -> float | None:
    values = [value for each in rounds if (value := getattr(each, name)) is not None]
    return median(values) if values else None


def _first_of_each_kind(rounds: Sequence[Summary]) -> list[str]:
    """Return the first warning of each kind; warnings of one kind differ only in their numbers."""
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
        f"{_format_number(summary.offered)}/s",
        f"{_format_number(summary.rate)}/s",
        f"{_format_number(summary.goodput)}/s",
        f"{summary.good_share:.1%} within {summary.slo_ms:g} ms",
    )
    return table


def _latencies(summary: Summary) -> Table:
    table = _table("ms", "mean", "p50", "p90", "p95", "p99", "p99.9", "max", left=1)
    head = (summary.mean_ms, summary.p50_ms, summary.p90_ms, summary.p95_ms, summary.p99_ms)
    tail = (summary.p999_ms, summary.max_ms)
    missing = "infinite" if summary.answered else "-"
    table.add_row("latency", *(_format_number(each, missing) for each in (*head, *tail)))
    for part in ("decode", "queue", "run"):
        p50, p99 = (getattr(summary, f"{part}_{share}_ms") for share in ("p50", "p99"))
        if p50 is not None:
            table.add_row(f"  {part}", "", _format_number(p50), "", "", _format_number(p99), "", "")
    return table


def _notes(summary: Summary) -> Iterator[Text]:
    if summary.mean_rows is not None:
        yield Text(f"\nbatches of {summary.mean_rows:.1f} rows on average; {_sizes(summary)}")
    if summary.refused:
        counts = ", ".join(
            f"{summary.statuses[status]} with status {status} "
            f"(p99 {_format_number(times['p99_ms'])} ms)"
            for status, times in summary.refusals.items()
        )
        yield Text(f"\nrefused: {counts}")
    yield from _failures(summary.error_kinds, summary.examples)
    yield from map(_warning, summary.warnings)


def _failures(kinds: Mapping[str, int], examples: Mapping[str, str]) -> Iterator[Text]:
    for kind, count in sorted(kinds.items(), key=lambda each: -each[1])[:5]:
        yield Text(f"{count} x {_printable(kind)}", style="red")
    for status, body in examples.items():
        shown = _printable(body[:200]) or "empty"
        yield Text(f"the body of the first {status}: {shown}", style="dim")


def _printable(text: str) -> str:
    """Return *text* on one line, with control characters escaped."""
    line = " ".join(text.split())
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in line)


def _sizes(summary: Summary) -> str:
    total = sum(summary.requests_by_rows.values())
    shares = [f"{rows}: {count / total:.0%}" for rows, count in summary.requests_by_rows.items()]
    if len(shares) > MAX_LISTED_SIZES:
        shares = [*shares[: MAX_LISTED_SIZES // 2], "...", *shares[-MAX_LISTED_SIZES // 2 :]]
    return "requests by the rows of their batch: " + ", ".join(shares)


def _warning(line: str) -> Text:
    return Text(f"warning: {line}", style="yellow")


def _format_number(value: float | None, missing: str = "-") -> str:
    if value is None:
        return missing
    return f"{value:,.0f}" if value >= 1000 else f"{value:.{1 if value >= 10 else 2}f}"


def _table(*columns: str, left: int = 0) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right")
    return table
