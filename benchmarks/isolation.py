"""
`python -m benchmarks.isolation`: the latency of a model beside another model that is flooded.

Two models that sleep share one lane, as in benchmarks/shares.py.  The fast model is sent a few
requests a second, first alone, then while the slow model is sent `FLOOD` times the rows that the
lane could run.  A request of the fast model waits for at most one run of the slow model, so its p99
must be at most 2 times that alone, plus the longest run of the slow model.  Latencies count from
when a request is due.
"""

import random
from pathlib import Path
from typing import Any

import click
import numpy as np
from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.internet.task import deferLater, react

from benchmarks.kept import json_option, stamped, write
from benchmarks.shares import SETTLING, Flood, row, serving
from benchmarks.tables import table
from scripts.load.arrivals import poisson
from scripts.load.summary import percentile
from server.clock import MonotonicTime
from server.inference import Inference

TIMES = 2.0  #: the bar: so many times p99 alone, plus the longest run of the flooded model


async def latencies(
    reactor: Any, model: Inference, rate: float, seconds: float, seed: int
) -> np.ndarray:
    """Return the seconds of the answers of *model* to *rate* requests a second, ascending."""
    clock = MonotonicTime(reactor)
    seen: list[float] = []
    asked = []
    began = clock.seconds()
    for due in poisson(rate, seconds, random.Random(seed)):  # noqa: S311 - no secret
        await deferLater(reactor, max(0.0, began + due - clock.seconds()), lambda: None)

        def answered(_: object, due: float = due) -> None:
            seen.append(clock.seconds() - began - due)

        asked.append(model.submit(row()).addCallback(answered))
    await DeferredList(asked, fireOnOneErrback=True)
    return np.sort(np.array(seen))


async def measure(reactor: Any, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Return the p99 of the fast model alone, that beside the slow one, and the bar of it."""
    async with serving(reactor, (1.0, 1.0)) as (slow, fast, spent):
        alone = await latencies(reactor, fast, rate, seconds, seed)
        flood = Flood(slow, MonotonicTime(reactor))
        flood.start()
        await deferLater(reactor, SETTLING, lambda: None)
        beside = await latencies(reactor, fast, rate, seconds, seed)
        flood.stop()
        longest = spent.longest[slow.model.full_name] * 1e3
    p99_alone, p99 = (percentile(each, 99.0) for each in (alone, beside))
    bar = None if p99_alone is None else TIMES * p99_alone + longest
    return {
        "requests": len(beside),
        "alone_p50_ms": percentile(alone, 50.0),
        "alone_p99_ms": p99_alone,
        "beside_p50_ms": percentile(beside, 50.0),
        "beside_p99_ms": p99,
        "longest_run_ms": round(longest, 3),
        "bar_ms": bar,
        "verdict": None if bar is None or p99 is None else "holds" if p99 <= bar else "missed",
    }


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="Of each load.")
@click.option("--rate", default=10.0, show_default=True, help="Requests/s for the fast model.")
@click.option("--rounds", default=1, show_default=True)
@json_option
def main(seconds: float, rate: float, rounds: int, file: Path | None) -> None:
    """Measure the fast model alone, then beside the flooded one, in each round."""

    async def run(reactor: Any) -> None:
        rows = [await measure(reactor, rate, seconds, number) for number in range(rounds)]
        click.echo(table(rows))
        if file is not None:
            write(file, stamped("isolation", {"rows": rows}))

    react(lambda reactor: ensureDeferred(run(reactor)))


if __name__ == "__main__":
    main()
