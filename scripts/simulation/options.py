"""
Check the options of `tensorferry simulate`, and turn them into workloads.

Reads the files that the options name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path

import click

from scripts.load.arrivals import read_trace
from scripts.simulation.engine import Workload
from scripts.simulation.service import Service, built_in, read_service
from scripts.simulation.workloads import Chance, Scenario, arrivals, at_rate, rate_of

#: Defaults; a load is a share of the best rate.
DEFAULT_REQUESTS, DEFAULT_LOAD, DEFAULT_CLIENTS = 20_000, 0.7, 8

#: The patterns of arrivals that need no file.
PATTERNS = ("poisson", "mmpp", "closed")

#: The largest file of arrivals, in bytes: a larger one would take minutes.
MAX_FILE_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line; None: the option was not given.  Times are seconds."""

    latency: Path | None
    profile: str | None
    arrivals: str
    requests: int | None
    load: float | None
    loads: tuple[float, ...] | None
    rate: float | None
    clients: int | None
    think: float | None
    lanes: int
    slo: float | None
    seed: int
    noise: float
    policies: tuple[str, ...]
    tune: bool
    json: bool
    png: Path | None

    def check(self) -> None:
        """Raise UsageError if options contradict each other."""
        closed = self.arrivals == "closed"
        rates = [each for each in (self.load, self.loads, self.rate) if each is not None]
        wrong = {
            "--latency and --profile exclude each other": self.latency and self.profile,
            "give one of --load, --loads and --rate": len(rates) > 1,
            "a closed loop makes its own load: give --clients": closed and rates,
            "--clients and --think need --arrivals closed": not closed
            and (self.clients is not None or self.think is not None),
            "--png draws several loads: give --loads": self.png and not self.loads,
            "--png needs an existing folder": self.png and not self.png.parent.is_dir(),
        }
        for problem, holds in wrong.items():
            if holds:
                raise click.UsageError(problem)

    def service(self) -> Service:
        """
        Return the service, which has the times of runs; raises UsageError for an unusable file.
        """
        if self.latency is None:
            return built_in(self.profile or "gpu")
        try:
            return read_service(self.latency)
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
            raise click.UsageError(f"--latency: {self.latency}: {problem}") from error

    def scenario(self, service: Service) -> Scenario:
        """Return the options that are the same for every load."""
        return Scenario(
            service,
            self.lanes,
            inf if self.slo is None else self.slo,
            Chance(self.seed, self.noise),
        )

    def workloads(self, scenario: Scenario) -> Iterator[tuple[float | None, Workload]]:
        """
        Yield each load and its workload; raises UsageError.

        A load is a share of the best rate of all lanes; None for a closed loop, and if all requests
        arrive at once.
        """
        if self.arrivals == "closed":
            clients, think = self.clients or DEFAULT_CLIENTS, self.think or 0.0
            yield None, scenario.closed_workload(clients, think, self.requests or DEFAULT_REQUESTS)
            return
        for rate, due in self._offered(scenario):
            yield rate and rate / scenario.capacity, scenario.open_workload(due)

    def _offered(self, scenario: Scenario) -> Iterator[tuple[float | None, Sequence[float]]]:
        """
        Yield, for each load, its requests per second, and its arrival times in seconds.

        The requests per second are None if all requests arrive at once.
        """
        loads = self.loads or (() if self.load is None else (self.load,))
        rates: list[float | None] = [load * scenario.capacity for load in loads]
        rates = rates or [self.rate]
        if not all(isfinite(rate or 0.0) for rate in rates):
            raise click.UsageError("the requests per second must be a finite number")
        if self.arrivals not in PATTERNS:
            times = self._arrival_times()[: self.requests]
            for asked in rates:
                due = times if asked is None else at_rate(times, asked)
                yield rate_of(due), due
            return
        for asked in rates:
            rate = asked or DEFAULT_LOAD * scenario.capacity
            yield rate, arrivals(self.arrivals, rate, self.requests or DEFAULT_REQUESTS, scenario)

    def _arrival_times(self) -> Sequence[float]:
        path = Path(self.arrivals)
        problem: object = "no such file"
        try:
            if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
                return read_trace(path)
            if path.is_file():
                problem = f"more than {MAX_FILE_BYTES:,} bytes"
        except OSError as error:
            problem = error.strerror
        except ValueError as error:
            problem = error
        names = ", ".join(PATTERNS)
        raise click.UsageError(
            f"--arrivals: neither {names} nor a file of arrivals: {path}: {problem}"
        )
