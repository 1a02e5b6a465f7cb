"""
Start servers with a model that sleeps, and load one after the other.

All of a part are started before the first load and stand idle until it is their turn, so that
rounds can be interleaved.  Arrivals of a round are the same for each server.
"""

import json
import resource
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import inf
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar
from urllib.request import urlopen

from twisted.internet.task import deferLater

from benchmarks.machine import machine_cpu_seconds
from benchmarks.profile import cpu_seconds
from benchmarks.served import sleeping
from benchmarks.sleeping_plan import (
    CLIENTS,
    LOADS,
    OVERLOADS,
    QUICK,
    SLOW,
    SLOWER,
    Fixed,
    finalists,
    greedy,
    grid,
    that_carry,
)
from benchmarks.wrk import closed_loop
from scripts.load.arrivals import bursts, poisson
from scripts.load.measure import LoadSettings, Measurement, OpenLoop, Server
from scripts.load.payloads import Payload
from scripts.load.summary import Summary
from scripts.load.target import parse_url
from scripts.simulation.service import Service

T = TypeVar("T")

#: The body of each request.
BODY = Payload(b"x" * 64, "application/octet-stream")

#: Where a request says what it grants for its answer.
TIMEOUT_HEADER = "X-Request-Timeout-Ms"

#: What that is, in seconds: so much that nobody is refused, or as much as is asked.
ANY_TIME, SLO = 10.0, 0.5

#: Clients who wait for their answers, in largest batches, that leave no run without a full one.
SATURATING = 3

#: How long a burst or a lull lasts on average, in runs of the largest size.
SOJOURN = 3

#: Cores that other programs may use meanwhile, how often a load is tried where they use more, and
#: the seconds of a look at that and of waiting for it.
QUIET, TRIES, LOOK, PATIENCE = 0.2, 3, 0.5, 30.0

#: Connections at most, and seconds to wait for one, or for an answer.
CONNECTIONS, TIMEOUT = 2000, 15.0


@dataclass(frozen=True, slots=True)
class Extent:
    """How long a part is measured."""

    rounds: int
    warmup: float  #: seconds before anything counts
    seconds: float  #: of each load

    def terms(self, seed: int, granted: float) -> LoadSettings:
        """Return the terms of one load: arrivals by *seed*, answers within *granted* seconds."""
        return LoadSettings(self.warmup, CONNECTIONS, TIMEOUT, granted, seed)

    def quick(self) -> "Extent":
        """Return what is enough to see that all goes well."""
        return Extent(1, min(self.warmup, 1.0), min(self.seconds, 2.0))


@dataclass(frozen=True, slots=True)
class Part:
    """What was measured of a part: how, and a row for each thing that was loaded."""

    terms: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]


class Rounds:
    """The rows of a part: what was loaded, and lists of figures with an item for each round."""

    def __init__(self, *names: str) -> None:
        """*names* are those of the figures that are kept."""
        self._names = (*names, "server_cores", "others_cores")
        self._rows: dict[tuple[Any, ...], dict[str, Any]] = {}

    def add(self, what: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Take the figures that a round has *told* of *what* was loaded."""
        row = self._rows.setdefault(
            tuple(what.values()), {**what, **{name: [] for name in self._names}}
        )
        for name in self._names:
            row[name].append(told[name])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, in the order in which they were first loaded."""
        return list(self._rows.values())


def figures_of(summary: Summary, server_cores: float, others_cores: float) -> dict[str, Any]:
    """
    Return the figures of a load, with what was refused at once apart from what was given up.

    The former are answers of 429, the latter of 504.  The cores are those that the server and other
    programs used meanwhile.
    """
    return {
        **summary.as_json(),
        "refused": summary.statuses.get("429", 0),
        "refused_p99_ms": summary.refusals.get("429", {}).get("p99_ms"),
        "dropped": summary.statuses.get("504", 0),
        "server_cores": server_cores,
        "others_cores": others_cores,
    }


class Bench:
    """Servers, each started when it is first asked for, and their loads; ends them when left."""

    def __init__(
        self, reactor: Any, on_progress: Callable[[str], object], *, tries: int = TRIES
    ) -> None:
        """*on_progress* gets the steps as lines; a disturbed load runs up to *tries* times."""
        self._reactor = reactor
        self._on_progress = on_progress
        self._tries = tries
        self._stack = ExitStack()
        self._folder = Path()
        self._servers: dict[tuple[str, Fixed | None], tuple[int, str]] = {}

    def __enter__(self) -> Self:
        self._folder = Path(self._stack.enter_context(TemporaryDirectory()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def url(self, service: Service, fixed: Fixed | None) -> str:
        """Return where a server of *service* is that is ready, *fixed* or without flags; blocks."""
        key = (service.name, fixed)
        if key not in self._servers:
            self._on_progress(f"starting: {service.name}, {fixed or 'no flags'}")
            folder = self._folder / str(len(self._servers))
            folder.mkdir()
            latency = folder / "latency.json"
            latency.write_text(json.dumps({rows: service.seconds[rows] for rows in service.sizes}))
            options = fixed.options if fixed is not None else ()
            self._servers[key] = self._stack.enter_context(sleeping(folder, latency, *options))
        return self._servers[key][1]

    async def load(self, url: str, load: OpenLoop, terms: LoadSettings) -> dict[str, Any]:
        """Return what *load* shows, whose requests grant the SLO of *terms* where it is finite."""
        return await self._quietest(lambda: self._try(url, load, terms))

    async def loop(
        self, url: str, clients: int, extent: Extent, granted: float = inf
    ) -> dict[str, Any]:
        """Return what *clients* see who each wait for their answer, and grant it so long."""
        return await self._quietest(lambda: self._try_loop(url, clients, extent, granted))

    async def _quietest(self, attempt: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """
        Return the figures of an *attempt*, again where other programs used the machine.

        After the last one those of the quietest count.
        """
        tries: list[dict[str, Any]] = []
        for _ in range(self._tries):
            if self._tries > 1:
                await self._wait_for_quiet()
            tries.append(await attempt())
            if tries[-1]["others_cores"] < QUIET:
                break
        return min(tries, key=itemgetter("others_cores"))

    async def _try_loop(
        self, url: str, clients: int, extent: Extent, granted: float
    ) -> dict[str, Any]:
        size, headers = len(BODY.body), dict(granting(granted))
        closed_loop(url, clients, extent.warmup, size, headers)
        runs, rows = runs_of(url)
        began, before = time.monotonic(), self._used(url)
        seen = closed_loop(url, clients, extent.seconds, size, headers)
        own, others = self._cores(began, before, url)
        more_runs, more_rows = runs_of(url)
        told = {
            "rate": round(seen.rate, 1),
            "mean_ms": seen.mean_ms,
            "p99_ms": seen.p99_ms,
            "failed": seen.refused + seen.broken,
            "mean_rows": round((more_rows - rows) / max(1, more_runs - runs), 2),
            "server_cores": own,
            "others_cores": others,
        }
        self._on_progress(f"  {clients} clients: {told}")
        return told

    def _cores(self, began: float, before: tuple[float, float], url: str) -> tuple[float, float]:
        """Return how many cores the server and others have used since *began*."""
        took = time.monotonic() - began
        own, others = (
            round(max(0.0, after - then) / took, 2)
            for after, then in zip(self._used(url), before, strict=True)
        )
        return own, others

    async def _try(self, url: str, load: OpenLoop, terms: LoadSettings) -> dict[str, Any]:
        granted = granting(terms.slo)
        target = parse_url(url)
        request = target.request(BODY, granted)
        server = Server(url, target.endpoint(self._reactor, TIMEOUT), [request])
        began, before = time.monotonic(), self._used(url)
        outcome = await Measurement(self._reactor, server, load, terms, lambda _: None).run()
        own, others = self._cores(began, before, url)
        told = outcome.summary
        self._on_progress(
            f"  {load.name}: {told.rate:.1f}/s, mean {told.mean_ms} ms, p99 {told.p99_ms} ms,"
            f" {told.mean_rows} rows a batch, statuses {dict(told.statuses)},"
            f" {own:.2f} cores used by the server and {others:.2f} by others"
        )
        for warning in told.warnings:
            self._on_progress(f"    {warning}")
        return figures_of(told, own, others)

    async def _wait_for_quiet(self) -> None:
        """Wait until other programs leave the machine alone, for `PATIENCE` at most."""
        for _ in range(round(PATIENCE / LOOK)):
            _, before = self._used()
            await deferLater(self._reactor, LOOK)
            _, after = self._used()
            if after - before < QUIET * LOOK:
                break

    def _used(self, url: str = "") -> tuple[float, float]:
        """Return the CPU seconds that the server at *url* has used, and that others have."""
        servers = {
            its: sum(used for _, used in cpu_seconds(pid).values())
            for pid, its in self._servers.values()
        }
        clients = time.process_time() + ended_children_seconds()
        others = machine_cpu_seconds() - clients - sum(servers.values())
        return servers.get(url, 0.0), others


def granting(seconds: float) -> tuple[tuple[str, str], ...]:
    """Return the headers of a request that grants so many *seconds* for its answer."""
    return () if seconds == inf else ((TIMEOUT_HEADER, f"{seconds * 1e3:g}"),)


def ended_children_seconds() -> float:
    """Return what the programs have used that this one started and saw the end of."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def runs_of(url: str) -> tuple[int, int]:
    """Return the runs of the server at *url* and the rows in them."""
    with urlopen(f"{url}debug/batcher", timeout=TIMEOUT) as answer:  # noqa: S310 - our own
        totals = json.loads(answer.read())["totals"]
    return totals["runs"], totals["run_rows"]


def arriving(pattern: str, rate: float, service: Service, seconds: float) -> OpenLoop:
    """Return an open loop of *rate*: poisson, or bursts of `SOJOURN` runs of the largest size."""
    sojourn = SOJOURN * service.seconds[-1]
    make = poisson if pattern == "poisson" else partial(bursts, sojourn=sojourn)
    return OpenLoop(f"{pattern}, {rate:.1f}/s", partial(make, rate), seconds)


def in_turn(these: Sequence[T], number: int) -> Sequence[T]:
    """Return *these* in the order of the round of this *number*: forwards, and then backwards."""
    return these if number % 2 == 0 else these[::-1]


async def measure_grid(bench: Bench, extent: Extent) -> Part:
    """Load a server without flags and those with fixed settings, in turn, at each of `LOADS`."""
    service, seen = SLOW, Rounds("mean_ms", "p99_ms", "refused", "mean_rows")
    tried: dict[float, list[Fixed | None]] = {
        share: [None, *that_carry(grid(service), service, share)] for share in LOADS
    }
    for fixed in dict.fromkeys(chain.from_iterable(tried.values())):
        bench.url(service, fixed)
    for number in range(extent.rounds):
        for share, settings in tried.items():
            load = arriving("poisson", share * service.best_rate, service, extent.seconds)
            means: dict[Fixed, float | None] = {}
            for fixed in in_turn(settings, number):
                url = bench.url(service, fixed)
                told = await bench.load(url, load, extent.terms(number, ANY_TIME))
                rows, delay = (fixed.rows, fixed.delay_ms) if fixed else (None, None)
                seen.add({"load": share, "max_batch": rows, "delay_ms": delay}, told)
                if fixed is not None:
                    means[fixed] = told["mean_ms"]
            if number == 0:
                settings[1:] = finalists(means)
    return Part({**_terms(service, extent), "settings": len(grid(service))}, seen.rows)


async def measure_closed(bench: Bench, extent: Extent, clients: Iterable[int] = CLIENTS) -> Part:
    """Load a server without flags and a greedy one with so many *clients*, in turn."""
    service, seen = QUICK, Rounds("rate", "mean_ms", "mean_rows", "failed")
    policies = {"auto": None, "greedy": greedy(service)}
    for fixed in policies.values():
        bench.url(service, fixed)
    for number in range(extent.rounds):
        for count in clients:
            for name in in_turn(list(policies), number):
                url = bench.url(service, policies[name])
                told = await bench.loop(url, count, extent)
                seen.add({"clients": count, "policy": name}, told)
    return Part({**_terms(service, extent), "greedy": greedy(service).rows}, seen.rows)


async def measure_overload(bench: Bench, extent: Extent) -> Part:
    """Load a server without flags with more than it can do, of requests that grant `SLO`."""
    service = SLOWER
    seen = Rounds(
        "offered", "goodput", "p99_ms", "refused", "refused_p99_ms", "dropped", "mean_rows",
        "send_lag_p99_ms",
    )  # fmt: skip
    url = bench.url(service, None)
    capacity = []
    for number in range(extent.rounds):
        saturated = await bench.loop(url, SATURATING * service.cap, extent, ANY_TIME)
        capacity.append(saturated["rate"])
        for pattern in ("poisson", "bursts"):
            for share in OVERLOADS:
                load = arriving(pattern, share * service.best_rate, service, extent.seconds)
                told = await bench.load(url, load, extent.terms(number, SLO))
                seen.add({"arrivals": pattern, "load": share}, told)
    terms = {"slo_ms": SLO * 1e3, "clients": SATURATING * service.cap, "closed_loop": capacity}
    return Part({**_terms(service, extent), **terms}, seen.rows)


def _terms(service: Service, extent: Extent) -> dict[str, Any]:
    return {
        "curve": service.name,
        "run_ms": [round(service.seconds[rows] * 1e3, 3) for rows in (1, service.cap)],
        "cap": service.cap,
        "capacity": round(service.best_rate, 2),
        "rounds": extent.rounds,
        "warmup": extent.warmup,
        "seconds": extent.seconds,
    }
