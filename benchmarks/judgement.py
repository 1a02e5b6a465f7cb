"""
`python -m benchmarks.judgement`: simulate the server's policy, and compare it with tuned settings.

Takes about ten minutes on two cores.  The exit code is 1 if a bound does not hold.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path

import click

from benchmarks.kept import json_option, stamped, write
from benchmarks.tables import table
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

#: The cases of `--quick`: enough to see that the program works.
QUICK_LOADS, QUICK_PER_ANSWER = (0.3, 0.7, 0.9), (0.0, 0.0003)


def cases(loads: Sequence[float], per_answer: Sequence[float]) -> Iterator[Case]:
    """
    Yield the open loops, then the closed loops.

    There is an open loop for each combination of a service, a pattern of arrivals and one of
    *loads*, and a closed loop for each combination of a number of clients and one of *per_answer*,
    in seconds.
    """
    for service in SERVICES:
        for pattern in PATTERNS:
            yield from (Open(service, pattern, load) for load in loads)
    for each in per_answer:
        yield from (Closed(each, clients) for clients in CLIENTS)


def played(jobs: Sequence[tuple[Case, int, int]], processes: int) -> Found:
    """
    Simulate *jobs* in *processes* processes, and return the ratios by case.

    A job is a case, a seed and a number of requests; jobs of the same case must be adjacent, and
    the case has a set of ratios for each of them.
    """
    # Not forked: the caller may have threads.
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


def report(found: Found, verdicts: Iterable[Verdict]) -> str:
    """
    Return three tables: the open loops, the closed loops, and the bounds.

    A ratio is the mean over the seeds, except greedy_worst: the largest `greedy` of a seed.
    """
    opened = [
        {
            "service": case.service, "arrivals": case.pattern, "load": f"{case.load:g}",
            **{f"{name}_ratio": mean(ratios, name) for name in ("mean", "p99", "greedy")},
            "greedy_worst": max(map(itemgetter("greedy"), ratios)),
        }
        for case, ratios in found.items() if isinstance(case, Open)
    ]  # fmt: skip
    closed = [
        {
            "ms_per_answer": f"{case.per_answer * 1e3:g}", "clients": case.clients,
            **{name: mean(ratios, name) for name in ("gain", "share")},
        }
        for case, ratios in found.items() if isinstance(case, Closed)
    ]  # fmt: skip
    bounds = [
        {
            "bound": each.bound, "where": "-" if each.where is None else str(each.where),
            "limit": each.limit, "worst": each.value, "": "pass" if each.passed else "FAIL",
        }
        for each in verdicts
    ]  # fmt: skip
    return "\n\n".join(table(rows) for rows in (opened, closed, bounds) if rows)


def as_json(found: Found) -> list[dict[str, object]]:
    """Return *found* as data for JSON: an object for each case, with the ratios of each seed."""
    return [{"case": str(case), "seeds": list(map(dict, ratios))} for case, ratios in found.items()]


@click.command()
@click.option("--quick", is_flag=True, help="Three loads, two seeds, a quarter of the requests.")
@click.option("--first-seed", default=1, show_default=True, help="The first of the seeds.")
@click.option("--processes", default=2, show_default=True, help="Processes that play the cases.")
@json_option
def main(quick: bool, first_seed: int, processes: int, file: Path | None) -> None:
    """Judge the policy: a latency ratio above 1 is worse, a rate ratio above 1 is better."""
    chosen = cases(QUICK_LOADS, QUICK_PER_ANSWER) if quick else cases(LOADS, PER_ANSWER)
    seeds = range(first_seed, first_seed + (2 if quick else 5))
    requests = REQUESTS // 4 if quick else REQUESTS
    stamp = stamped("judgement", {})
    found = played([(case, seed, requests) for case in chosen for seed in seeds], processes)
    verdicts = list(judged(found))
    click.echo(report(found, verdicts))
    if file is not None:
        write(file, {**stamp, "cases": as_json(found)})
    if not all(each.passed for each in verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
