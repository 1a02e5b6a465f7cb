"""
Make run times plausible: monotone and subadditive.

A run never takes less time than one of fewer rows, and never longer than runs of its parts one
after the other.  Pure; imports nothing of ours.
"""

from collections.abc import Mapping, Sequence
from math import inf


def plausible(seconds: Mapping[int, float], weights: Sequence[float]) -> list[float]:
    """
    Return the time of a run of 0, 1, ... rows, up to the largest measured size.

    *seconds* are the measured run times by rows, ascending, and *weights* their weights.  Between
    two sizes the time is linear; below the smallest it is the time of that size.  The measured
    times are changed as little as makes all times plausible: sizes of which a larger one is quicker
    get their weighted mean; a size that takes longer than its parts is lowered.
    """
    sizes = list(seconds)
    rising = _rising(list(seconds.values()), weights)
    result = [0.0]
    for at, rows in enumerate(sizes):
        low = len(result) - 1
        value = rising[at]
        slope = (value - result[low]) / (rows - low) if low else 0.0
        for between in range(low + 1, rows + 1):
            of_parts = [result[part] + result[between - part] for part in sizes[:at]]
            result.append(min(value - slope * (rows - between), *of_parts, inf))
    return result


def _rising(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the sequence nearest to *values* that never falls: the weighted isotonic fit."""
    pools: list[tuple[float, float, int]] = []  # the mean, the weight and the count of its values
    for value, weight in zip(values, weights, strict=True):
        pool = value, weight, 1
        while pools and pools[-1][0] > pool[0]:
            pool = _merged(pools.pop(), pool)
        pools.append(pool)
    return [mean for mean, _, count in pools for _ in range(count)]


def _merged(
    one: tuple[float, float, int], other: tuple[float, float, int]
) -> tuple[float, float, int]:
    """Return the pool of the values of both."""
    weight = one[1] + other[1]
    return (one[0] * one[1] + other[0] * other[1]) / weight, weight, one[2] + other[2]
