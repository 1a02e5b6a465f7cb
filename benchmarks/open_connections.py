"""
`python -m benchmarks.open_connections`: what open connections cost.

A server of the null model, in a process of its own, is loaded by 64 clients in a closed loop, among
10, 100, 1,000 and 10,000 further connections that are open and idle, in turn, in each round.
States the CPU of the server for each request, and the memory that an idle connection takes.  The
exit code is 1 if a bound does not hold.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import click

from benchmarks.kept import json_option, stamped, write
from benchmarks.machine import process_cpu_seconds, resident_bytes
from benchmarks.served import serving
from benchmarks.tables import table
from benchmarks.wrk import closed_loop

COUNTS = (10, 100, 1_000, 10_000)  #: idle connections
CLIENTS = 64
BODY_BYTES = 1024
SETTLING = 1.0  #: seconds until a change of the connections is accepted, or closed

#: The CPU of a request among most connections, to that among fewest; bytes for a connection.
MAX_CPU_RATIO, MAX_BYTES = 1.5, 16 * 1024

Figures = dict[str, Any]


@contextmanager
def idle_connections(url: str, count: int) -> Iterator[None]:
    """Context manager: keep *count* connections to *url* open, which have each had an answer."""
    place = urlsplit(url)
    address = (place.hostname or "", place.port or 0)
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            connection = socket.create_connection(address, timeout=10)
            opened.append(connection)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.recv(4096)
        sleep(SETTLING)
        yield
    finally:
        for connection in opened:
            connection.close()
        sleep(SETTLING)


def measure(pid: int, url: str, count: int, seconds: float) -> Figures:
    """Return the figures of 64 clients among *count* idle connections, for *seconds*."""
    before = resident_bytes(pid)
    with idle_connections(url, count):
        memory = (resident_bytes(pid) - before) / count
        cpu = process_cpu_seconds(pid)
        figures = closed_loop(url, CLIENTS, seconds, BODY_BYTES)
        used = process_cpu_seconds(pid) - cpu
    if figures.refused or figures.broken:
        raise click.ClickException(f"not all requests were answered: {figures}")
    cpu = used / figures.answered * 1e6
    return {"open": count, "cpu_us": cpu, "rate": figures.rate, "bytes": memory}


def summary(rounds: list[Figures]) -> list[Figures]:
    """Return a row for each number of connections: medians over the rounds."""
    rows = []
    for count in COUNTS:
        those = [it for it in rounds if it["open"] == count]
        rows.append(
            {
                "open": count,
                "cpu_us": round(median(it["cpu_us"] for it in those), 1),
                "requests_per_s": round(median(it["rate"] for it in those)),
                # Later rounds use memory again that the first one has freed.
                "bytes_per_connection": round(max(it["bytes"] for it in those)),
            }
        )
    return rows


def verdicts(rows: list[Figures]) -> list[Mapping[str, Any]]:
    """Return the bounds, and whether they hold."""
    found = {
        "CPU of a request, most to fewest": (
            round(rows[-1]["cpu_us"] / rows[0]["cpu_us"], 2), MAX_CPU_RATIO),
        "bytes of an idle connection": (rows[-1]["bytes_per_connection"], MAX_BYTES),
    }  # fmt: skip
    return [
        {
            "figure": name,
            "measured": measured,
            "bound": bound,
            "": "pass" if measured <= bound else "FAIL",
        }
        for name, (measured, bound) in found.items()
    ]


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Of all numbers of connections.")
@click.option("--seconds", default=5.0, show_default=True, help="Of load for each number.")
@json_option
def main(rounds: int, seconds: float, file: Path | None) -> None:
    """Measure what open connections cost."""
    stamp = stamped("open connections", {"clients": CLIENTS, "rounds": rounds, "seconds": seconds})
    with TemporaryDirectory() as name, serving("null", Path(name), Path(name)) as (pid, url):
        closed_loop(url, CLIENTS, seconds, BODY_BYTES)
        found = [measure(pid, url, n, seconds) for _ in range(rounds) for n in COUNTS]
    rows = summary(found)
    judged = verdicts(rows)
    click.echo(f"{table(rows)}\n\n{table(judged)}")
    if file is not None:
        write(file, {**stamp, "rows": rows, "verdicts": judged})
    if any(it[""] == "FAIL" for it in judged):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
