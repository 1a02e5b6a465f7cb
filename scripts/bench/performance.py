"""
`python -m scripts.bench.performance`: write docs/performance.md and its plots.

With `--measure` it measures anew first.  Each kind of measurement is kept as a file in
docs/performance/, so that one can be taken without the others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from scripts.bench import kept, loads, profile
from scripts.bench.page import page
from scripts.bench.plots import draw
from scripts.bench.yardstick import trimmed

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = "performance"
PAGE = "performance.md"

SAMPLED = 20.0  #: seconds of each sampling of each workload


@dataclass(frozen=True, slots=True)
class Means:
    """What measuring needs to be told."""

    peers: Path | None  #: the yardstick's folder
    trace: Path | None  #: arrival times, seconds, one a line
    bench_options: Sequence[str]  #: for the yardstick

    def yardstick(self) -> Path:
        """Return the yardstick's folder; raises UsageError where it was not named."""
        if self.peers is None:
            raise click.UsageError("--peers is missing: the folder of the yardstick")
        return self.peers

    def data(self) -> Path:
        """Return the folder of the graph and the bodies that the yardstick has made."""
        work = os.environ.get("PEERS_WORK")
        return (Path(work) if work else self.yardstick() / ".work") / "data"


def _yardstick(means: Means) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "run.json"
        command = [sys.executable, "run.py", "bench", "--out", str(file), *means.bench_options]
        subprocess.run(command, cwd=means.yardstick(), check=True)  # noqa: S603 - what a person named
        return trimmed(json.loads(file.read_text(encoding="utf-8")))


def _profile(means: Means) -> dict[str, Any]:
    return profile.measure(means.data(), SAMPLED)


def _decode(_: Means) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "decode.json"
        command = [sys.executable, "-m", "scripts.bench.decode", "--json", str(file)]
        subprocess.run(command, check=True)  # noqa: S603 - a program of ours
        measured: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return measured


def _client(means: Means) -> dict[str, Any]:
    return loads.of_known_servers(means.data())


def _loadtest(means: Means) -> dict[str, Any]:
    return loads.under_load(means.data())


def _replay(means: Means) -> dict[str, Any]:
    if means.trace is None:
        raise click.UsageError("--trace is missing: a file of arrival times")
    return loads.replayed(means.data(), means.trace)


#: How each kind is measured.
MEASURES: Mapping[str, Callable[[Means], dict[str, Any]]] = {
    "yardstick": _yardstick,
    "profile": _profile,
    "decode": _decode,
    "client": _client,
    "loadtest": _loadtest,
    "replay": _replay,
}


def write_page(docs: Path) -> None:
    """Write the page and its plots into *docs*, out of what is kept there."""
    measured = kept.read_all(docs / FOLDER)
    (docs / PAGE).write_text(page(measured), encoding="utf-8")
    draw(measured, docs)


def _kinds(text: str) -> list[str]:
    """Return the kinds in *text*, with commas in between; all where it is empty."""
    kinds = text.split(",") if text else list(MEASURES)
    unknown = [kind for kind in kinds if kind not in MEASURES]
    if unknown:
        raise click.UsageError(f"--only takes {', '.join(MEASURES)}, not {', '.join(unknown)}")
    return kinds


FOLDER_TYPE = click.Path(exists=True, file_okay=False, path_type=Path)
FILE_TYPE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--measure", is_flag=True, help="Measure anew; else only write the page.")
@click.option("--peers", type=FOLDER_TYPE, help="The folder of the yardstick that has run.py.")
@click.option("--trace", type=FILE_TYPE, help="Arrival times to replay: seconds, one a line.")
@click.option("--only", default="", help=f"What to measure: {','.join(MEASURES)}.")
@click.option("--results", type=FILE_TYPE, help="A result of the yardstick, kept as it is.")
@click.argument("bench_options", nargs=-1)
def main(
    measure: bool,
    peers: Path | None,
    trace: Path | None,
    only: str,
    results: Path | None,
    bench_options: Sequence[str],
) -> None:
    """Write docs/performance.md; BENCH_OPTIONS, behind --, go to the yardstick's `run.py bench`."""
    if results is not None:
        trim = trimmed(json.loads(results.read_text(encoding="utf-8")))
        kept.write(DOCS / FOLDER, "yardstick", trim)
    means = Means(peers, trace, bench_options)
    for kind in _kinds(only) if measure else ():
        click.echo(f"measuring: {kind}", err=True)
        kept.write(DOCS / FOLDER, kind, MEASURES[kind](means))
    write_page(DOCS)


if __name__ == "__main__":
    main()
