"""
Carry out the command `tensorferry simulate`: options in, worlds played, figures out.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console

from model import packages
from scripts.simulation.engine import World
from scripts.simulation.options import Options
from scripts.simulation.policies import Contender, policy_named, tuned
from scripts.simulation.report import Row, of_rows
from scripts.simulation.service import Service

#: Columns of what is printed to no terminal.
WIDE = 160


def run(options: Options) -> None:
    """Do what the options ask for, and print the figures; raises UsageError."""
    options.check()
    if options.png is not None:
        _need_matplotlib()
    service = options.service()
    contenders = [policy_named(policy, service) for policy in options.policies]
    rows = [
        row
        for load, world in options.worlds(options.terms(service))
        for row in _rows(options, service, contenders, load, world)
    ]
    title = _title(options, service)
    if options.json:
        found = [row.as_json() for row in rows]
        several = options.loads or len(found) > 1
        click.echo(json.dumps({"loads": found} if several else found[0]))
    else:
        console = Console(highlight=False, soft_wrap=True)
        console.width = max(console.width, WIDE)
        console.print(of_rows(title, rows))
    if options.png is not None:
        _draw(options.png, options.slo, title, rows)


def _rows(
    options: Options,
    service: Service,
    contenders: Sequence[Contender],
    load: float | None,
    world: World,
) -> Iterator[Row]:
    """Yield what came of each policy in the same world; the last tells of the tuned setting."""
    for contender in contenders:
        yield Row(
            load,
            contender.name,
            contender.play(world),
            tuned(world, service) if options.tune and contender is contenders[-1] else None,
            stable=load is None or load < contender.stable / service.best_rate,
        )


def _title(options: Options, service: Service) -> str:
    lanes = f"{options.lanes} lane" + "s" * (options.lanes > 1)
    return f"{service.name}, {options.arrivals}, {lanes}, seed {options.seed}"


def _need_matplotlib() -> None:
    from scripts.load.plot import (  # noqa: PLC0415 - numpy
        NO_CONFIG_FOLDER,
        can_plot,
        has_config_folder,
    )

    if not can_plot():
        raise click.UsageError(f"--png needs matplotlib: {packages.PLOT}")
    if not has_config_folder():
        raise click.UsageError(NO_CONFIG_FOLDER)


def _draw(path: Path, slo: float | None, title: str, rows: list[Row]) -> None:
    from scripts.simulation.plot import plot_loads  # noqa: PLC0415 - an extra

    try:
        plot_loads(path, title, rows, slo)
    except OSError as error:
        raise click.UsageError(f"--png: {path}: {error.strerror}") from error
