"""When the requests of a load are due: scripts/load/arrivals.py."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev

import pytest

from scripts.load.arrivals import PATTERNS, bursts, constant, poisson, read_trace, replayed
from tests.fakes.load import chance


def gaps(times: Sequence[float]) -> list[float]:
    """Return the seconds between each time and the next."""
    return [after - before for before, after in pairwise(times)]


def variation(values: Sequence[float]) -> float:
    """Return the standard deviation over the mean."""
    return pstdev(values) / fmean(values)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("rate", "seconds"), [(100.0, 3.0), (7.0, 0.9), (0.1, 5.0), (1000.0, 0.1)])
def test_arrivals_are_in_order_and_none_is_at_the_end_or_beyond(
    pattern: str, rate: float, seconds: float
) -> None:
    """Whatever the seed."""
    for seed in range(20):
        times = list(PATTERNS[pattern](rate, seconds, chance(seed)))
        assert times == sorted(times)
        assert all(0 <= time < seconds for time in times)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_mean_rate_is_the_one_asked_for(pattern: str) -> None:
    """400 loads of 500 expected arrivals each: within 4 standard errors, bursts' being larger."""
    counts = [sum(1 for _ in PATTERNS[pattern](100.0, 5.0, chance(n))) for n in range(400)]
    error = max(pstdev(counts), 0.01) / 20
    assert fmean(counts) == pytest.approx(500, abs=4 * error)


def test_poisson_arrivals_scatter_as_independent_ones_do() -> None:
    """The count's variance is its mean; the gaps vary by their mean."""
    counts = [sum(1 for _ in poisson(50.0, 2.0, chance(seed))) for seed in range(2000)]
    assert pstdev(counts) ** 2 == pytest.approx(100, rel=0.13)
    times = list(poisson(100.0, 400.0, chance(1)))
    assert variation(gaps(times)) == pytest.approx(1, abs=0.02)


def test_constant_arrivals_have_equal_distances() -> None:
    """The first is due at once."""
    assert list(constant(4.0, 1.0, chance(1))) == [0.0, 0.25, 0.5, 0.75]
    assert len(list(constant(100.0, 3.0, chance(1)))) == 300


def test_bursts_scatter_more_than_independent_arrivals() -> None:
    """Both in their gaps and in what comes within a quarter of a second, unless they are short."""
    times = list(bursts(100.0, 400.0, chance(1)))
    assert variation(gaps(times)) > 1.3
    assert scatter(times) > 5
    assert scatter(list(bursts(100.0, 400.0, chance(1), sojourn=0.01))) < 2


def scatter(times: Sequence[float]) -> float:
    """Return the variance of what comes within a quarter of a second, over its mean."""
    counts = [0] * 1600
    for time in times:
        counts[int(time * 4)] += 1
    return pstdev(counts) ** 2 / fmean(counts)


def test_equal_seeds_give_equal_arrivals() -> None:
    """And others give others."""
    for pattern in (poisson, bursts):
        first, again, other = (list(pattern(9.0, 9.0, chance(seed))) for seed in (1, 1, 2))
        assert first == again != other


def trace(folder: Path, text: str | bytes) -> Path:
    """Return a file with *text*."""
    path = folder / "trace.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_trace_is_seconds_one_a_line(tmp_path: Path) -> None:
    """Two may come at once."""
    for end in ("", "\n", "\n\n"):
        path = trace(tmp_path, f"0\n0.5\n 0.5 \r\n2e1{end}")
        assert read_trace(path) == [0.0, 0.5, 0.5, 20.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1763900000.5\n", "expected seconds from the start, but the first arrival is 1.7639e+09"),
        ("1\n2\nthree\n", "line 3: expected seconds, not less than the line before; got 'three'"),
        ("1\n\n2\n", "line 2: expected seconds, not less than the line before; got ''"),
        ("2\n1\n", "line 2: expected seconds, not less than the line before; got '1'"),
        ("-1\n", "line 1: expected seconds, not less than the line before; got '-1'"),
        ("1\nnan\n", "line 2: expected seconds, not less than the line before; got 'nan'"),
        ("1\ninf\n", "line 2: expected seconds, not less than the line before; got 'inf'"),
        ("1 2\n", "line 1: expected seconds, not less than the line before; got '1 2'"),
        ("", "expected arrival times in seconds, one per line"),
        ("0\n0\n", "expected arrival times in seconds, one per line"),
        (b"1\n\xff\n", "can't decode"),
    ],
)
def test_a_bad_line_of_a_trace_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    """By its number."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        read_trace(trace(tmp_path, text))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("speed", "seconds", "expected"),
    [
        (1.0, 100.0, [0.0, 1.0, 4.0]),
        (2.0, 100.0, [0.0, 0.5, 2.0]),
        (0.5, 8.0, [0.0, 2.0]),
        (2.0, 2.0, [0.0, 0.5]),
    ],
)
def test_a_trace_is_replayed_at_its_speed(
    speed: float, seconds: float, expected: list[float]
) -> None:
    """Nothing is due at the end or beyond."""
    assert list(replayed([0.0, 1.0, 4.0], speed, seconds)) == expected
