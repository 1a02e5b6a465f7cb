"""
`python -m benchmarks.choosing_live`: the better of two and other choices, with real processes.

A registry and three workers that sleep, one of them three times as long, which announce themselves
to it.  Each client of a closed loop takes a worker for each request: it asks the registry over
HTTP, takes the workers in turn, or any.  Each round measures all ways, one directly after the
other.  The exit code is 1 if a bound does not hold.
"""

import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import orjson
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater, react

from benchmarks.choosing import MAX_P99_RATIO, MIN_RATE_RATIO, OURS, THEIRS
from benchmarks.kept import json_option, stamped, write
from benchmarks.registrations import Exchange, registry
from benchmarks.served import sleeping
from benchmarks.tables import middle, table

#: Seconds of a run of one row, by worker; each further row adds a tenth.
SERVICES = (0.020, 0.020, 0.060)
MAX_ROWS = 8

CLIENTS = 48
SETTLING = 3.0  #: seconds of load before anything counts: the workers report every second
PATIENCE = 30.0  #: seconds until all workers are listed

BODY = b"a row"
REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n"
REQUEST += b"X-Request-Timeout-Ms: 60000\r\n"  # so that no worker refuses it
REQUEST += b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
NEXT = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LIST = b"GET /workers HTTP/1.1\r\nHost: a\r\n\r\n"

#: Returns the port of the worker for the next request.
Choose = Callable[[], Awaitable[int]]


class Connections:
    """Connections to 127.0.0.1 that are kept for the next request to the same port."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._idle: dict[int, list[Exchange]] = {}

    async def ask(self, port: int, request: bytes) -> bytes:
        """Return the body of the answer to *request*; an error of the connection is raised."""
        idle = self._idle.setdefault(port, [])
        if idle:
            connection = idle.pop()
        else:
            endpoint = TCP4ClientEndpoint(self._reactor, "127.0.0.1", port)
            connection = await connectProtocol(endpoint, Exchange())
        answer = await connection.ask(request)
        idle.append(connection)
        return answer

    def close(self) -> None:
        """Close all."""
        for idle in self._idle.values():
            for connection in idle:
                connection.transport.loseConnection()


def choices(connections: Connections, asked: int, ports: Sequence[int]) -> dict[str, Choose]:
    """Return the ways to choose one of *ports*, by name; *asked* is the port of the registry."""
    turns = cycle(ports)
    random_number = random.Random(1)  # noqa: S311 - no secret

    async def better_of_two() -> int:
        return int(await connections.ask(asked, NEXT))

    async def round_robin() -> int:
        return next(turns)

    async def at_random() -> int:
        return random_number.choice(ports)

    return {OURS: better_of_two, THEIRS: round_robin, "random": at_random}


async def load(connections: Connections, choose: Choose, seconds: float) -> dict[str, float]:
    """Return the figures of a closed loop of *seconds* seconds, after `SETTLING`."""
    counts_from = time.monotonic() + SETTLING
    ends = counts_from + seconds
    latencies: list[float] = []

    async def client() -> None:
        while (began := time.monotonic()) < ends:
            await connections.ask(await choose(), REQUEST)
            if began >= counts_from:
                latencies.append(time.monotonic() - began)

    await gatherResults([ensureDeferred(client()) for _ in range(CLIENTS)], consumeErrors=True)
    return {
        "rate": round(len(latencies) / (time.monotonic() - counts_from), 1),
        "mean_ms": round(float(np.mean(latencies)) * 1e3, 2),
        "p99_ms": round(float(np.percentile(latencies, 99)) * 1e3, 2),
    }


@contextmanager
def workers(folder: Path, registry_port: int) -> Iterator[None]:
    """Run the workers, announced to the registry at *registry_port*."""
    with ExitStack() as stack:
        for number, seconds in enumerate(SERVICES):
            own = folder / str(number)
            own.mkdir()
            times = {rows: seconds * (0.9 + 0.1 * rows) for rows in (1, MAX_ROWS)}
            (own / "latency.json").write_text(json.dumps(times))
            announce = ("--announce", f"registry://127.0.0.1:{registry_port}")
            stack.enter_context(sleeping(own, own / "latency.json", *announce))
        yield


async def listed(reactor: Any, connections: Connections, port: int) -> list[int]:
    """Return the ports of all workers, when the registry at *port* lists them."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = orjson.loads(await connections.ask(port, LIST))["workers"]
        if len(found) == len(SERVICES):
            return [worker["port"] for worker in found]
        await deferLater(reactor, 0.1)
    raise click.ClickException(f"the registry lists {len(found)} of {len(SERVICES)} workers")


async def measure(reactor: Any, port: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return a row for each way, with a list of each figure: one for each round."""
    connections = Connections(reactor)
    ways = choices(connections, port, await listed(reactor, connections, port))
    rows: list[dict[str, Any]] = [{"way": way} for way in ways]
    for _ in range(rounds):
        for row, choose in zip(rows, ways.values(), strict=True):
            for figure, value in (await load(connections, choose, seconds)).items():
                row.setdefault(figure, []).append(value)
    connections.close()
    return rows


def verdicts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the bounds of p99 and rate, each with the median of the ratios of all rounds."""
    ours, theirs = (next(row for row in rows if row["way"] == way) for way in (OURS, THEIRS))
    found = []
    for figure, bound, least in (
        ("p99_ms", MAX_P99_RATIO, False),
        ("rate", MIN_RATE_RATIO, True),
    ):
        pairs = zip(ours[figure], theirs[figure], strict=True)
        ratio = middle(one / other for one, other in pairs) or 0.0
        passed = ratio >= bound if least else ratio <= bound
        found.append(
            {"ratio of": figure, "bound": bound, "ratio": ratio, "": "pass" if passed else "FAIL"}
        )
    return found


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Rounds; each measures all ways.")
@click.option("--seconds", default=5.0, show_default=True, help="Of load for each way, a round.")
@json_option
def main(rounds: int, seconds: float, file: Path | None) -> None:
    """Compare the ways to choose a worker."""
    stamp = stamped("choosing_live", {"services": SERVICES, "clients": CLIENTS, "seconds": seconds})

    async def run(reactor: Any) -> None:
        with (
            TemporaryDirectory() as folder,
            registry(Path(folder)) as (_, port, _),
            workers(Path(folder), port),
        ):
            rows = await measure(reactor, port, rounds, seconds)
        judged = verdicts(rows)
        click.echo(f"{table(rows)}\n\n{table(judged)}")
        if file is not None:
            write(file, {**stamp, "rows": rows, "verdicts": judged})
        if any(it[""] == "FAIL" for it in judged):
            sys.exit(1)

    react(lambda reactor: ensureDeferred(run(reactor)))


if __name__ == "__main__":
    main()
