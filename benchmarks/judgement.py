"""
`python -m benchmarks.judgement`: simulate the server's policy, and compare it with tuned settings.

Takes about ten minutes on two cores.  The exit code is 1 if a bound does not hold.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import chain, groupby
from multiprocessing import get_context
from pathlib import Path

import click

from benchmarks.kept import json_option, stamped, write
from benchmarks.tables import table
from scripts.simulation.cases import (
    CLIENTS,
    LOADS,
    PATTERNS,
    PER_ANSWER,
    SERVICES,
    Closed,
    Open,
)
from scripts.simulation.changing import Changing, changing_cases
from scripts.simulation.judgement import Case, Found, Verdict, judged, mean, worst

#: The cases of `--quick`: enough to see that the program works.
QUICK_LOADS, QUICK_PER_ANSWER, QUICK_MACHINES = (0.3, 0.7, 0.9), (0.0, 0.0003), ("cpu",)

#: How much shorter the open and the closed loops of `--quick` are.
QUICK_DIVISOR = 4

KINDS = ("open", "closed", "changing")


def cases(quick: bool, only: Collection[str] = ()) -> Iterator[Case]:
    """
    Yield the open loops, then the closed loops, then the cases in which the machine changes.

    There is an open loop for each combination of a service, a pattern of arrivals and a load, and a
    closed loop for each combination of a number of clients and the time of an answer.  *only* are
    the `KINDS` of cases; empty: all of them.  With *quick* the cases are fewer and shorter.
    """
    every: dict[str, Iterable[Case]] = {
        "open": _open(QUICK_LOADS if quick else LOADS),
        "closed": _closed(QUICK_PER_ANSWER if quick else PER_ANSWER),
        "changing": changing_cases(QUICK_MACHINES) if quick else changing_cases(),
    }
    for case in chain.from_iterable(every[kind] for kind in KINDS if kind in (only or KINDS)):
        if quick and not isinstance(case, Changing):
            yield replace(case, requests=case.requests // QUICK_DIVISOR)
        else:
            yield case


def _open(loads: Sequence[float]) -> Iterator[Open]:
    for service in SERVICES:
        for pattern in PATTERNS:
            yield from (Open(service, pattern, load) for load in loads)


def _closed(per_answer: Sequence[float]) -> Iterator[Closed]:
    for each in per_answer:
        yield from (Closed(each, clients) for clients in CLIENTS)


def played(jobs: Sequence[tuple[Case, int]], processes: int) -> Found:
    """
    Simulate *jobs* in *processes* processes, and return the ratios by case.

    A job is a case and a seed; jobs of the same case must be adjacent, and the case has a set of
    ratios for each of them.
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


def _play(job: tuple[Case, int]) -> dict[str, float]:
    case, seed = job
    return case.play(seed)


def report(found: Found, verdicts: Iterable[Verdict]) -> str:
    """
    Return four tables: the open loops, the closed loops, the machines that change, and the bounds.

    A ratio is the mean over the seeds, except greedy_worst and belief_worst: the largest of a seed.
    """
    opened = [
        {
            "service": case.service, "arrivals": case.pattern, "load": f"{case.load:g}",
            **{f"{name}_ratio": mean(ratios, name) for name in ("mean", "p99", "greedy")},
            "greedy_worst": worst(ratios, "greedy"),
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
    changing = [
        {
            "machine": case.service, "change": case.change, "load": f"{case.load:g}",
            **{
                name: mean(ratios, name) if name in ratios[0] else None
                for name in ("during", "after", "goodput")
            },
            "belief_worst": worst(ratios, "belief"),
        }
        for case, ratios in found.items() if isinstance(case, Changing)
    ]  # fmt: skip
    bounds = [
        {
            "bound": each.bound, "where": "-" if each.where is None else str(each.where),
            "limit": each.limit, "worst": each.value, "": "pass" if each.passed else "FAIL",
        }
        for each in verdicts
    ]  # fmt: skip
    return "\n\n".join(table(rows) for rows in (opened, closed, changing, bounds) if rows)


def as_json(found: Found) -> list[dict[str, object]]:
    """Return *found* as data for JSON: an object for each case, with the ratios of each seed."""
    return [{"case": str(case), "seeds": list(map(dict, ratios))} for case, ratios in found.items()]


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and shorter cases, and two seeds.")
@click.option(
    "--only", type=click.Choice(KINDS), multiple=True, help="Cases of this kind; repeatable."
)
@click.option("--first-seed", default=1, show_default=True, help="The first of the seeds.")
@click.option("--processes", default=2, show_default=True, help="Processes that play the cases.")
@json_option
def main(
    quick: bool, only: tuple[str, ...], first_seed: int, processes: int, file: Path | None
) -> None:
    """Judge the policy: a latency ratio above 1 is worse, a rate ratio above 1 is better."""
    seeds = range(first_seed, first_seed + (2 if quick else 5))
    stamp = stamped("judgement", {})
    found = played([(case, seed) for case in cases(quick, only) for seed in seeds], processes)
    verdicts = list(judged(found))
    click.echo(report(found, verdicts))
    if file is not None:
        write(file, {**stamp, "cases": as_json(found)})
    if not all(each.passed for each in verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
