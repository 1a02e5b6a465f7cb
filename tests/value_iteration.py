"""
The exact mean latency of a batching rule on one lane, and of the best rule.

Rows arrive as a Poisson stream; a run of b rows takes exactly l(b) seconds.  Whenever the lane is
idle with n rows waiting, a rule launches b of them, or waits for the next row.  The cost is the
number of rows present, so by Little's law its mean over the rate is the mean latency.

The queue is unbounded.  Beyond the last row count of the equations, the rule is assumed to go on as
at that count; the value of one more row is then known up to the mean cost, which is solved for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Sizes = NDArray[np.intp]
Rule = Callable[[int], int]  #: rows waiting to rows launched; 0 waits for the next


@dataclass(frozen=True)
class Station:
    """One lane and its arrivals."""

    rate: float  #: rows per second
    seconds: tuple[float, ...]  #: of a run of 1, 2, ... rows; the last is the largest batch

    @property
    def cap(self) -> int:
        """The largest batch, in rows."""
        return len(self.seconds)

    @property
    def last(self) -> int:
        """The row count from which on a rule does not change."""
        return 4 * self.cap + 256

    @cached_property
    def arrivals(self) -> Floats:
        """The probability of k arrivals during a run of b rows, at [b - 1, k]; ends below 1e-14."""
        means = self.rate * np.array(self.seconds)
        most = float(means.max())
        counts = np.arange(int(most + 9 * sqrt(most) + 30))
        factorials = np.concatenate(([0.0], np.cumsum(np.log(counts[1:]))))
        logs = counts * np.log(means)[:, None] - means[:, None] - factorials
        return np.exp(logs)


def mean_latency(station: Station, rule: Rule) -> float:
    """Return the mean seconds from arrival to the end of the run; inf if the queue grows."""
    sizes = np.array([rule(rows) for rows in range(station.last + 1)], dtype=np.intp)
    if sizes.min() < 0 or (sizes > np.minimum(np.arange(sizes.size), station.cap)).any():
        raise ValueError(f"no batches of a queue: {sizes}")
    return _evaluate(station, sizes)[0] / station.rate


def optimum(station: Station, *, waits: bool = True) -> tuple[float, Rule]:
    """
    Return the least mean latency in seconds and a rule that has it.

    Without *waits*, the best of the rules that launch whenever there is a row.  Policy iteration:
    starts with the rule of the best rate and improves it until no rule is better.  Raises
    ValueError if the queue grows under every rule.
    """
    per_second = np.arange(1, station.cap + 1) / np.array(station.seconds)
    sizes = np.minimum(np.arange(station.last + 1), int(per_second.argmax()) + 1)
    cost, values = _evaluate(station, sizes)
    if cost == inf:
        raise ValueError(f"nothing serves {station.rate} rows per second")
    while True:
        better = _improve(station, sizes, cost, values, waits)
        if (better == sizes).all():
            return cost / station.rate, partial(_looked_up, sizes)
        sizes = better
        cost, values = _evaluate(station, sizes)


def _looked_up(sizes: Sizes, rows: int) -> int:
    return int(sizes[min(rows, sizes.size - 1)])


def _tail(station: Station, size: int) -> tuple[float, float, float]:
    """
    Return the value of a long queue served in batches of *size*: a n^2 + (c - d cost) n.

    Returns a, c and d; the difference to the exact value vanishes within a batch or two.
    """
    taken = station.seconds[size - 1]
    arrivals = station.rate * taken
    fall = size - arrivals
    square = taken / (2 * fall)
    linear = (station.rate * taken**2 / 2 + square * (fall**2 + arrivals)) / fall
    return square, linear, taken / fall


def _evaluate(station: Station, sizes: Sizes) -> tuple[float, Floats]:
    """Return the mean rows present, and the relative value of each row count and beyond."""
    last, rate = station.last, station.rate
    size = int(sizes[last])
    if size == 0 or size / station.seconds[size - 1] <= rate:
        return inf, np.zeros(0)
    square, linear, slope = _tail(station, size)
    chances = station.arrivals
    width = chances.shape[1]
    matrix = np.eye(last + 1, last + 2)
    target = np.empty(last + 1)
    for rows, taken in enumerate(map(int, sizes)):
        if taken == 0:
            matrix[rows, rows + 1] -= 1.0
            matrix[rows, -1], target[rows] = 1 / rate, rows / rate
            continue
        seconds, chance = station.seconds[taken - 1], chances[taken - 1]
        left = rows - taken
        inside = min(width, last + 1 - left)
        matrix[rows, left : left + inside] -= chance[:inside]
        ends = left + np.arange(inside, width)
        over = chance[inside:]
        matrix[rows, last] -= over.sum()
        matrix[rows, -1] = seconds + slope * (over @ (ends - last))
        target[rows] = rows * seconds + rate * seconds**2 / 2
        target[rows] += over @ (square * (ends**2 - last**2) + linear * (ends - last))
    matrix = np.delete(matrix, last, axis=1)  # the value of the last is the zero of the others
    solved = np.linalg.solve(matrix, target)
    cost = float(solved[-1])
    ends = np.arange(last + 1, last + 1 + width)
    beyond = square * (ends**2 - last**2) + (linear - slope * cost) * (ends - last)
    return cost, np.concatenate((solved[:-1], [0.0], beyond))


def _improve(station: Station, sizes: Sizes, cost: float, values: Floats, waits: bool) -> Sizes:
    """Return for each row count the best launch if *sizes* is the rule afterwards."""
    last, rate = station.last, station.rate
    counts = np.arange(last + 1)
    windows = np.lib.stride_tricks.sliding_window_view(values, station.arrivals.shape[1])
    after = windows[: last + 1] @ station.arrivals.T
    totals = np.full((last + 1, station.cap + 1), inf)
    totals[:, 0] = (counts - cost) / rate + values[1 : last + 2]
    totals[1:last, 0] = totals[1:last, 0] if waits else inf
    totals[last, 0] = inf
    for size, seconds in enumerate(station.seconds, start=1):
        spent = (counts[size:] - cost) * seconds + rate * seconds**2 / 2
        totals[size:, size] = spent + after[: last + 1 - size, size - 1]
    now = totals[counts, sizes]
    best = totals.min(axis=1)
    return np.where(best < now - 1e-9 * (1 + abs(now)), totals.argmin(axis=1), sizes)
