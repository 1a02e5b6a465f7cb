"""
Judge the server's own policy: the bounds on the ratios of the cases.

Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scripts.simulation.cases import Closed, Open
from scripts.simulation.changing import Changing

#: Above this load the bound for the mean is less strict: a little less capacity causes much longer
#: waits.
HIGH_LOAD = 0.9

#: The smallest ratio of the policy's rate to greedy's for 2 to `MAX_FEW_CLIENTS` clients, where a
#: fixed setting reaches this ratio.
MIN_GAIN, MAX_FEW_CLIENTS = 1.3, 8

#: Bounds for a machine that changes: once the server had time to learn, and in the meantime.
MAX_AFTER, MAX_DURING = 1.05, 1.25

#: How far l(a + b) may be above l(a) + l(b) and below l(a), relative to these: room for noise.
BELIEF_ROOM = 0.02

Case = Open | Closed | Changing

#: For each case and each of its seeds: the ratios by name.
Found = Mapping[Case, Sequence[Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a bound holds, and the case with the worst value."""

    bound: str
    limit: float
    value: float  #: the mean over the seeds of that case
    where: Case | None  #: None: on average over all cases
    passed: bool


def mean(ratios: Sequence[Mapping[str, float]], name: str) -> float:
    """Return the mean of the ratio *name* over *ratios*, which has the ratios of each seed."""
    return fmean(each[name] for each in ratios)


def worst(ratios: Sequence[Mapping[str, float]], name: str) -> float:
    """Return the largest ratio *name* of *ratios*, which has the ratios of each seed."""
    return max(each[name] for each in ratios)


def judged(found: Found) -> Iterator[Verdict]:
    """Yield a verdict on each bound; skip the bounds for which *found* has no cases."""
    of_open = [case for case in found if isinstance(case, Open)]
    of_closed = [case for case in found if isinstance(case, Closed)]
    most = [case for case in of_open if case.load <= HIGH_LOAD]
    last = [case for case in of_open if case.load > HIGH_LOAD]
    few = [case for case in of_closed if 2 <= case.clients <= MAX_FEW_CLIENTS]
    possible = [
        case for case in few if mean(found[case], "gain") >= MIN_GAIN * mean(found[case], "share")
    ]
    yield from _at_most(f"mean to tuned, to load {HIGH_LOAD}", 1.05, "mean", most, found)
    yield from _at_most("mean to tuned, beyond", 1.08, "mean", last, found)
    if of_open:
        average = fmean(mean(found[case], "mean") for case in of_open)
        yield Verdict("mean to tuned, on average", 1.02, average, None, average <= 1.02)
    yield from _at_most("p99 to tuned", 1.2, "p99", of_open, found)
    yield from _at_most("mean to greedy", 1.02, "greedy", of_open, found)
    clients = f"2 to {MAX_FEW_CLIENTS} clients"
    yield from _at_least(f"rate to greedy, {clients}", MIN_GAIN, "gain", possible, found)
    yield from _at_least(f"rate to the best fixed, {clients}", 0.98, "share", few, found)
    yield from _at_least("rate to greedy", 0.99, "gain", of_closed, found)
    yield from _of_changing(found)


def _of_changing(found: Found) -> Iterator[Verdict]:
    """Yield the verdicts on the cases in which the machine changes."""
    changing = [case for case in found if isinstance(case, Changing)]
    for bound, limit, name in (
        ("mean to the best size, after a change", MAX_AFTER, "after"),
        ("mean to the best size, while disturbed", MAX_DURING, "during"),
    ):
        yield from _at_most(bound, limit, name, _with(name, changing, found), found)
    overloads = _with("goodput", changing, found)
    yield from _at_least("answers in time to the best size", 0.95, "goodput", overloads, found)
    if changing:
        # Not the mean: each decision needs plausible predictions.
        value, where = max((worst(found[case], "belief"), case) for case in changing)
        limit = 1.0 + BELIEF_ROOM
        yield Verdict(
            "l(b) to a monotone and subadditive one: at most", limit, value, where, value <= limit
        )


def _with(name: str, cases: Sequence[Changing], found: Found) -> list[Changing]:
    """Return those of *cases* that have the ratio *name*."""
    return [case for case in cases if name in found[case][0]]


def _at_most(
    bound: str, limit: float, name: str, cases: Sequence[Case], found: Found
) -> Iterator[Verdict]:
    if cases:
        value, where = max((mean(found[case], name), case) for case in cases)
        yield Verdict(f"{bound}: at most", limit, value, where, value <= limit)


def _at_least(
    bound: str, limit: float, name: str, cases: Sequence[Case], found: Found
) -> Iterator[Verdict]:
    if cases:
        value, where = min((mean(found[case], name), case) for case in cases)
        yield Verdict(f"{bound}: at least", limit, value, where, value >= limit)
