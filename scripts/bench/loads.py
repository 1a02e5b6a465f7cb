"""
Load this server alone by its own load test: rates of all sizes, and a trace.

The picture and the graph are those of the yardstick's workload B, so that its ceiling counts.
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scripts.bench.load_page import COLUMNS
from scripts.bench.machine import this_machine
from scripts.bench.served import SETTLING, WORKLOADS, load_test, serving
from scripts.load.arrivals import read_trace

PICTURE = WORKLOADS["B"]
CLOSED, OPEN, TRACE = 10, 20, 60  #: seconds of a load
SHARES = (0.3, 0.6, 0.9, 1.2)  #: of the rate of a closed loop
REPLAYED = (0.6, 0.9)  #: and those that a trace has on average

COMMAND = f"tensorferry loadtest URL --body photo.jpg --warmup {SETTLING:g}s"


def under_load(data: Path) -> dict[str, Any]:
    """Return the figures of a closed loop, and of arrivals at shares of its rate."""
    with TemporaryDirectory() as name, serving("net", data, Path(name)) as (_, url):
        rows = [_closed(url, data, Path(name))]
        for share in SHARES:
            rate = round(rows[0]["rate"] * share, 1)
            figures = _figures(url, data, Path(name), "--rate", str(rate), "--duration", str(OPEN))
            rows.append(row(f"{share:.0%}", figures))
    return _kept("loadtest", f"{COMMAND} --rate RATE --duration {OPEN}s", rows)


def replayed(data: Path, trace: Path) -> dict[str, Any]:
    """Return the figures of the arrivals in *trace*, as fast as makes shares of that rate."""
    times = read_trace(trace)
    with TemporaryDirectory() as name, serving("net", data, Path(name)) as (_, url):
        rows = [_closed(url, data, Path(name))]
        for share in REPLAYED:
            speed = round(speed_for(rows[0]["rate"] * share, times[-1], len(times)), 2)
            figures = _figures(
                url, data, Path(name), "--arrivals", str(trace), "--speed", str(speed),
                "--duration", str(TRACE),
            )  # fmt: skip
            rows.append(row(f"{share:.0%} on average, {speed:g} times its speed", figures))
    return _kept("replay", f"{COMMAND} --arrivals FILE --speed SPEED --duration {TRACE}s", rows)


def speed_for(rate: float, seconds: float, arrivals: int) -> float:
    """Return how fast a trace of so many *arrivals* in *seconds* is to be for *rate* a second."""
    return rate * seconds / arrivals


def row(name: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of the *figures* of a load test."""
    return {"name": name, **{key: figures[key] for key in (*COLUMNS, "warnings") if key in figures}}


def _closed(url: str, data: Path, folder: Path) -> dict[str, Any]:
    clients = str(PICTURE.clients)
    figures = _figures(url, data, folder, "--clients", clients, "--duration", str(CLOSED))
    return row(f"{clients} clients, 100%", figures)


def _figures(url: str, data: Path, folder: Path, *options: str) -> dict[str, Any]:
    file = folder / "load.json"
    command = load_test(PICTURE, url, data, file, *options)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - a program of ours
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return figures


def _kept(what: str, command: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"what": what, "machine": this_machine(), "command": command, "rows": rows}
