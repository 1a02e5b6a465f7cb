"""
`python -m benchmarks.performance`: write docs/performance.md and its plots.

With `--measure` it measures anew first.  Each kind of measurement is kept as a file in
docs/performance/, so that one can be taken without the others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks import kept, loads, profile
from benchmarks.page import page
from benchmarks.plots import draw
from benchmarks.served import DATA
from benchmarks.yardstick import of_workload, trimmed
from scripts.load.arrivals import read_trace

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = "performance"
PAGE = "performance.md"

SAMPLED = 20.0  #: seconds of each sampling of each workload


@dataclass(frozen=True, slots=True)
class Means:
    """What measuring needs to be told; all methods raise UsageError where it was not."""

    peers: Path | None = None  #: the yardstick's folder
    trace: Path | None = None  #: arrival times, seconds, one a line
    trace_source: str = ""  #: where they are from, in words
    bench_options: Sequence[str] = ()  #: for the yardstick

    def yardstick(self) -> Path:
        """Return the yardstick's folder."""
        if self.peers is None:
            raise click.UsageError("--peers is missing: the folder of the yardstick")
        if not (self.peers / "run.py").exists():
            raise click.UsageError(
                f"--peers is no yardstick, there is no run.py in it: {self.peers}"
            )
        return self.peers

    def data(self) -> Path:
        """Return the folder of the graph and the bodies that the yardstick has made."""
        work = os.environ.get("PEERS_WORK")
        folder = (Path(work) if work else self.yardstick() / ".work") / "data"
        missing = [name for name in DATA if not (folder / name).exists()]
        if missing:
            names = ", ".join(missing)
            raise click.UsageError(f"run.py setup makes what is missing in {folder}: {names}")
        return folder

    def arrivals(self) -> Path:
        """Return the file of arrival times, which can be read."""
        if self.trace is None:
            raise click.UsageError("--trace is missing: a file of arrival times")
        try:
            read_trace(self.trace)
        except ValueError as problem:
            raise click.UsageError(f"--trace: {problem}") from problem
        return self.trace


def _yardstick(means: Means) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "run.json"
        command = [sys.executable, "run.py", "bench", "--out", str(file), *means.bench_options]
        subprocess.run(command, cwd=means.yardstick(), check=True)  # noqa: S603 - what a person named
        return trimmed(json.loads(file.read_text(encoding="utf-8")))


def _shedding(means: Means) -> dict[str, Any]:
    """Return workload C; B comes before it, for the capacity that its rates are shares of."""
    options = ("--workloads", "BC", *means.bench_options)
    return of_workload("C", _yardstick(replace(means, bench_options=options)))


def _profile(means: Means) -> dict[str, Any]:
    return profile.measure(means.data(), SAMPLED)


def _overhead(_: Means) -> dict[str, Any]:
    return _by_itself("benchmarks.overhead")


def _decode(_: Means) -> dict[str, Any]:
    return _by_itself("benchmarks.decode")


def _sleeping(_: Means) -> dict[str, Any]:
    return _by_itself("benchmarks.sleeping", "run")


def _by_itself(module: str, *command: str) -> dict[str, Any]:
    """Return what *module*, told by *command*, measures in a process of its own."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "measured.json"
        program = [sys.executable, "-m", module, *command, "--json", str(file)]
        subprocess.run(program, check=True)  # noqa: S603 - a program of ours
        measured: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return measured


def _client(means: Means) -> dict[str, Any]:
    return loads.of_known_servers(means.data())


def _loadtest(means: Means) -> dict[str, Any]:
    return loads.under_load(means.data())


def _replay(means: Means) -> dict[str, Any]:
    return loads.replayed(means.data(), means.arrivals(), means.trace_source)


@dataclass(frozen=True, slots=True)
class Measure:
    """How a kind is measured."""

    take: Callable[[Means], dict[str, Any]]
    needs: tuple[Callable[[Means], Path], ...] = ()  #: each raises UsageError where it is missing


MEASURES = {
    "yardstick": Measure(_yardstick, (Means.yardstick,)),
    "shedding": Measure(_shedding, (Means.yardstick,)),
    "profile": Measure(_profile, (Means.data,)),
    "overhead": Measure(_overhead),
    "decode": Measure(_decode),
    "client": Measure(_client, (Means.data,)),
    "loadtest": Measure(_loadtest, (Means.data,)),
    "replay": Measure(_replay, (Means.data, Means.arrivals)),
    "sleeping": Measure(_sleeping),
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


def _refuse_what_is_ignored(context: click.Context) -> None:
    """Raise UsageError for options that say what to measure where nothing is measured."""
    given = context.params
    if given["trace_source"] and not given["trace"]:
        raise click.UsageError("--trace-source tells of a --trace, which is missing")
    if given["measure"]:
        return
    names = {"bench_options": "BENCH_OPTIONS", "trace_source": "--trace-source"}
    for key in ("peers", "trace", "trace_source", "only", "bench_options"):
        if given[key]:
            name = names.get(key, f"--{key}")
            raise click.UsageError(f"{name} says what to measure: --measure is missing")


def _checked(kinds: Sequence[str], means: Means, results: Path | None) -> None:
    """Raise UsageError where *means* lack what one of *kinds* needs, or have what none does."""
    if "yardstick" in kinds and results is not None:
        raise click.UsageError("--results is for a yardstick that is not measured anew")
    if not {"yardstick", "shedding"} & set(kinds) and means.bench_options:
        raise click.UsageError("BENCH_OPTIONS are for the yardstick, which is not measured")
    for kind in kinds:
        for need in MEASURES[kind].needs:
            need(means)


FOLDER_TYPE = click.Path(exists=True, file_okay=False, path_type=Path)
FILE_TYPE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--measure", is_flag=True, help="Measure anew; else only write the page.")
@click.option("--peers", type=FOLDER_TYPE, help="The folder of the yardstick that has run.py.")
@click.option("--trace", type=FILE_TYPE, help="Arrival times to replay: seconds, one a line.")
@click.option("--trace-source", default="", help="Where the trace is from, as the page tells it.")
@click.option("--only", default="", help=f"What to measure: {','.join(MEASURES)}.")
@click.option(
    "--results",
    type=FILE_TYPE,
    help="A yardstick's result to keep, trimmed to what the page needs.",
)
@click.argument("bench_options", nargs=-1)
@click.pass_context
def main(
    context: click.Context,
    measure: bool,
    peers: Path | None,
    trace: Path | None,
    trace_source: str,
    only: str,
    results: Path | None,
    bench_options: Sequence[str],
) -> None:
    """Write docs/performance.md; BENCH_OPTIONS, behind --, go to the yardstick's `run.py bench`."""
    _refuse_what_is_ignored(context)
    kinds = _kinds(only) if measure else []
    means = Means(peers, trace, trace_source, bench_options)
    _checked(kinds, means, results)
    if results is not None:
        trim = trimmed(json.loads(results.read_text(encoding="utf-8")))
        kept.write(DOCS / FOLDER, "yardstick", trim)
    for kind in kinds:
        click.echo(f"measuring: {kind}", err=True)
        kept.write(DOCS / FOLDER, kind, MEASURES[kind].take(means))
    write_page(DOCS)


if __name__ == "__main__":
    main()
