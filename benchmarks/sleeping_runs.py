"""
Start servers whose model sleeps, and load them in interleaved rounds.

All servers of a part start before the first load, and are idle between their loads.  In one round,
all servers get the same arrivals.
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

#: The header with the timeout of a request.
TIMEOUT_HEADER = "X-Request-Timeout-Ms"

#: Timeouts in seconds: one that refuses no request, and that of the overload.
ANY_TIME, SLO = 10.0, 0.5

#: Clients of a saturating closed loop, in largest batches.
SATURATING = 3

#: The average length of a burst or a lull, in durations of the longest run.
SOJOURN = 3

#: The cores that other programs may use during a load; the most repetitions of a load if they use
#: more; the seconds of one sample of their CPU; the most seconds to wait for a quiet machine.
QUIET, TRIES, LOOK, PATIENCE = 0.2, 3, 0.5, 30.0

#: The most connections, and seconds to wait for a connection or an answer.
CONNECTIONS, TIMEOUT = 2000, 15.0


@dataclass(frozen=True, slots=True)
class Extent:
    """The number of rounds of a part, and the length of its loads."""

    rounds: int
    warmup: float  #: seconds before anything counts
    seconds: float  #: of each load

    def terms(self, seed: int, granted: float) -> LoadSettings:
        """Return the settings of a load: arrivals from *seed*, an SLO of *granted* seconds."""
        return LoadSettings(self.warmup, CONNECTIONS, TIMEOUT, granted, seed)

    def quick(self) -> "Extent":
        """Return an extent of one round with loads of at most 2 s, to check that the part works."""
        return Extent(1, min(self.warmup, 1.0), min(self.seconds, 2.0))


@dataclass(frozen=True, slots=True)
class Part:
    """The result of a part: its terms, and a row of figures for each server and load."""

    terms: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]


class Rounds:
    """Collects the rows of a part; a row has, for each figure, a list with one item per round."""

    def __init__(self, *names: str) -> None:
        """*names* are the figures to keep; the cores in use are always kept."""
        self._names = (*names, "server_cores", "others_cores")
        self._rows: dict[tuple[Any, ...], dict[str, Any]] = {}

    def add(self, what: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """Append *figures*, those of one round, to the row of *what*, a server and a load."""
        row = self._rows.setdefault(
            tuple(what.values()), {**what, **{name: [] for name in self._names}}
        )
        for name in self._names:
            row[name].append(figures[name])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, in the order in which their first figures were added."""
        return list(self._rows.values())


def figures_of(summary: Summary, server_cores: float, others_cores: float) -> dict[str, Any]:
    """
    Return the figures of a load: `refused` counts answers of 429, `dropped` answers of 504.

    The cores are those that the server and other programs used during the load.
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
    """Starts each server at its first use, and loads it; leaving the context ends all servers."""

    def __init__(
        self, reactor: Any, on_progress: Callable[[str], object], *, tries: int = TRIES
    ) -> None:
        """
        *on_progress* is called with a line of text for each step.

        A load that other programs disturb is repeated until it was run *tries* times.
        """
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
        """
        Return the URL of the server with the runs of *service* and the setting *fixed*.

        Starts it at the first call, and blocks until it is ready.  None for *fixed*: it has no
        flags.
        """
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
        """
        Apply *load* to the server at *url*, and return its figures.

        If the SLO of *terms* is finite, it is the timeout of each request.
        """
        return await self._quietest(lambda: self._try(url, load, terms))

    async def loop(
        self, url: str, clients: int, extent: Extent, granted: float = inf
    ) -> dict[str, Any]:
        """
        Load the server at *url* with a closed loop of *clients*, and return the figures.

        Each request has a timeout of *granted* seconds.
        """
        return await self._quietest(lambda: self._try_loop(url, clients, extent, granted))

    async def _quietest(self, attempt: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """
        Call *attempt* until other programs do not disturb it, at most `tries` times.

        Return the figures of the call that was disturbed least.
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
        figures = {
            "rate": round(seen.rate, 1),
            "mean_ms": seen.mean_ms,
            "p99_ms": seen.p99_ms,
            "failed": seen.refused + seen.broken,
            "mean_rows": round((more_rows - rows) / max(1, more_runs - runs), 2),
            "server_cores": own,
            "others_cores": others,
        }
        self._on_progress(f"  {clients} clients: {figures}")
        return figures

    def _cores(self, began: float, before: tuple[float, float], url: str) -> tuple[float, float]:
        """
        Return the mean cores that the server at *url*, and other programs, have used since *began*.

        *before* is what `_used` returned at the time *began*.
        """
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
        summary = outcome.summary
        self._on_progress(
            f"  {load.name}: {summary.rate:.1f}/s, mean {summary.mean_ms} ms,"
            f" p99 {summary.p99_ms} ms, {summary.mean_rows} rows a batch,"
            f" statuses {dict(summary.statuses)},"
            f" {own:.2f} cores used by the server and {others:.2f} by others"
        )
        for warning in summary.warnings:
            self._on_progress(f"    {warning}")
        return figures_of(summary, own, others)

    async def _wait_for_quiet(self) -> None:
        """Wait until other programs use less than `QUIET` cores, for at most `PATIENCE` seconds."""
        for _ in range(round(PATIENCE / LOOK)):
            _, before = self._used()
            await deferLater(self._reactor, LOOK)
            _, after = self._used()
            if after - before < QUIET * LOOK:
                break

    def _used(self, url: str = "") -> tuple[float, float]:
        """Return the CPU seconds of the server at *url*, and those of other programs."""
        servers = {
            its: sum(used for _, used in cpu_seconds(pid).values())
            for pid, its in self._servers.values()
        }
        clients = time.process_time() + ended_children_seconds()
        others = machine_cpu_seconds() - clients - sum(servers.values())
        return servers.get(url, 0.0), others


def granting(seconds: float) -> tuple[tuple[str, str], ...]:
    """
    Return the headers that set a request's timeout to *seconds*; no header if *seconds* is inf.
    """
    return () if seconds == inf else ((TIMEOUT_HEADER, f"{seconds * 1e3:g}"),)


def ended_children_seconds() -> float:
    """Return the CPU seconds of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def runs_of(url: str) -> tuple[int, int]:
    """Return how many runs the server at *url* has made, and how many rows these had in all."""
    with urlopen(f"{url}debug/batcher", timeout=TIMEOUT) as answer:  # noqa: S310 - our own
        totals = json.loads(answer.read())["totals"]
    return totals["runs"], totals["run_rows"]


def arriving(pattern: str, rate: float, service: Service, seconds: float) -> OpenLoop:
    """
    Return an open loop of *rate* requests a second for *seconds*; *pattern* is poisson or bursts.

    Bursts last `SOJOURN` times the longest run of *service* on average.
    """
    sojourn = SOJOURN * service.seconds[-1]
    make = poisson if pattern == "poisson" else partial(bursts, sojourn=sojourn)
    return OpenLoop(f"{pattern}, {rate:.1f}/s", partial(make, rate), seconds)


def in_turn(these: Sequence[T], number: int) -> Sequence[T]:
    """Return *these* in order if the round *number* is even, else in reverse order."""
    return these if number % 2 == 0 else these[::-1]


async def measure_grid(bench: Bench, extent: Extent) -> Part:
    """
    Load a server without flags and one per fixed setting, one after the other, at each of `LOADS`.

    From the second round on, only the server without flags and the `finalists` are loaded.
    """
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
                figures = await bench.load(url, load, extent.terms(number, ANY_TIME))
                rows, delay = (fixed.rows, fixed.delay_ms) if fixed else (None, None)
                seen.add({"load": share, "max_batch": rows, "delay_ms": delay}, figures)
                if fixed is not None:
                    means[fixed] = figures["mean_ms"]
            if number == 0:
                settings[1:] = finalists(means)
    return Part({**_terms(service, extent), "settings": len(grid(service))}, seen.rows)


async def measure_closed(bench: Bench, extent: Extent, clients: Iterable[int] = CLIENTS) -> Part:
    """
    Load a server without flags, then a greedy one, or in reverse, with each number of *clients*.
    """
    service, seen = QUICK, Rounds("rate", "mean_ms", "mean_rows", "failed")
    policies = {"auto": None, "greedy": greedy(service)}
    for fixed in policies.values():
        bench.url(service, fixed)
    for number in range(extent.rounds):
        for count in clients:
            for name in in_turn(list(policies), number):
                url = bench.url(service, policies[name])
                figures = await bench.loop(url, count, extent)
                seen.add({"clients": count, "policy": name}, figures)
    return Part({**_terms(service, extent), "greedy": greedy(service).rows}, seen.rows)


async def measure_overload(bench: Bench, extent: Extent) -> Part:
    """Load a server without flags above its capacity; requests have a timeout of `SLO` seconds."""
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
                figures = await bench.load(url, load, extent.terms(number, SLO))
                seen.add({"arrivals": pattern, "load": share}, figures)
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
