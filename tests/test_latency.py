"""The measured service time l(b): what it learns and predicts."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.learning.drift import WINDOW_RUNS
from batcher.learning.latency import (
    MIN_WARMUP_RUNS,
    STALE_RUNS_PER_COUNT,
    TRIMMED_MEAN_EFFICIENCY,
    LatencyCurve,
    trimmed_mean,
)

CURVE = {1: 4.0, 8: 11.0, 16: 11.0, 32: 27.0}


@pytest.mark.parametrize(
    ("measured", "rows", "seconds"),
    [
        ({}, 5, 0.0),  # nothing known
        (CURVE, 1, 4.0),  # measured
        (CURVE, 32, 27.0),
        (CURVE, 2, 5.0),  # between
        (CURVE, 12, 11.0),
        (CURVE, 24, 19.0),
        (CURVE, 64, 59.0),  # beyond: one second a row, as from 16 to 32
        ({4: 8.0}, 1, 8.0),  # fewer than ever measured
        ({4: 8.0}, 8, 16.0),  # one size: in proportion
        ({1: 2.0, 31: 32.0, 32: 33.0}, 63, 64.0),
        ({1: 5.0, 2: 3.0, 4: 8.0}, 2, 5.0),  # never quicker than fewer rows
        ({1: 5.0, 2: 3.0, 4: 8.0}, 3, 6.5),
    ],
)
def test_predict(measured: dict[int, float], rows: int, seconds: float) -> None:
    """Linear between measurements, along the last line beyond, and never falling."""
    assert LatencyCurve(measured).predict(rows) == pytest.approx(seconds)


def test_a_size_that_has_not_run_for_long_is_stale() -> None:
    """Sooner if it has few runs; after one run, not before as many other runs again."""
    curve = LatencyCurve({1: 0.4, 2: 0.9})
    runs, warmed = 0, MIN_WARMUP_RUNS * TRIMMED_MEAN_EFFICIENCY
    while not curve.sizes(2).stale:
        curve.observe(1, 0.4)
        runs += 1
    assert runs >= STALE_RUNS_PER_COUNT * warmed
    assert curve.sizes(2).stale == (2,)
    curve.observe(2, 0.9)
    for _ in range(int(STALE_RUNS_PER_COUNT * (warmed + 1))):
        assert curve.sizes(2).stale == ()
        curve.observe(1, 0.4)


def test_a_size_that_looked_slow_is_found_to_be_quick() -> None:
    """By its runs while it is stale."""
    curve = LatencyCurve({1: 0.4, 2: 1.2})
    assert curve.sizes(2).rows == (1,)
    for _ in range(4000):
        curve.observe(next(iter(curve.sizes(2).stale), 1), 0.4)
    assert curve.sizes(2).rows == (1, 2)


def test_a_step_is_seen_by_the_first_run_beyond_it() -> None:
    """An interpolated size that was far too quick is not explored again."""
    curve = LatencyCurve({1: 4.1, 8: 4.8, 64: 10.4, 128: 16.8})
    assert curve.sizes(128).rows[-1] == 128
    assert curve.predict(96) == pytest.approx(13.6, rel=0.01)
    curve.observe(96, 20.0)
    assert 96 not in curve.sizes(128).rows
    assert curve.predict(96) > 16.0


def test_a_curve_that_is_no_line_is_not_noise() -> None:
    """Noise is the variation of runs of one size."""
    curve = LatencyCurve({1: 4.0, 2: 4.5, 4: 6.5, 8: 8.0, 16: 18.0, 32: 30.0})
    for _ in range(200):
        for rows, seconds in ((1, 4.0), (4, 6.5), (16, 18.0)):
            curve.observe(rows, seconds)
    assert curve.noise < 0.001


def test_one_outlier_moves_little() -> None:
    """A run that takes ten times as long counts as one that takes half as long again."""
    wild, mild = LatencyCurve({1: 4.0, 8: 20.0}), LatencyCurve({1: 4.0, 8: 20.0})
    wild.observe(8, 200.0)
    mild.observe(8, 30.0)
    assert wild.predict(8) == mild.predict(8)
    assert wild.noise == mild.noise


def test_a_machine_that_slows_down_slows_every_size_down() -> None:
    """After a few runs of twice the time, the predictions of other sizes rise, too."""
    curve = LatencyCurve({1: 4.0, 2: 6.0, 4: 10.0})
    for number in range(64):
        curve.observe(4, 10.0 + number % 2 / 8)
    noise = curve.noise
    for number in range(WINDOW_RUNS):
        curve.observe(4, 20.0 + number % 2 / 4)
    assert [curve.predict(rows) for rows in (1, 2, 4)] == pytest.approx([8.0, 12.0, 20.0], rel=0.3)
    assert curve.noise < 2 * noise
    for _ in range(WINDOW_RUNS):
        curve.observe(4, 10.0)
    assert [curve.predict(rows) for rows in (1, 2, 4)] == pytest.approx([4.0, 6.0, 10.0], rel=0.3)


@pytest.mark.parametrize(
    ("measured", "rows", "seconds"),
    [
        ({1: 10.0}, 16, 11.7),  # beyond a lone size: sixteen times as much was expected
        ({1: 4.1, 2: 4.2, 4: 4.4, 8: 4.8, 16: 5.6, 32: 7.2, 64: 10.4}, 40, 10.4),  # padded
        ({1: 4.1, 64: 10.4, 128: 20.8}, 68, 15.6),  # stairs
    ],
)
def test_a_size_that_was_only_interpolated_is_no_evidence_of_a_change(
    measured: dict[int, float], rows: int, seconds: float
) -> None:
    """Whatever its own runs take: the interpolation was wrong, and the machine is the same."""
    curve = LatencyCurve(measured)
    for _ in range(100):
        curve.observe(rows, seconds)
    assert curve.predict(1) == pytest.approx(measured[1], rel=0.02)
    assert curve.predict(rows) == pytest.approx(seconds, rel=0.02)


def test_a_stall_moves_no_other_size() -> None:
    """Even if the runs beside it took a little longer than expected."""
    curve = LatencyCurve({1: 10.0, 2: 15.0})
    for number in range(400):
        curve.observe(1, 5000.0 if number % 50 == 49 else 10.02)
    assert curve.predict(2) == pytest.approx(15.0, rel=0.1)


def test_the_average_converges_to_the_measurements() -> None:
    """After many runs at a new speed, the old one is forgotten."""
    curve = LatencyCurve({8: 64.0})
    for _ in range(800):
        curve.observe(8, 16.0)
    assert curve.predict(8) == pytest.approx(16.0, rel=0.01)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([3.0], 3.0),
        ([1.0, 3.0], 2.0),  # too few to leave any out
        ([5.0, 9.0, 4.0, 1.0, 6.0], 5.0),
        ([2.0] * 8 + [500.0, 500.0], 2.0),  # a fifth of them stalled
    ],
)
def test_a_trimmed_mean_leaves_out_both_ends(times: list[float], seconds: float) -> None:
    """A fifth at either end; of the others it is the mean."""
    assert trimmed_mean(times) == seconds


def test_a_size_with_a_slow_average_is_no_evidence_of_a_change() -> None:
    """Its average follows its next runs; the lines follow later if there are many sizes."""
    curve = LatencyCurve({rows: 0.004 + 0.0001 * rows for rows in range(1, 129) if rows != 110})
    for rows in ([110] * 2 + [64] * 130) * 3 + [110]:
        curve.observe(rows, 0.024 if rows == 110 else 0.0104)
    assert curve.predict(110) > 0.02
    for _ in range(4 * WINDOW_RUNS):
        curve.observe(110, 0.015)
    assert curve.predict(64) == pytest.approx(0.0104, rel=0.02)


def test_a_size_that_was_out_of_date_is_no_evidence_of_a_change() -> None:
    """As soon as a run has shown it, and before the next fit."""
    curve = LatencyCurve({rows: 0.004 + 0.0001 * rows for rows in range(1, 129) if rows != 100})
    for rows in [64] * 1500 + [100]:
        curve.observe(rows, 0.004 + 0.0001 * rows)
    for _ in range(4 * WINDOW_RUNS):
        curve.observe(110, 0.024)
    assert curve.predict(64) == pytest.approx(0.0104, rel=0.02)


def test_slow_first_runs_are_no_evidence_of_a_change() -> None:
    """An engine prepares for each new shape; the second run is as quick as any."""
    curve = LatencyCurve({1 << power: 0.004 + 0.0001 * (1 << power) for power in range(8)})
    for rows in range(33, 49):
        curve.observe(rows, 3.0 * (0.004 + 0.0001 * rows))
        curve.observe(rows, 0.004 + 0.0001 * rows)
    assert curve.predict(1) == pytest.approx(0.0041, rel=0.02)


def test_a_change_corrects_a_size_that_has_just_run_for_the_first_time() -> None:
    """Although it is not part of the last fit."""
    curve = LatencyCurve({rows: 0.004 + 0.0001 * rows for rows in range(1, 61)})
    curve.observe(61, 0.02)
    for _ in range(WINDOW_RUNS):
        curve.observe(30, 0.0035)
    assert curve.predict(61) == pytest.approx(0.01, rel=0.05)


def test_a_slow_neighbour_is_no_evidence_of_a_change() -> None:
    """Predictions never fall with rows; that does not make the runs of a size too short."""
    curve = LatencyCurve({1: 0.0041, 32: 0.0072, 64: 0.0104})
    for _ in range(8):
        curve.observe(63, 0.013)
    assert curve.predict(64) > 0.012
    for _ in range(2 * WINDOW_RUNS):
        curve.observe(64, 0.0104)
    assert curve.predict(1) == pytest.approx(0.0041, rel=0.02)


def test_a_correction_after_a_change_has_a_low_weight() -> None:
    """Further runs soon adjust it, even if the size had run a thousand times."""
    curve = LatencyCurve({4: 0.01})
    for _ in range(1000):
        curve.observe(4, 0.01)
    for _ in range(WINDOW_RUNS):
        curve.observe(4, 0.022)
    for _ in range(64):
        curve.observe(4, 0.02)
    assert curve.predict(4) == pytest.approx(0.02, rel=0.04)


def test_the_lines_follow_a_size_with_few_runs() -> None:
    """If its runs were quick by chance, the next ones show it, sooner than after 32 runs."""
    curve = LatencyCurve({1: 0.0041, 2: 0.0042, 4: 0.0044, 8: 0.0048, 64: 0.0104, 128: 0.0208})
    for number in range(64):
        curve.observe(64, 0.0104 * (0.95, 1.05)[number % 2])
    for _ in range(2):
        curve.observe(57, 0.0085)
    for number in range(16):
        curve.observe(57, 0.0097 * (0.95, 1.05)[number % 2])
    assert curve.predict(57) == pytest.approx(0.0097, rel=0.03)


@pytest.mark.parametrize(
    ("measured", "max_rows", "knee"),
    [
        ({}, 16, 16),
        ({32: 1.0}, 16, 16),  # nothing measured as small as that
        ({1: 1.0, 2: 2.0, 4: 4.0}, 8, 1),  # no gain in size
        ({1: 4.0, 2: 4.0, 4: 4.0, 8: 8.0}, 8, 4),
        ({1: 4.0, 2: 4.0, 4: 4.0, 8: 7.75}, 8, 4),  # 8 is better, but by less than 5 %
        ({1: 4.0, 2: 4.0, 4: 4.0, 8: 7.5}, 8, 8),
        ({1: 4.0, 2: 4.0, 4: 4.0, 8: 7.5}, 4, 4),  # out of reach
        ({1: 0.0, 2: 1.0}, 8, 1),  # too quick to measure
    ],
)
def test_knee(measured: dict[int, float], max_rows: int, knee: int) -> None:
    """The smallest measured size with 95 % of the best rows per second."""
    assert LatencyCurve(measured).knee(max_rows) == knee


@pytest.mark.parametrize(
    ("rows", "seconds"), [(0, 1.0), (1, -1.0), (1, float("nan")), (1, float("inf"))]
)
def test_an_invalid_measurement_is_refused(rows: int, seconds: float) -> None:
    """The error has both numbers, and nothing is learned."""
    curve = LatencyCurve({1: 4.0})
    with pytest.raises(ValueError, match=f"not {rows} rows and {seconds} s"):
        curve.observe(rows, seconds)
    assert curve.predict(1) == 4.0


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.dictionaries(st.integers(1, 128), st.floats(0.0, 1024.0), min_size=1, max_size=12))
def test_predictions_never_fall_as_rows_grow(measured: dict[int, float]) -> None:
    """For any measurements."""
    curve = LatencyCurve(measured)
    predicted = [curve.predict(rows) for rows in range(1, 200)]
    slack = 1e-9 * max(predicted)  # the two lines that meet at a size round differently
    assert all(a <= b + slack for a, b in pairwise(predicted))


def test_the_dispatch_overhead_is_the_same_for_all_sizes() -> None:
    """Runs of one size that had to wait make no step, and larger batches gain more."""
    curve = LatencyCurve({1: 4.0, 8: 4.8, 16: 32.0})
    assert curve.sizes(16).rows[-1] == 8
    assert curve.knee(16) == 8
    for _ in range(400):
        curve.observe(8, 4.8, 2.0)
    assert curve.fitted == pytest.approx({1: 6.0, 8: 6.8, 16: 34.0}, rel=1e-3)
    assert curve.predict(1) == pytest.approx(6.0, rel=1e-3)


def test_a_varying_dispatch_overhead_raises_the_margin() -> None:
    """Even if the runs themselves take the same time."""
    calm, busy = LatencyCurve({1: 0.004}), LatencyCurve({1: 0.004})
    for run in range(400):
        calm.observe(1, 0.004, 0.002)
        busy.observe(1, 0.004, 0.004 * (run % 2))
    assert busy.predict(1) == pytest.approx(calm.predict(1), rel=0.05)
    assert calm.margin == pytest.approx(1.1)
    assert busy.margin > 1.5


def test_one_long_dispatch_overhead_moves_little() -> None:
    """A machine that stalled once is not slow."""
    curve = LatencyCurve({1: 4.0, 2: 5.0})
    for _ in range(400):
        curve.observe(1, 4.0, 0.001)
    curve.observe(1, 4.0, 100.0)
    for _ in range(64):
        curve.observe(1, 4.0, 0.001)
    assert curve.predict(2) == pytest.approx(5.001, abs=1e-3)


def test_a_peek_at_the_sizes_does_not_count_as_a_decision() -> None:
    """Only a size that a policy may have chosen to explore is informative."""
    curve = LatencyCurve({1: 1.0, 4: 1.2, 16: 4.0, 24: 6.5, 32: 8.0})
    explored = curve.peek_sizes(32).exploration[0].rows
    assert not curve.is_informative(explored)
    assert curve.sizes(32) == curve.peek_sizes(32)
    assert curve.is_informative(explored)
