"""
`python -m benchmarks.accounting run`: what it costs a request to be counted, and to be logged.

A server of the null model, in a process of its own, is loaded by 64 clients in a closed loop.  It
changes to the next of `WAYS` at a signal, so that all are measured in one process, one directly
after the other, in each round.  The CPU is that of the process, from the kernel.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import TYPE_CHECKING, Any, cast

import click

from benchmarks.kept import Kept, json_option, stamped, write
from benchmarks.machine import process_cpu_seconds
from benchmarks.peer import dialect_of, null_feed, write_length
from benchmarks.served import switching
from benchmarks.tables import table
from benchmarks.wrk import Closed, closed_loop
from server.inference import Inference
from server.model_loading import load_null
from server.process.logs import begin_logging
from server.request_counts import CountedRequest, End, RequestCounts
from server.settings.table import Settings

if TYPE_CHECKING:
    from server.service import InferenceService

CLIENTS = 64
BODY_BYTES = 1024
SETTLING = 1.0  #: seconds of load before anything counts
SWITCHING = 0.05  #: seconds in which a server without load changes to the next way


@dataclass(frozen=True, slots=True)
class Way:
    """A way to serve, and the one that it is compared with: the way before it."""

    name: str
    counts: bool  #: whether requests are counted and their phases are observed
    logs: bool  #: whether the access log is written


#: In the order in which the server changes to them; the first follows the last.
WAYS = (
    Way("neither", counts=False, logs=False),
    Way("counted", counts=True, logs=False),
    Way("counted and logged", counts=True, logs=True),
)


# --- the server


class Uncounted(RequestCounts):
    """Counts nothing."""

    def receive(self) -> CountedRequest:
        """Return the same object each time, whose end counts nothing."""
        return UNCOUNTED


class _Unending(CountedRequest):
    def end(self, end: End) -> None:
        """Do nothing."""


UNCOUNTED = _Unending(RequestCounts())


class Switch:
    """Changes a server from one of `WAYS` to the next."""

    def __init__(self, service: "InferenceService") -> None:
        """*service*, which is ready, writes the access log."""
        self._connections = service.connections
        self._inference = service.models.find()
        self._log = self._connections.access_log
        self._counted = self._inference.requests, self._inference.observe
        self._next = count()
        self.change()

    def change(self) -> None:
        """Change to the next way; the requests under way end as they began."""
        way = WAYS[next(self._next) % len(WAYS)]
        requests, observe = self._counted
        self._inference.requests = requests if way.counts else Uncounted()
        _set_observe(self._inference, observe if way.counts else lambda *_: None)
        self._connections.access_log = self._log if way.logs else None


def _set_observe(inference: Inference, observe: Callable[..., None]) -> None:
    inference.observe = observe  # type: ignore[method-assign]  # to leave it out


def serve_ways(port: int) -> None:
    """Serve on *port* until a signal ends the process; SIGUSR1 changes to the next way."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs one

    from server.service import InferenceService  # noqa: PLC0415 - Klein needs the reactor

    call_from_thread = cast("Any", reactor).callFromThread
    log = begin_logging("plain")

    def ready() -> None:
        switch = Switch(service)
        signal.signal(signal.SIGUSR1, lambda *_: call_from_thread(switch.change))

    service = InferenceService(
        Settings(port=port, access_log=True, default_timeout=float("inf")),
        reactor,
        fail=sys.exit,
        on_loaded=ready,
        load=load_null,
        dialect=dialect_of(null_feed, write_length),
        write_access=log.write_access,
    )
    log.start(reactor)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


# --- the measurement


def measure(
    rounds: int, change: Callable[[], object], load: Callable[[], Closed], cpu: Callable[[], float]
) -> Kept:
    """
    Measure each of `WAYS` in each of *rounds* rounds.

    *change* lets the server change to the next way, *load* loads it, *cpu* returns the CPU seconds
    that it has used.  Return the lists of the rounds by way: `rate`, the answers a second, and
    `microseconds`, the CPU of a request.  Raises `click.ClickException` for an answer that is none.
    """
    rates: dict[str, list[float]] = {way.name: [] for way in WAYS}
    costs: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            before = cpu()
            figures = load()
            if figures.refused or figures.broken:
                raise click.ClickException(f"not all requests were answered: {figures}")
            costs[way.name].append(round((cpu() - before) / figures.answered * 1e6, 3))
            rates[way.name].append(round(figures.rate, 1))
            change()
    return {"clients": CLIENTS, "body": BODY_BYTES, "rate": rates, "microseconds": costs}


def report(kept: Kept) -> str:
    """
    Return a table of the figures in *kept*, each the median over the rounds.

    A ratio is that of a way and the way before it in `WAYS`, in the same round.
    """
    rates: dict[str, list[float]] = kept["rate"]
    costs: dict[str, list[float]] = kept["microseconds"]
    rows = []
    before = WAYS[0].name
    for way, cost in costs.items():
        each = _ratios(cost, costs[before])
        rows.append(
            {
                "requests are": way,
                "answers_per_s": rates[way],
                "cpu_us": cost,
                "rate_ratio": _ratios(rates[way], rates[before]),
                "cpu_ratio": each,
                "min": min(each),
                "max": max(each),
            }
        )
        before = way
    return table(rows)


def _ratios(figures: list[float], others: list[float]) -> list[float]:
    return [one / other for one, other in zip(figures, others, strict=True)]


@click.group()
def main() -> None:
    """Measure what it costs a request to be counted, and to be logged."""


@main.command()
@click.option("--rounds", default=20, show_default=True, help="Rounds; each measures all ways.")
@click.option("--seconds", default=3, show_default=True, help="Of load for each way, a round.")
@json_option
def run(rounds: int, seconds: int, file: Path | None) -> None:
    """Load a server of its own in each way by turns."""
    stamp = stamped("accounting", {"seconds": seconds})
    with TemporaryDirectory() as folder, switching(Path(folder)) as (pid, url):

        def change() -> None:
            os.kill(pid, signal.SIGUSR1)
            sleep(SWITCHING)

        closed_loop(url, CLIENTS, SETTLING, BODY_BYTES)
        figures = measure(
            rounds,
            change,
            lambda: closed_loop(url, CLIENTS, seconds, BODY_BYTES),
            lambda: process_cpu_seconds(pid),
        )
    click.echo(report(figures))
    if file is not None:
        write(file, {**stamp, **figures})


@main.command()
@click.option("--port", required=True, type=int, help="The port on 127.0.0.1.")
def serve(port: int) -> None:
    """Serve the null model; SIGUSR1 changes to the next way."""
    serve_ways(port)


if __name__ == "__main__":
    main()
