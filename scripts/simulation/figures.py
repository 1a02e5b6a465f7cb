"""
Compute the figures of a simulation.

Pure.  Every figure leaves out the first fifth of the requests, because the queue is still empty at
the start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

from scripts.simulation.engine import History

#: The first 1/`WARMUP_DIVISOR` of the requests is left out.
WARMUP_DIVISOR = 5


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one simulation; None: no request was answered, or no time passed."""

    requests: int  #: the requests that count
    mean_ms: float | None  #: from arrival to answer, of answered requests; as p50 and p99
    p50_ms: float | None
    p99_ms: float | None
    rate: float | None  #: answers a second
    offered: float | None  #: requests a second
    goodput: float | None  #: answers a second within the SLO; all without an SLO
    goodput_share: float  #: the share of the requests that were answered within the SLO
    refused: int
    dropped: int
    runs: int
    mean_rows: float | None  #: rows of a run, mean over the runs


def figures_of(history: History, slo: float = inf) -> Figures:
    """Return the figures of *history*; *slo* is in seconds."""
    first = len(history.due) // WARMUP_DIVISOR
    due = history.due[first:]
    answers = [
        (ended, ended - at) for at, ended in zip(due, history.ended[first:], strict=True)
        if ended < inf
    ]  # fmt: skip
    latencies = sorted(latency for _, latency in answers)
    # The batcher adds the same numbers in another order: the last digit may differ.
    good = sum(latency <= slo * (1 + 1e-9) for latency in latencies)
    # After an overload, answers go on when arrivals have ended.
    seconds = max(due[-1] - due[0], _span([ended for ended, _ in answers]))
    rows = [rows for oldest, rows in history.runs if oldest >= first]
    return Figures(
        requests=len(due),
        mean_ms=sum(latencies) / len(latencies) * 1e3 if latencies else None,
        p50_ms=percentile_ms(latencies, 50),
        p99_ms=percentile_ms(latencies, 99),
        rate=_ratio(len(latencies), seconds),
        offered=_ratio(len(due), due[-1] - due[0]),
        goodput=_ratio(good, seconds),
        goodput_share=good / len(due),
        refused=sum(number >= first for number in history.refused),
        dropped=sum(number >= first for number in history.dropped),
        runs=len(rows),
        mean_rows=_ratio(sum(rows), len(rows)),
    )


def percentile_ms(ordered: Sequence[float], share: int) -> float | None:
    """
    Return the percentile *share* (1 to 100) of *ordered*, ascending seconds, in milliseconds.

    None if *ordered* is empty.
    """
    return ordered[ceil(share * len(ordered) / 100) - 1] * 1e3 if ordered else None


def _span(times: Sequence[float]) -> float:
    return max(times) - min(times) if times else 0.0


def _ratio(count: int, of: float) -> float | None:
    return count / of if of > 0.0 else None
