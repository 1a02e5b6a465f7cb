"""
`python -m benchmarks.judgement`: hold the server's own policy against settings tuned by hand.

Simulated; about ten minutes on two cores.  Ends with 1 where a bar is not met.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from scripts.simulation.judgement import (
    CLIENTS,
    LOADS,
    PATTERNS,
    PER_ANSWER,
    REQUESTS,
    SERVICES,
    Case,
    Closed,
    Found,
    Open,
    Verdict,
    judged,
    mean,
)

#: Columns of what is printed.
WIDE = 100

#: What `--quick` leaves: enough to see that nothing is broken.
QUICK_LOADS, QUICK_PER_ANSWER = (0.3, 0.7, 0.9), (0.0, 0.0003)


def cases(loads: Sequence[float], per_answer: Sequence[float]) -> Iterator[Case]:
    """Yield the cases of these loads, of all services and arrivals, and the closed loops."""
    for service in SERVICES:
        for pattern in PATTERNS:
            yield from (Open(service, pattern, load) for load in loads)
    for each in per_answer:
        yield from (Closed(each, clients) for clients in CLIENTS)


def played(jobs: Sequence[tuple[Case, int, int]], processes: int) -> Found:
    """Return what comes of *jobs*: cases, seeds and requests, those of a case one by one."""
    # Not forked: whoever asks may have threads.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        results = pool.map(_play, jobs)
        with click.progressbar(results, len(jobs), file=sys.stderr) as bar:
            paired = list(zip(jobs, bar, strict=True))
    return {
        case: [ratios for _, ratios in group]
        for case, group in groupby(paired, lambda pair: pair[0][0])
    }


def _play(job: tuple[Case, int, int]) -> dict[str, float]:
    case, seed, requests = job
    return case.play(seed, requests)


def tables(found: Found) -> Iterator[Table]:
    """Yield the tables of what was *found*: means of the seeds, and the worst of them."""
    opened = {case: ratios for case, ratios in found.items() if isinstance(case, Open)}
    closed = {case: ratios for case, ratios in found.items() if isinstance(case, Closed)}
    if opened:
        table = _table("service", "arrivals", "load", "mean/tuned", "p99/tuned", "mean/greedy")
        table.add_column("worst seed", justify="right")
        for case, ratios in opened.items():
            cells = (mean(ratios, name) for name in ("mean", "p99", "greedy"))
            worst = max(map(itemgetter("greedy"), ratios))
            table.add_row(
                case.service, case.pattern, f"{case.load:g}", *map(_figure, (*cells, worst))
            )
        yield table
    if closed:
        table = _table("ms an answer", "clients", "rate/greedy", "rate/best fixed")
        for each, ratios in closed.items():
            cells = (mean(ratios, name) for name in ("gain", "share"))
            table.add_row(f"{each.per_answer * 1e3:g}", f"{each.clients}", *map(_figure, cells))
        yield table


def verdict_table(verdicts: Iterable[Verdict]) -> Table:
    """Return the table of the bars."""
    table = _table("bar", "limit", "worst", "where", "")
    for each in verdicts:
        table.add_row(
            each.bar,
            f"{each.limit:g}",
            _figure(each.value),
            "-" if each.where is None else str(each.where),
            "pass" if each.passed else "FAIL",
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        words = name in ("service", "arrivals", "bar", "where")
        table.add_column(name, justify="left" if words else "right")
    return table


def _figure(value: float) -> str:
    return f"{value:.4f}"


def as_json(found: Found) -> list[dict[str, object]]:
    """Return the ratios of each case and seed as they are written into a file."""
    return [{"case": str(case), "seeds": list(map(dict, ratios))} for case, ratios in found.items()]


@click.command()
@click.option("--quick", is_flag=True, help="Three loads, two seeds, a quarter of the requests.")
@click.option("--first-seed", default=1, show_default=True, help="Others hold nothing against it.")
@click.option("--processes", default=2, show_default=True, help="To share the work.")
@click.option(
    "--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="For every ratio."
)
def main(quick: bool, first_seed: int, processes: int, file: Path | None) -> None:
    """Judge the policy; a ratio above 1 is slower, but rates are better."""
    chosen = cases(QUICK_LOADS, QUICK_PER_ANSWER) if quick else cases(LOADS, PER_ANSWER)
    seeds = range(first_seed, first_seed + (2 if quick else 5))
    requests = REQUESTS // 4 if quick else REQUESTS
    found = played([(case, seed, requests) for case in chosen for seed in seeds], processes)
    verdicts = list(judged(found))
    console = Console(highlight=False, soft_wrap=True, width=WIDE)
    for table in (*tables(found), verdict_table(verdicts)):
        console.print(table, end="\n\n")
    if file is not None:
        file.write_text(json.dumps(as_json(found), indent=1) + "\n")
    if not all(each.passed for each in verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
