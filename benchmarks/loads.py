"""
`python -m benchmarks.loads`: load this server alone with its own load test.

`rates` posts a JPEG to the model `net` of `benchmarks.peer`: first in a closed loop, then as
Poisson arrivals at shares of the closed loop's rate.  `known` loads servers whose times are known,
and so checks the load test.
"""

import json
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.kept import json_option, stamped, write
from benchmarks.served import (
    WORKLOADS,
    Workload,
    data_option,
    known_times,
    load_test,
    serving,
    shown,
)
from benchmarks.tables import table

IMAGE, NULL = WORKLOADS["B"], WORKLOADS["A"]
SHARES = (0.3, 0.6, 0.9, 1.2)  #: of the rate of a closed loop

#: Loads of servers whose times are known: the options of the server and of the load.
CONSTANT = ("--rate", "100", "--arrivals", "constant")
KNOWN = {
    "answers at once; 64 clients": ((), ("--clients", "64")),
    "answers after 5 ms; 100/s": (("--delay", "5ms"), CONSTANT),
    "stalls once, for 1 s; 100/s": (
        ("--delay", "5ms", "--stall-at", "500", "--stall", "1s"),
        CONSTANT,
    ),
}

#: The figures that are kept and printed.
FIGURES = (
    "offered", "rate", "good_share", "p50_ms", "p99_ms", "max_ms", "mean_rows", "refused", "errors",
    "send_lag_p99_ms", "client_cores",
)  # fmt: skip

#: An option of both commands.
seconds_option = click.option(
    "--seconds", default=10, show_default=True, help="Of each load, in seconds."
)


def loaded(
    name: str, workload: Workload, url: str, data: Path, folder: Path, *options: str
) -> dict[str, Any]:
    """
    Run one load test, and return a row named *name* with its command and figures.

    The server is at *url*; the folder *data* has the body of *workload*.  The load test writes its
    figures to a file in *folder*.
    """
    file = folder / "load.json"
    command = load_test(workload, url, data, file, *options)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    return row(name, shown(command), json.loads(file.read_text(encoding="utf-8")))


def row(name: str, command: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with *name*, *command*, and the figures in *figures* that the table shows."""
    kept = {key: figures[key] for key in (*FIGURES, "warnings") if key in figures}
    return {"name": name, "command": command, **kept}


def finish(what: str, rows: list[dict[str, Any]], file: Path | None) -> None:
    """
    Print the table of *rows* and all warnings; write *file*, unless it is None.

    *what* is the name of the benchmark in the file.
    """
    click.echo(table([{key: row.get(key) for key in ("name", *FIGURES)} for row in rows]))
    for each in rows:
        for warning in each.get("warnings", ()):
            click.echo(f"{each['name']}: {warning}")
    if file is not None:
        write(file, stamped(what, {"rows": rows}))


@click.group()
def main() -> None:
    """Load this server alone, or servers whose times are known."""


@main.command()
@data_option
@seconds_option
@json_option
def rates(data: Path, seconds: int, file: Path | None) -> None:
    """Post a JPEG to the model net: a closed loop, then four rates."""
    lasting = ("--duration", str(seconds))
    with TemporaryDirectory() as name, serving("net", data, Path(name)) as (_, url):
        place = (IMAGE, url, data, Path(name))
        clients = str(IMAGE.clients)
        rows = [loaded(f"{clients} clients", *place, "--clients", clients, *lasting)]
        for share in SHARES:
            rate = str(round(rows[0]["rate"] * share, 1))
            rows.append(loaded(f"{share:.0%}", *place, "--rate", rate, *lasting))
    finish("rates", rows, file)


@main.command()
@seconds_option
@json_option
def known(seconds: int, file: Path | None) -> None:
    """Load servers whose times are known."""
    rows = []
    for name, (server, load) in KNOWN.items():
        with TemporaryDirectory() as folder, known_times(Path(folder), *server) as url:
            data = Path(folder)
            (data / NULL.body).write_bytes(bytes(1024))
            figures = loaded(name, NULL, url, data, data, *load, "--duration", str(seconds))
        program = shlex.join(["python", "-m", "benchmarks.known_server", *server])
        rows.append({**figures, "server": program})
    finish("known", rows, file)


if __name__ == "__main__":
    main()
