"""
`python -m benchmarks.sleeping`: the server against itself, over HTTP, with a model that sleeps.

What it decides by itself is compared with what a person could have fixed: the house whole, but for
a model that takes a known time and no core.  `serve` is one such server; `run` starts as many as it
needs and loads them.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

from benchmarks import sleeping_page
from benchmarks.kept import Kept, dumped
from benchmarks.machine import this_machine
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
from scripts.simulation.service import read_service
from server.process.collector import freeze_startup_objects
from server.process.run import run as run_server
from server.settings.option import SettingsError
from server.settings.sources import resolve

#: The parts, how each is measured, and how long: 11, 11 and 6 minutes in all.
PARTS: dict[str, tuple[Callable[[Bench, Extent], Awaitable[Part]], Extent]] = {
    "grid": (measure_grid, Extent(rounds=3, warmup=2.5, seconds=6.0)),
    "closed": (measure_closed, Extent(rounds=9, warmup=1.0, seconds=2.0)),
    "overload": (measure_overload, Extent(rounds=3, warmup=2.0, seconds=8.0)),
}


@click.group()
def main() -> None:
    """Hold the server against itself."""


@main.command()
@click.option("--port", default="8000", help="Where to listen on 127.0.0.1.")
@click.option(
    "--latency", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='How long runs take: JSON, seconds by rows, {"1": 0.022, "32": 0.084}; the most rows are'
    " the largest batch that there is room for.",
)  # fmt: skip
@click.option("--max-batch-size", help="As of `tensorferry serve`.  [default: learned]")
@click.option("--max-queue-delay-ms", help="As of `tensorferry serve`.  [default: learned]")
def serve(port: str, latency: Path, **fixed: str | None) -> None:
    """Serve a model that sleeps, until a signal ends it; no variable counts."""
    given = {"port": port, **{name: text for name, text in fixed.items() if text is not None}}
    try:
        service = read_service(latency)
        settings = resolve(given, {}).settings
    except (OSError, ValueError, SettingsError) as error:
        raise click.UsageError(str(error)) from error
    dialect = dialect_of(null_feed, write_length)
    sys.exit(run_server(settings, load=sleeping_loader(service), dialect=dialect))


def kept_beside(only: str | None, file: Path | None) -> dict[str, Any]:
    """
    Return what *file* keeps beside the one part that is measured; nothing where all are.

    Raises `click.UsageError` where that was measured on another machine.
    """
    if only is None or file is None or not file.exists():
        return {}
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    others = [name for name in PARTS if name in kept and name != only]
    if others and kept["machine"] != this_machine():
        raise click.UsageError(
            f"{file} keeps {' and '.join(others)} of another machine: measure all, or into another"
        )
    return kept


def with_part(kept: Kept, name: str, part: Part) -> dict[str, Any]:
    """Return *kept* with the *part* of this *name*, measured here and now, in its place."""
    terms = {**kept.get("terms", {}), name: dict(part.terms)}
    rows = {**kept, name: [dict(row) for row in part.rows]}
    parts = {key: rows[key] for key in PARTS if key in rows}
    return {"what": "sleeping", "machine": this_machine(), "terms": terms, **parts}


@main.command()
@click.option("--only", type=click.Choice(list(PARTS)), help="One part.  [default: all]")
@click.option("--quick", is_flag=True, help="Seconds of each load, one round: to try it out.")
@click.option(
    "--json", "file", type=click.Path(dir_okay=False, path_type=Path),
    help="A file to keep the figures in; parts that are not measured stay as they are there.",
)  # fmt: skip
def run(only: str | None, quick: bool, file: Path | None) -> None:
    """Measure, and print tables with the bars and whether they hold; half an hour in all."""
    before = kept_beside(only, file)

    async def measure(reactor: Any) -> None:
        kept = before
        freeze_startup_objects()  # a pause of this program would look like one of the server
        for name in [only] if only else PARTS:
            how, extent = PARTS[name]
            tries = 1 if quick else TRIES
            with Bench(reactor, lambda line: click.echo(line, err=True), tries=tries) as bench:
                part = await how(bench, extent.quick() if quick else extent)
            kept = with_part(kept, name, part)
            if file is not None:
                file.write_text(dumped(kept), encoding="utf-8")
        click.echo(sleeping_page.section(kept))

    react(lambda reactor: ensureDeferred(measure(reactor)))


if __name__ == "__main__":
    main()
