"""
Run the command `tensorferry simulate`: simulate the workloads of its options, print the figures.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console

from model import packages
from scripts.simulation.engine import Workload
from scripts.simulation.options import Options
from scripts.simulation.policies import Contender, policy_named, tuned
from scripts.simulation.report import Row, of_rows
from scripts.simulation.service import Service

#: The least width of the table, in columns, also without a terminal.
MIN_TABLE_WIDTH = 160


def run(options: Options) -> None:
    """Simulate the workloads of *options*, and print the figures; raises UsageError."""
    options.check()
    if options.png is not None:
        _need_matplotlib()
    service = options.service()
    contenders = [policy_named(policy, service) for policy in options.policies]
    rows = [
        row
        for load, workload in options.workloads(options.scenario(service))
        for row in _rows(options, service, contenders, load, workload)
    ]
    title = _title(options, service)
    if options.json:
        found = [row.as_json() for row in rows]
        several = options.loads or len(found) > 1
        click.echo(json.dumps({"loads": found} if several else found[0]))
    else:
        console = Console(highlight=False, soft_wrap=True)
        console.width = max(console.width, MIN_TABLE_WIDTH)
        console.print(of_rows(title, rows))
    if options.png is not None:
        _draw(options.png, options.slo, title, rows)


def _rows(
    options: Options,
    service: Service,
    contenders: Sequence[Contender],
    load: float | None,
    workload: Workload,
) -> Iterator[Row]:
    """
    Yield a row of figures for each of *contenders* under *workload*.

    The last row also has the tuned setting, if *options* ask for it.  *load* is a share of the
    capacity.
    """
    for contender in contenders:
        yield Row(
            load,
            contender.name,
            contender.figures_for(workload),
            tuned(workload, service) if options.tune and contender is contenders[-1] else None,
            stable=load is None or load < contender.max_rate / service.best_rate,
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
