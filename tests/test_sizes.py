"""Which sizes are worth running, and which worth exploring: batcher/learning/sizes.py."""

from collections.abc import Mapping
from itertools import pairwise

import pytest

from batcher.learning.piecewise import Line
from batcher.learning.sizes import CERTAIN_STANDARD_ERRORS, Estimate, Sizes, choose_sizes

#: A line with a certain start, and one through the origin with an uncertain one.
CERTAIN, SLOPED = Line(4.0, 0.1, 4, 1.0, 0.01, 0.001), Line(0.1, 0.16, 2, 96.0, 0.2, 0.01)
FLAT = Line(20.0, 0.0, 1, 128.0, 0.4)


def estimates(
    seconds: Mapping[int, tuple[float, Line]], error: float, stale: tuple[int, ...] = ()
) -> list[Estimate]:
    """Return estimates of sizes with these seconds and lines."""
    return [
        Estimate(rows, taken, error, 4.0, line, rows in stale, taken * (1.0 + error))
        for rows, (taken, line) in seconds.items()
    ]


def chosen(known: list[Estimate], spent: float = 0.0) -> Sizes:
    """Return the sizes chosen from *known*, with straight lines between them."""

    def predict(rows: int) -> float:
        for low, high in pairwise(known):
            if low.rows <= rows <= high.rows:
                share = (rows - low.rows) / (high.rows - low.rows)
                return low.seconds + share * (high.seconds - low.seconds)
        return known[0].seconds

    return choose_sizes(known, known[-1].rows, predict, spent)


def growing(last: float, line: Line) -> dict[int, tuple[float, Line]]:
    """Return the seconds of 4 + 0.1 b to 64 rows, and those of 128 rows on *line*."""
    small = {rows: (4.0 + 0.1 * rows, CERTAIN) for rows in (1, 16, 64)}
    return {**small, 128: (last, line)}


def test_without_measurements_no_size_is_worth_running() -> None:
    """Nor exploring."""
    assert choose_sizes([], 8, lambda _: 0.0, 1.0) == Sizes()


def test_up_to_the_knee_all_sizes_are_worth_running() -> None:
    """For any error, if each has a better rate than the one before."""
    sizes = chosen(estimates(growing(20.8, FLAT), error=0.03))
    assert sizes.rows == tuple(range(1, 65))
    assert sizes.rates[-1] == pytest.approx(64 / 10.4)
    assert (sizes.longest, sizes.measured) == (20.8, 128)


@pytest.mark.parametrize(
    ("seconds", "error", "largest", "best"),
    [
        (20.8, 0.03, 64, 1.06),  # equal: may be quicker
        (20.8, 0.002, 64, 1.004),  # certain: hardly quicker
        (22.0, 0.03, 64, 1.0022),  # probably slower
        (20.0, 0.03, 64, 1.1024),  # quicker by 4 %, which is within the noise
        (20.0, 0.01, 128, 1.0608),  # certain
    ],
)
def test_a_size_beyond_the_knee_has_its_certain_rate(
    seconds: float, error: float, largest: int, best: float
) -> None:
    """It is explored for its best rate: *best* times that of 64 rows."""
    sizes = chosen(estimates(growing(seconds, FLAT), error))
    assert sizes.rows[-1] == largest
    trial = sizes.exploration[-1]
    assert trial.rows == 128
    assert trial.best_rate == pytest.approx(best * 64 / 10.4, rel=0.001)
    assert (trial.rate, trial.error, trial.runs) == (128 / seconds, error, 4.0)


def test_a_size_that_never_ran_is_explored_at_the_predicted_rate() -> None:
    """If that is better than all smaller sizes that ran."""
    risen = chosen(estimates(growing(20.0, FLAT), error=0.001))
    assert [trial.rows for trial in risen.exploration] == list(range(65, 129))
    assert risen.exploration[31].rate == risen.exploration[31].best_rate == pytest.approx(96 / 15.2)
    assert risen.exploration[31].runs == 0.0
    assert chosen(estimates(growing(20.8, FLAT), error=0.0)).exploration == ()
    assert chosen(estimates(growing(22.0, FLAT), error=0.001)).exploration == ()


def test_a_size_that_never_ran_is_compared_with_expected_rates() -> None:
    """Not with certain rates: the error of one size is no reason to run another."""
    curve = growing(20.8, FLAT)
    curve = {**{rows: curve[rows] for rows in (1, 16, 64)}, 96: (15.0, FLAT), 128: curve[128]}
    sizes = chosen(estimates(curve, error=0.03))
    assert sizes.rows[-1] == 64
    tried = [trial.rows for trial in sizes.exploration]
    assert [rows for rows in tried if rows > 96] == [128]


def test_the_certain_rate_is_lowered_by_the_errors_of_both_sizes() -> None:
    """Of the size, and of the knee."""
    sizes = chosen(estimates(growing(19.8, FLAT), error=0.005))
    at_worst = 128 / 19.8 / (1.0 + CERTAIN_STANDARD_ERRORS * 0.005 * 2**0.5)
    assert sizes.rows[-1] == 128
    assert sizes.rates[-1] == pytest.approx(at_worst)


def test_between_two_lines_there_may_be_a_step() -> None:
    """A size takes at most the time of the next measured size, not less."""
    sizes = chosen(estimates(growing(20.0, FLAT), error=0.001))
    rows = [size for size in sizes.rows if size > 64]
    assert rows == list(range(rows[0], 129))
    assert rows[0] / 20.0 > 64 / 10.4 > (rows[0] - 2) / 20.0


def test_sizes_on_a_line_with_a_certain_start_are_worth_running() -> None:
    """A larger batch shares the start; no size has to be measured for that."""
    line = Line(2.0, 12.0, 6, 2.0, 0.1, 0.01)
    gently = {rows: (2.0 + 12.0 * rows, line) for rows in (1, 4, 8, 32)}
    assert chosen(estimates(gently, error=0.03)).rows == tuple(range(1, 33))
    origin = {rows: (12.1 * rows - rows / 100, SLOPED) for rows in (1, 4, 8, 32)}
    assert chosen(estimates(origin, error=0.03)).rows == (1,)


def test_runs_of_zero_seconds_are_accepted() -> None:
    """A clock may be set back: no division by zero."""
    nothing = {rows: (0.0, Line(0.0, 0.0, 3, 2.0)) for rows in (1, 2, 4)}
    assert chosen(estimates(nothing, error=0.0)).rows == (1, 2, 3, 4)


def test_a_stale_size_is_explored_within_the_budget() -> None:
    """Here it would take four seconds more than the same rows in the quickest runs."""
    curve = {1: (4.0, Line(4.0, 0.0)), 2: (12.0, Line(12.0, 0.0))}
    known = estimates(curve, error=0.0, stale=(1, 2))
    assert chosen(known, spent=7_999.0).stale == ()
    assert chosen(known, spent=8_001.0).stale == (2,)
