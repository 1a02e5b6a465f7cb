"""
Say what the options of `tensorferry simulate` mean together.

Reads the files that they name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path

import click

from scripts.load.arrivals import read_trace
from scripts.simulation.engine import World
from scripts.simulation.service import Service, built_in, read_service
from scripts.simulation.worlds import Chance, Terms, arrivals, at_rate, rate_of

#: What is taken where nothing is said.
REQUESTS, LOAD, CLIENTS = 20_000, 0.7, 8

#: The kinds of arrivals that need no file.
PATTERNS = ("poisson", "mmpp", "closed")

#: Bytes of a file of arrivals: more would take minutes.
MOST_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """The options as they were given, None where they were not; times are seconds."""

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
        """Raise UsageError where they contradict each other."""
        closed = self.arrivals == "closed"
        rates = [each for each in (self.load, self.loads, self.rate) if each is not None]
        wrong = {
            "--latency and --profile exclude each other": self.latency and self.profile,
            "give one of --load, --loads and --rate": len(rates) > 1,
            "a closed loop makes its own load: give --clients": closed and rates,
            "--clients and --think need --arrivals closed": not closed
            and (self.clients is not None or self.think is not None),
            "--png draws several loads: give --loads": self.png and not self.loads,
            "--png needs a folder that is there": self.png and not self.png.parent.is_dir(),
        }
        for problem, holds in wrong.items():
            if holds:
                raise click.UsageError(problem)

    def service(self) -> Service:
        """Return what runs take; raises UsageError."""
        if self.latency is None:
            return built_in(self.profile or "gpu")
        try:
            return read_service(self.latency)
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
            raise click.UsageError(f"--latency: {self.latency}: {problem}") from error

    def terms(self, service: Service) -> Terms:
        """Return what is the same for every load."""
        return Terms(
            service,
            self.lanes,
            inf if self.slo is None else self.slo,
            Chance(self.seed, self.noise),
        )

    def worlds(self, terms: Terms) -> Iterator[tuple[float | None, World]]:
        """Yield each load, as a share of what the lanes can do, and its world."""
        if self.arrivals == "closed":
            clients, think = self.clients or CLIENTS, self.think or 0.0
            yield None, terms.closed_world(clients, think, self.requests or REQUESTS)
            return
        for rate, due in self._offered(terms):
            yield rate and rate / terms.capacity, terms.open_world(due)

    def _offered(self, terms: Terms) -> Iterator[tuple[float | None, Sequence[float]]]:
        """Yield requests a second, None where all come at once, and when they are due."""
        loads = self.loads or (() if self.load is None else (self.load,))
        rates: list[float | None] = [load * terms.capacity for load in loads]
        rates = rates or [self.rate]
        if not all(isfinite(rate or 0.0) for rate in rates):
            raise click.UsageError("so many requests a second are no number")
        if self.arrivals not in PATTERNS:
            times = self._trace()[: self.requests]
            for asked in rates:
                due = times if asked is None else at_rate(times, asked)
                yield rate_of(due), due
            return
        for asked in rates:
            rate = asked or LOAD * terms.capacity
            yield rate, arrivals(self.arrivals, rate, self.requests or REQUESTS, terms)

    def _trace(self) -> Sequence[float]:
        path = Path(self.arrivals)
        problem: object = "no such file"
        try:
            if path.is_file() and path.stat().st_size <= MOST_BYTES:
                return read_trace(path)
            if path.is_file():
                problem = f"more than {MOST_BYTES:,} bytes"
        except OSError as error:
            problem = error.strerror
        except ValueError as error:
            problem = error
        names = ", ".join(PATTERNS)
        raise click.UsageError(
            f"--arrivals: neither {names} nor a file of arrivals: {path}: {problem}"
        )
