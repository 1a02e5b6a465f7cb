"""
`python -m benchmarks.sleeping`: compare a server without flags with fixed settings, over HTTP.

The model of each server sleeps: a run takes a known time and no core.  So the figures depend on the
decisions of the batcher alone.  `serve` starts one such server; `run` starts a server for each
setting and loads it.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

from benchmarks.kept import json_option, stamped, write
from benchmarks.peer import dialect_of, null_feed, write_length
from benchmarks.sleeping_model import sleeping_loader
from benchmarks.sleeping_runs import (
    TRIES,
    Bench,
    Extent,
    Part,
    measure_closed,
    measure_grid,
    measure_overload,
)
from benchmarks.sleeping_verdicts import report
from scripts.simulation.service import read_service
from server.process.collector import freeze_startup_objects
from server.process.run import run as run_server
from server.settings.option import SettingsError
from server.settings.sources import resolve

#: The parts with their measurement and extent: 11, 11 and 6 minutes.
PARTS: dict[str, tuple[Callable[[Bench, Extent], Awaitable[Part]], Extent]] = {
    "grid": (measure_grid, Extent(rounds=3, warmup=2.5, seconds=6.0)),
    "closed": (measure_closed, Extent(rounds=9, warmup=1.0, seconds=2.0)),
    "overload": (measure_overload, Extent(rounds=3, warmup=2.0, seconds=8.0)),
}


@click.group()
def main() -> None:
    """Compare the server without flags with fixed settings."""


@main.command()
@click.option("--port", default="8000", help="Where to listen on 127.0.0.1.")
@click.option(
    "--latency", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='The time of a run: JSON, seconds by rows, {"1": 0.022, "32": 0.084}; the largest'
    " number of rows is the largest batch that fits into memory.",
)  # fmt: skip
@click.option("--max-batch-size", help="As for `tensorferry serve`.  [default: learned]")
@click.option("--max-queue-delay-ms", help="As for `tensorferry serve`.  [default: learned]")
@click.option("--announce", help="As for `tensorferry serve`.  [default: nowhere]")
def serve(port: str, latency: Path, **fixed: str | None) -> None:
    """Serve a model that sleeps, until a signal ends it; ignores TENSORFERRY_... variables."""
    given = {"port": port, **{name: text for name, text in fixed.items() if text is not None}}
    try:
        service = read_service(latency)
        settings = resolve(given, {}).settings
    except (OSError, ValueError, SettingsError) as error:
        raise click.UsageError(str(error)) from error
    dialect = dialect_of(null_feed, write_length)
    sys.exit(run_server(settings, load=sleeping_loader(service), dialect=dialect))


@main.command()
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="[default: all]")
@click.option("--quick", is_flag=True, help="One round of seconds: to try it out.")
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds, instead of those of each part.")
@click.option("--seconds", type=click.FloatRange(min=1), help="Of each load, likewise.")
@json_option
def run(
    only: tuple[str, ...],
    quick: bool,
    rounds: int | None,
    seconds: float | None,
    file: Path | None,
) -> None:
    """Measure for half an hour, and print tables with each bound and whether it holds."""

    def extent_of(extent: Extent) -> Extent:
        chosen = extent.quick() if quick else extent
        return replace(chosen, rounds=rounds or chosen.rounds, seconds=seconds or chosen.seconds)

    async def measure(reactor: Any) -> None:
        measured: dict[str, Part] = {}
        stamp = stamped("sleeping", {})
        freeze_startup_objects()  # a pause of this program would look like one of the server
        for name in only or PARTS:
            how, extent = PARTS[name]
            tries = 1 if quick else TRIES
            with Bench(reactor, lambda line: click.echo(line, err=True), tries=tries) as bench:
                measured[name] = await how(bench, extent_of(extent))
            if file is not None:
                write(file, {**stamp, **as_json(measured)})
        click.echo(report(as_json(measured)))

    react(lambda reactor: ensureDeferred(measure(reactor)))


def as_json(measured: Mapping[str, Part]) -> dict[str, Any]:
    """
    Return *measured*, the parts by name, as data for JSON.

    `terms` has the terms of each part by name; the rows of a part are under its name.
    """
    terms = {name: dict(part.terms) for name, part in measured.items()}
    return {"terms": terms, **{name: list(part.rows) for name, part in measured.items()}}


if __name__ == "__main__":
    main()
