"""The reports on the terminal: scripts/load/report.py."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from scripts.load.compare import Comparison
from scripts.load.exchange import Exchange
from scripts.load.report import MAX_LISTED_SIZES, comparison_report, load_report, search_report
from scripts.load.search import Point
from scripts.load.summary import summarise
from tests.fakes.load import CLIENT, exchange, figures, recorded

TIMING = b'decode;dur=2, queue;dur=0.05, run;dur=7.3, batch;desc="2/8 full"'

FINE = [exchange(0.012 + number / 1e5, due=number / 60, timing=TIMING) for number in range(600)]


def shown(what: RenderableType) -> list[str]:
    """Return the lines on a wide terminal, each without the space at its end."""
    console = Console(file=io.StringIO(), record=True, width=200, highlight=False)
    console.print(what, soft_wrap=True)
    return [line.rstrip() for line in console.export_text().splitlines()]


def load(exchanges: Sequence[Exchange], **client: float) -> list[str]:
    """Return the lines of the report on a load."""
    made = replace(CLIENT, **client)  # type: ignore[arg-type]
    return shown(load_report("server  load", summarise(recorded(*exchanges), made)))


def test_the_report_of_a_good_load_is_two_tables_and_a_sentence() -> None:
    """Without lines on refusals, errors and warnings."""
    assert load(FINE) == [
        "server  load",
        "",
        "sent  answered  refused  errors  offered    rate  goodput               in time",
        " 600       600        0       0   60.0/s  59.9/s   60.0/s  100.0% within 500 ms",
        "",
        "ms        mean   p50   p90   p95   p99  p99.9   max",
        "latency   15.0  15.0  17.4  17.7  17.9   18.0  18.0",
        "  decode        2.00              2.00",
        "  queue         0.05              0.05",
        "  run           7.30              7.30",
        "",
        "batches of 2.0 rows on average; requests by the rows of their batch: 2: 100%",
    ]


def test_a_load_that_nothing_was_answered_of_has_no_latencies() -> None:
    """The reasons follow below the tables."""
    lines = load([exchange(status=0, detail="the connection was refused")] * 3)
    assert lines[3].split() == [
        "3",
        "0",
        "0",
        "3",
        "0.30/s",
        "0.00/s",
        "0.00/s",
        "0.0%",
        "within",
        "500",
        "ms",
    ]
    assert lines[6] == "latency     -    -    -    -    -      -    -"
    assert lines[7] == "3 x the connection was refused"
    assert load([])[6] == lines[6]


def test_latencies_without_end_are_called_so() -> None:
    """Where some were answered."""
    lines = load([*FINE, *[exchange(status=0, detail="no answer within 30 s")] * 60])
    assert lines[6].split()[1:] == f"infinite 15.3 17.9 {3 * 'infinite '}infinite".split()
    assert "60 x no answer within 30 s" in lines


def test_refusals_and_errors_come_with_the_body_of_the_first() -> None:
    """Their counts by status, their time, and an example of each."""
    refused = [exchange(0.25, 429, detail="too busy\n"), exchange(0.5, 503, detail="later")]
    lines = load([*FINE, *refused, exchange(status=500, detail="oops")])
    assert (
        lines[-5] == "refused: 1 with status 429 (p99 250.0 ms), 1 with status 503 (p99 500.0 ms)"
    )
    assert lines[-4:] == [
        "1 x status 500",
        "the body of the first 429: too busy",
        "the body of the first 500: oops",
        "the body of the first 503: later",
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[red]danger[/red] [/]", "[red]danger[/red] [/]"),
        ("\x1b[31mred\x1b[0m\x07\x08", r"\x1b[31mred\x1b[0m\x07\x08"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("\u202eright to left", r"\u202eright to left"),
        ("<html>\r\n<body>\n\tbusy", "<html> <body> busy"),
        ("b\u00fccher \N{SNOWMAN}", "b\u00fccher \N{SNOWMAN}"),
        ("x" * 300, "x" * 200),
    ],
)
def test_the_body_of_an_error_is_shown_as_text(body: str, expected: str) -> None:
    """Control characters are escaped, so that a server cannot draw on the terminal."""
    line = load([exchange(status=500, detail=body)])[-1]
    assert line == f"the body of the first 500: {expected}"
    assert f"1 x {expected}" in load([exchange(status=0, detail=body[:200])])
    assert load([exchange(status=302)])[-1] == "the body of the first 302: empty"


def test_warnings_stand_at_the_end() -> None:
    """Each on its line."""
    lines = load(FINE, waited=3, cores=0.99)
    assert [line.split(":")[0] for line in lines[-2:]] == ["warning", "warning"]


def test_many_batch_sizes_are_cut_short_in_the_middle() -> None:
    """Those at both ends are the ones to see."""
    many = {str(rows): 1 for rows in range(1, 21)}
    line = shown(load_report("", figures(requests_by_rows=many, mean_rows=10.0)))[-1]
    assert line.count("5%") == MAX_LISTED_SIZES
    assert "6: 5%, ..., 15: 5%" in line
    few = {str(rows): 1 for rows in range(1, MAX_LISTED_SIZES + 1)}
    assert "..." not in shown(load_report("", figures(requests_by_rows=few, mean_rows=6.0)))[-1]


def point(rate: float, share: float, warnings: tuple[str, ...] = ()) -> Point:
    """Return the result of a search at *rate*."""
    seen = figures(sent=100, rate=rate, goodput=rate * share, p50_ms=10.0, p99_ms=None)
    return Point(rate, replace(seen, good_share=share, warnings=warnings))


def test_a_search_shows_its_curve_and_what_it_found() -> None:
    """With the warnings of the rate found, and of the lowest rate that broke the SLO."""
    points = [
        point(50, 1.0, ("fast",)),
        point(1000, 0.995, ("slow client",)),
        point(2000, 0.5, ("slower",)),
    ]
    lines = shown(search_report(0.2, 1000, points))
    assert [line.split() for line in lines[:4]] == [
        ["rate/s", "answered/s", "goodput/s", "p50", "ms", "p99", "ms", "in", "time", "rows"],
        ["50.0", "50.0", "50.0", "10.0", "-", "100.0%", "-"],
        ["1,000", "1,000", "995.0", "10.0", "-", "99.5%", "-"],
        ["2,000", "2,000", "1,000", "10.0", "-", "50.0%", "-", "broken"],
    ]
    assert lines[-3:] == [
        "99 in 100 are answered within 200 ms at up to 1000.0 requests/s, measured only once",
        "warning: at 1000.0/s, which kept the SLO: slow client",
        "warning: at 2000.0/s, which broke the SLO: slower",
    ]
    assert "once" not in shown(search_report(0.2, 1000, [*points, points[1]]))[-5]


@pytest.mark.parametrize("points", [[], [point(1.0, 0.0)]])
def test_a_search_without_a_result_reports_it(points: list[Point]) -> None:
    """Also where it was interrupted before there was anything."""
    assert shown(search_report(0.2, None, points))[-1] == "no rate tried keeps 200 ms for 99 in 100"


def test_a_comparison_shows_medians_and_ratios() -> None:
    """Names as they are, refusals and errors of each, and the first warnings."""
    first = [figures(rate=rate, p99_ms=None, refused=1) for rate in (10.0, 30.0, 20.0)]
    failed: dict[str, Any] = {
        "errors": 2,
        "error_kinds": {"status 500": 2},
        "examples": {"500": "oops"},
    }
    second = [figures(rate=10.0, **failed, warnings=("slow", "late")) for _ in range(3)]
    lines = shown(comparison_report(("http://[::1]/a", "b"), Comparison(first, second)))
    assert lines == [
        "first: http://[::1]/a: refused 3, errors 0",
        "second: b: refused 0, errors 6",
        "second: 6 x status 500",
        "second: the body of the first 500: oops",
        "",
        "      first  second  first / second  least   most  rounds",
        "rate   20.0    10.0           2.000  1.000  3.000       3",
        "medians of 3 rounds, the servers measured in turn; each ratio is taken within a round",
        "warning: second: slow",
        "warning: second: late",
    ]
