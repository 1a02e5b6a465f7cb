"""`python -m benchmarks.peers.run`: compare inference servers side by side; see README.md."""

import json
from pathlib import Path
from typing import Any

import click

from benchmarks import tables
from benchmarks.peers.install import setup as install
from benchmarks.peers.launch import HERE, NICE, Peer, PeerError, read_peers
from benchmarks.peers.processes import prefer
from benchmarks.peers.rounds import CLIENTS_B, Comparison, Plan
from benchmarks.peers.table import report
from benchmarks.peers.tune import tune as tuned

RESULT = HERE / "results" / "run.json"

SHARES = "30,60,90,120"


def _chosen(_: click.Context, __: click.Parameter, names: str) -> list[Peer]:
    try:
        return read_peers(names)
    except PeerError as error:
        raise click.UsageError(str(error)) from error


def _numbers(_: click.Context, option: click.Parameter, text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",")]
    except ValueError as error:
        raise click.BadParameter("expected whole numbers with commas", param=option) from error


peers_option = click.option(
    "--peers", default="", callback=_chosen,
    help="Names of peers.toml, with commas.  [default: all]",
)  # fmt: skip


def extent_options(command: Any) -> Any:
    """Add the options that set the extent of a comparison to *command*."""
    for option in (
        click.option("--workloads", default="ABCDT", show_default=True, help="Their letters."),
        click.option("--rounds", default=3, show_default=True),
        click.option("--seconds", default=8, show_default=True, help="Of a closed loop."),
        click.option("--open-seconds", default=30, show_default=True, help="Of each load of C."),
        click.option("--capacity", type=float, help="Images/s that the rates of C refer to."),
        click.option(
            "--shares", default=SHARES, show_default=True, callback=_numbers,
            help="Rates of C, in % of the capacity.",
        ),
        click.option(
            "--clients", default=",".join(map(str, CLIENTS_B)), show_default=True,
            callback=_numbers, help="Clients of B.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def plan_of(extent: dict[str, Any]) -> Plan:
    """
    Return the plan that *extent*, the values of `extent_options`, describes.

    Raises `click.UsageError`.
    """
    workloads = extent.pop("workloads").replace(",", "").upper()
    if unknown := set(workloads) - set("ABCDT"):
        raise click.UsageError(f"--workloads: no workload {', '.join(sorted(unknown))}")
    shares = [share / 100 for share in extent.pop("shares")]
    return Plan(workloads=workloads, shares=shares, **extent)


@click.group()
def main() -> None:
    """Compare inference servers side by side on this machine."""
    if NICE:
        prefer("self", NICE)


@main.command()
@peers_option
def setup(peers: list[Peer]) -> None:
    """Install the servers, each in a virtualenv, and make the data."""
    install(peers)


@main.command()
@peers_option
@extent_options
@click.option(
    "--json", "file", default=RESULT, show_default="benchmarks/peers/results/run.json",
    type=click.Path(dir_okay=False, path_type=Path), help="The file of the result.",
)  # fmt: skip
def bench(peers: list[Peer], file: Path, **extent: Any) -> None:
    """Measure the servers in interleaved rounds, print tables and write a file."""
    click.echo(report(Comparison(plan_of(extent), peers, file).go()))


@main.command()
@peers_option
@extent_options
def tune(peers: list[Peer], **extent: Any) -> None:
    """Try the settings in peers.toml; with --workloads C or T those of load shedding or tables."""
    plan = plan_of(extent)
    if plan.workloads == "C" and not plan.capacity:
        raise click.UsageError("--workloads C needs --capacity")
    click.echo(tables.table(tuned(plan, peers)))


@main.command()
@click.argument(
    "file", default=RESULT, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def table(file: Path) -> None:
    """Print the tables of a result again."""
    click.echo(report(json.loads(file.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
