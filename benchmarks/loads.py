"""
Load this server alone by its own load test: rates of all sizes, and a trace.

The bodies and the graph are those of the yardstick, so that its ceilings count.
"""

import json
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.load_page import COLUMNS
from benchmarks.machine import this_machine
from benchmarks.served import WORKLOADS, known_times, load_test, serving, shown
from scripts.load.arrivals import read_trace

IMAGE, NOTHING = "B", "A"  #: of `WORKLOADS`
CLOSED, OPEN, TRACE = 10, 20, 60  #: seconds of a load
SHARES = (0.3, 0.6, 0.9, 1.2)  #: of the rate of a closed loop
REPLAYED = 0.6  #: and the one that a trace has on average, of images
SPEED = 40.0  #: how fast a trace is replayed where there is no model

#: What the load test says of servers whose times are known: the server's options and the load's.
KNOWN = {
    "answers at once; 64 clients": ((), ("--clients", "64", "--duration", "10")),
    "answers after 5 ms; 100/s": (
        ("--delay", "5ms"),
        ("--rate", "100", "--arrivals", "constant", "--duration", "10"),
    ),
    "stalls once, for 1 s; 100/s": (
        ("--delay", "5ms", "--stall-at", "500", "--stall", "1s"),
        ("--rate", "100", "--arrivals", "constant", "--duration", "10"),
    ),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a load."""

    command: str  #: as it ran, without places
    figures: Mapping[str, Any]


def under_load(data: Path) -> dict[str, Any]:
    """Return the figures of a closed loop, and of arrivals at shares of its rate."""
    with TemporaryDirectory() as name, serving("net", data, Path(name)) as (_, url):
        rows = [_closed(url, data, Path(name))]
        for share in SHARES:
            rate = round(rows[0]["rate"] * share, 1)
            loaded = _loaded(
                IMAGE, url, data, Path(name), "--rate", str(rate), "--duration", str(OPEN)
            )
            rows.append(row(f"{share:.0%}", IMAGE, loaded))
    return _kept("loadtest", rows)


def of_known_servers(data: Path) -> dict[str, Any]:
    """Return what the load test says of servers whose times are known."""
    rows = []
    for name, (server, load) in KNOWN.items():
        with TemporaryDirectory() as folder, known_times(Path(folder), *server) as url:
            loaded = row(name, "", _loaded(NOTHING, url, data, Path(folder), *load))
        program = shlex.join(["python", "-m", "benchmarks.known_server", *server])
        rows.append({**loaded, "server": program})
    return _kept("client", rows)


def replayed(data: Path, trace: Path, source: str) -> dict[str, Any]:
    """
    Return the figures of *trace* on the null model, and on the net at a share of its rate.

    *source* says where it is from; it is kept beside them.
    """
    arrivals = ("--arrivals", trace, "--speed")
    rows = []
    with TemporaryDirectory() as name, serving("null", data, Path(name)) as (_, url):
        loaded = _loaded(NOTHING, url, data, Path(name), *arrivals, str(SPEED))
        rows.append(row(f"null model, {SPEED:g} times its speed", NOTHING, loaded))
    times = read_trace(trace)
    with TemporaryDirectory() as name, serving("net", data, Path(name)) as (_, url):
        closed = _closed(url, data, Path(name))
        speed = round(speed_for(closed["rate"] * REPLAYED, times[-1], len(times)), 2)
        options = (*arrivals, str(speed), "--duration", str(TRACE))
        loaded = _loaded(IMAGE, url, data, Path(name), *options)
        share = f"{REPLAYED:.0%} of what {WORKLOADS[IMAGE].clients} clients get"
        rows.append(row(f"images, {speed:g} times its speed: {share}", IMAGE, loaded))
    return _kept("replay", rows, trace={"file": trace.name, "source": source})


def speed_for(rate: float, seconds: float, arrivals: int) -> float:
    """Return how fast a trace of so many *arrivals* in *seconds* is to be for *rate* a second."""
    return rate * seconds / arrivals


def row(name: str, workload: str, loaded: Loaded) -> dict[str, Any]:
    """Return what is kept of a load test; *workload* says which ceiling it has."""
    told = {key: loaded.figures[key] for key in (*COLUMNS, "warnings") if key in loaded.figures}
    return {"name": name, "workload": workload, "command": loaded.command, **told}


def _closed(url: str, data: Path, folder: Path) -> dict[str, Any]:
    clients = str(WORKLOADS[IMAGE].clients)
    loaded = _loaded(IMAGE, url, data, folder, "--clients", clients, "--duration", str(CLOSED))
    return row(f"{clients} clients, 100%", IMAGE, loaded)


def _loaded(workload: str, url: str, data: Path, folder: Path, *options: str | Path) -> Loaded:
    file = folder / "load.json"
    command = load_test(WORKLOADS[workload], url, data, file, *options)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - a program of ours
    return Loaded(shown(command), json.loads(file.read_text(encoding="utf-8")))


def _kept(what: str, rows: list[dict[str, Any]], **more: object) -> dict[str, Any]:
    return {"what": what, "machine": this_machine(), **more, "rows": rows}
