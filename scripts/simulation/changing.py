"""
The cases in which the machine changes under the server, or differs from the warm-up.

Pure.  Each case is a model, a change and a load; each seed of a case is a workload.  Under each
workload the policy and a grid of fixed batch sizes are simulated on the same machine.  Some time
after the change the latencies of the policy are compared with those of the size that is best for
that time.  At each decision of the policy, the predictions of l(b) are checked.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from statistics import fmean

from batcher.policy import Decision, FixedPolicy, LaneView, LotPolicy, Policy, QueueView
from scripts.load.arrivals import poisson
from scripts.simulation.cases import NOISE, SERVICES, ratio
from scripts.simulation.engine import START, History, Workload, simulate, simulate_fixed
from scripts.simulation.machine import Client, Disturbance, Neighbour, SlowFirstRun, Stalls
from scripts.simulation.service import Service, built_in
from scripts.simulation.workloads import Chance, Scenario

#: A GPU that is ten times as slow as the built-in one, so that fewer requests need simulation.
MACHINES: dict[str, Service] = {
    "slow gpu": replace(
        built_in("gpu"), seconds=tuple(10.0 * seconds for seconds in built_in("gpu").seconds)
    ),
    "cpu": SERVICES["cpu"],
    "efficientnet": SERVICES["efficientnet"],
}

#: Seconds of traffic before another program starts to compute, and seconds until it ends.
QUIET_SECONDS, NEIGHBOUR_SECONDS = 10.0, 20.0

#: After a change the server may learn for this many seconds; then latencies are compared.
RECOVERY_SECONDS, COMPARED_SECONDS = 60.0, 60.0

#: The time limit of each request in an overload, and the fixed sizes tried: so many of the largest.
SLO_SECONDS, OVERLOAD_SIZES = 0.5, 4

#: The factors of run times beside another program, for one row and for as many as the cap: small
#: batches are slowed most where the threads of a run await each other, large ones where memory is
#: short.
SMALL_BATCHES, LARGE_BATCHES = (2.6, 1.4), (1.2, 2.0)

#: The sigma of the noise of the times that a disturbed warm-up measures.
NOISY_START = 0.2

#: The CPU seconds that clients use for a request, relative to the seconds of the lane for a row at
#: its capacity.
CLIENT_SHARE = 0.5

#: Stalls per second, and the least and largest seconds of one; between them a Pareto distribution.
STALLS_PER_SECOND, MIN_STALL, MAX_STALL, STALL_EXPONENT = 3.0, 0.004, 0.06, 1.5

#: How many times as long the first run takes, and the first run of each number of rows.
SLOW_FIRST, SLOW_EACH = 50.0, 20.0

#: The cap where the first run of each number of rows is slow, and the seconds until each number has
#: run.  A small cap, because no policy can know the time of the first run of a size, and a fixed
#: size runs fewer sizes: only later runs are compared.
FEW_ROWS, SLOW_SIZES_SECONDS = 8, 30.0

Window = tuple[float, float]  #: from the first time to before the second, seconds from the start

#: When an overload is compared: soon and for a short time, because it has more requests.
OVERLOAD_WINDOW: Window = (10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Scene:
    """A workload on a machine that changes, and when latencies are compared."""

    workload: Workload
    after: Window  #: the arrivals of this time are compared once the server had time to learn
    during: Window | None = None  #: the time of the disturbance


class Watched:
    """
    Decides as *policy* does; finds the largest error in the form of l(b) at any decision.

    Checked are the measured *sizes*, sizes between them, and the sum of any two of these.
    """

    def __init__(self, policy: Policy, sizes: Sequence[int], cap: int) -> None:
        between = {(low + high) // 2 for low, high in pairwise(sizes)}
        self._sizes = sorted({*sizes, *between, *(rows + 1 for rows in sizes if rows < cap)})
        self._pairs = [
            (one, other)
            for one in self._sizes
            for other in self._sizes
            if one <= other and one + other <= cap
        ]
        self._policy = policy
        self._seen: list[float] = []
        self.error = 0.0  #: relative; 0.0: always monotone and subadditive

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Return the decision of the policy; check the predictions if they have changed."""
        predict = queue.latency.predict
        seen = [predict(rows) for rows in self._sizes]
        if seen != self._seen:
            self._seen = seen
            self.error = max(self.error, *self._errors(predict))
        return self._policy.decide(now, queue, lanes)

    def _errors(self, predict: Callable[[int], float]) -> Iterator[float]:
        """
        Yield the relative excess of each prediction that is too large; negative if it is not.

        A prediction is too large if a run of more rows takes less time, or if two runs of the same
        rows together take less.
        """
        for less, more in pairwise(self._seen):
            yield less / more - 1.0
        for one, other in self._pairs:
            yield predict(one + other) / (predict(one) + predict(other)) - 1.0


@dataclass(frozen=True, slots=True, order=True)
class Changing:
    """A case of a machine that changes, under independent arrivals."""

    service: str  #: one of `MACHINES`
    change: str  #: one of `CHANGES`
    load: float  #: of the least capacity that the machine has at any time

    def __str__(self) -> str:
        return f"{self.service}, {self.change}, load {self.load:g}"

    def play(self, seed: int) -> dict[str, float]:
        """
        Simulate the workload of *seed*; return the ratios of the policy's latencies, by name.

        `after` is the ratio of the mean latency to the least of a fixed size, once the server had
        time to learn, and `during` the same while the machine is disturbed, if that is a time of
        its own.  In an overload there is `goodput` instead: the answers within the time limit,
        divided by the most of a fixed size.  `belief` is 1.0 plus the largest relative error in the
        form of l(b).
        """
        scene = CHANGES[self.change](MACHINES[self.service], Chance(seed, NOISE), self.load)
        workload = scene.workload
        sizes, cap = sorted(workload.measured), len(workload.seconds) - 1
        policy = Watched(LotPolicy(), sizes, cap)
        auto = simulate(workload, policy, cap)
        found = {"belief": 1.0 + policy.error}
        if workload.slo < inf:
            fixed = [
                simulate(workload, FixedPolicy(rows, 0.0), rows) for rows in sizes[-OVERLOAD_SIZES:]
            ]
            most = max(in_time(each, scene.after, workload.slo) for each in fixed)
            return {**found, "goodput": ratio(in_time(auto, scene.after, workload.slo), most)}
        fixed = [simulate_fixed(workload, FixedPolicy(rows, 0.0)) for rows in sizes]
        for name, window in (("after", scene.after), ("during", scene.during)):
            if window is not None:
                least = min(mean_latency(each, window) for each in fixed)
                found[name] = ratio(mean_latency(auto, window), least)
        return found


def mean_latency(history: History, window: Window) -> float:
    """Return the mean seconds to the answers of the requests that arrive in *window*."""
    return fmean(ended - due for due, ended in _arrived(history, window))


def in_time(history: History, window: Window, slo: float) -> int:
    """Return how many requests that arrive in *window* are answered within *slo* seconds."""
    # The batcher adds the same numbers in another order: the last digit may differ.
    return sum(ended - due <= slo * (1 + 1e-9) for due, ended in _arrived(history, window))


def _arrived(history: History, window: Window) -> Iterator[tuple[float, float]]:
    """Yield the times of arrival and answer of the requests that arrive in *window*."""
    start, stop = (START + time for time in window)
    for due, ended in zip(history.due, history.ended, strict=True):
        if start <= due < stop:
            yield due, ended


def factors(service: Service, ends: tuple[float, float]) -> list[float]:
    """
    Return the factors of run times by rows: those of one row and of as many as the cap are *ends*.

    The time of a run is a constant plus a multiple of its undisturbed time, and so still grows with
    the rows.
    """
    shortest, longest = service.seconds[1], service.seconds[-1]
    slope = (ends[1] * longest - ends[0] * shortest) / (longest - shortest)
    more = (ends[0] - slope) * shortest
    return [1.0, *(slope + more / seconds for seconds in service.seconds[1:])]


def _neighbour(ends: tuple[float, float]) -> Callable[[Service, Chance, float], Scene]:
    """Return the maker of scenes in which another program has the factors *ends* for a time."""

    def scene(service: Service, chance: Chance, load: float) -> Scene:
        by_rows = factors(service, ends)
        slowed = max(service.rate(rows) / by_rows[rows] for rows in range(1, service.cap + 1))
        stop = QUIET_SECONDS + NEIGHBOUR_SECONDS
        neighbour = Neighbour(by_rows, START + QUIET_SECONDS, START + stop)
        after = _after(stop)
        workload = _workload(service, chance, load * slowed, after)
        return Scene(replace(workload, disturbances=[neighbour]), after, (QUIET_SECONDS, stop))

    return scene


def _noisy_start(ends: tuple[float, float]) -> Callable[[Service, Chance, float], Scene]:
    """Return the maker of scenes in which the warm-up alone has the factors *ends*, and noise."""

    def scene(service: Service, chance: Chance, load: float) -> Scene:
        after = _after(0.0)
        workload = _workload(service, chance, load * service.best_rate, after)
        by_rows, source = factors(service, ends), chance.stream("noisy start")
        measured = {
            rows: seconds * by_rows[rows] * source.lognormvariate(0.0, NOISY_START)
            for rows, seconds in workload.measured.items()
        }
        return Scene(replace(workload, measured=measured), after)

    return scene


def _client(service: Service, chance: Chance, load: float) -> Scene:
    """Return a scene in which clients use the cores, too, and some runs stall."""
    overload = load > 1.0
    after = OVERLOAD_WINDOW if overload else _after(0.0)
    source = chance.stream("stalls")
    times = [START + time for time in poisson(STALLS_PER_SECOND, after[1], source)]
    stalls = [min(MAX_STALL, MIN_STALL * source.paretovariate(STALL_EXPONENT)) for _ in times]
    # With a rate r, runs take 1/(1 - r * seconds) times as long; the load is r over what remains.
    best = service.best_rate / (1.0 + sum(stalls) / after[1])
    seconds = CLIENT_SHARE / service.best_rate
    rate = load * best / (1.0 + load * best * seconds)
    workload = _workload(service, chance, rate, after)
    disturbances: list[Disturbance] = [Client(workload.due, seconds), Stalls(times, stalls)]
    slo = SLO_SECONDS if overload else inf
    return Scene(replace(workload, disturbances=disturbances, slo=slo), after)


def _slow_first(service: Service, chance: Chance, load: float) -> Scene:
    """Return a scene in which the first run of all is slow."""
    after = _after(0.0)
    workload = _workload(service, chance, load * service.best_rate, after)
    return Scene(replace(workload, disturbances=[SlowFirstRun(SLOW_FIRST)]), after)


def _slow_sizes(service: Service, chance: Chance, load: float) -> Scene:
    """Return a scene in which the first run of each number of rows is slow; few rows fit."""
    few = replace(
        service,
        seconds=service.seconds[: FEW_ROWS + 1],
        sizes=tuple(rows for rows in service.sizes if rows <= FEW_ROWS),
    )
    each = SlowFirstRun(SLOW_EACH, of_each_size=True)
    after = _after(SLOW_SIZES_SECONDS)
    workload = _workload(few, chance, load * few.best_rate, after)
    return Scene(replace(workload, disturbances=[each]), after)


def _after(change: float) -> Window:
    """Return when latencies are compared if the last change is at *change*."""
    return change + RECOVERY_SECONDS, change + RECOVERY_SECONDS + COMPARED_SECONDS


def _workload(service: Service, chance: Chance, rate: float, after: Window) -> Workload:
    """Return *rate* Poisson arrivals per second to the end of *after*, on a quiet machine."""
    due = list(poisson(rate, after[1], chance.stream("arrivals")))
    return Scenario(service, 1, inf, chance).open_workload(due)


#: Makes the scene of a service, for a source of random numbers and a load.
CHANGES: dict[str, Callable[[Service, Chance, float], Scene]] = {
    "neighbour, small batches": _neighbour(SMALL_BATCHES),
    "neighbour, large batches": _neighbour(LARGE_BATCHES),
    "noisy start, small batches": _noisy_start(SMALL_BATCHES),
    "noisy start, large batches": _noisy_start(LARGE_BATCHES),
    "client": _client,
    "slow first run": _slow_first,
    "slow first run of each size": _slow_sizes,
}

#: The loads of each change that has others than `LOAD`.
LOADS: dict[str, Sequence[float]] = {
    "client": (0.6, 0.9, 1.2),
    "slow first run of each size": (0.8,),  # so that each size runs soon
}
LOAD = 0.7


def changing_cases(services: Iterable[str] = MACHINES) -> Iterator[Changing]:
    """Yield a case for each combination of one of *services*, a change and one of its loads."""
    for service in services:
        for change in CHANGES:
            yield from (Changing(service, change, load) for load in LOADS.get(change, (LOAD,)))
