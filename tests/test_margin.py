"""The admission margin after missed and met deadlines: batcher/learning/margin.py."""

import pytest

from batcher.learning.margin import MAX_FACTOR, AdmissionMargin


def missed(*times: float) -> AdmissionMargin:
    """Return the margin after misses at *times*; the time of a run is 1 s."""
    margin = AdmissionMargin()
    for now in times:
        margin.missed(now, pause=1.0)
    return margin


@pytest.mark.parametrize(
    ("times", "factor"),
    [
        ((), 1.0),
        ((8.0,), 1.2),
        ((8.0, 8.0, 8.5, 8.75), 1.2),  # within the time of a run: one cause
        ((8.0, 8.5, 9.0), 1.2**2),
        ((8.0, 2.0), 1.2**2),  # a clock that was set back
        (range(100), MAX_FACTOR),
    ],
)
def test_a_miss_raises_the_factor(times: tuple[float, ...], factor: float) -> None:
    """By a fifth, up to a limit."""
    assert missed(*times).factor == pytest.approx(factor)


@pytest.mark.parametrize(
    ("share", "met", "factor"),
    [
        (1.0, 1, 1.2),  # just in time
        (0.95, 1, 1.2**0.995),  # 200 of these balance a miss
        (0.5, 1, 1.2**0.95),  # by more with more time left
        (0.42, 1, 1.2**0.942),  # with this factor half of the time was expected
        (0.41, 1, 1.2),  # there was no risk
        (0.5, 100, 1.0),
    ],
)
def test_met_deadlines_lower_the_factor(share: float, met: int, factor: float) -> None:
    """Not if they were certain to be met, and not below 1."""
    margin = missed(8.0)
    for _ in range(met):
        margin.met(share)
    assert margin.factor == pytest.approx(factor)
