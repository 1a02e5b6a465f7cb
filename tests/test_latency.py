"""The measured service time l(b): what it learns, predicts and explores."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.learning.latency import EXPLORATION_INTERVAL_BATCHES, LatencyCurve
from model.execution.warmup_runs import trimmed_mean

#: Milliseconds by rows: a line, and sizes that are equally quick.
LINE = {1: 4.1, 8: 4.8, 64: 10.4}
EQUAL = {8: 8.0, 16: 16.0, 32: 32.0}

Runs = Sequence[tuple[int, float]]
KNOWN: Runs = [(1, 4.1), (8, 4.8)] * 200
LONGER: Runs = [(1, 8.2), (8, 9.6)] * 4
ALL_LONGER: Runs = [(1, 8.2), (8, 9.6), (64, 20.8)] * 3
TWO_TIMES: Runs = [(8, time) for time in (4.8, 9.6, 9.6, 4.8, 9.6, 4.8, 4.8, 9.6)] * 50
SHORTER: Runs = [(1, 2.05), (8, 2.4)] * 4


def learned(measured: dict[int, float], runs: Runs = (), overhead: float = 0.0) -> LatencyCurve:
    """Return the curve after a warm-up and *runs*, both in milliseconds."""
    curve = LatencyCurve({rows: taken / 1e3 for rows, taken in measured.items()})
    for rows, taken in runs:
        curve.launched(rows, explored=False)
        curve.observe(rows, taken / 1e3, overhead / 1e3)
    return curve


@pytest.mark.parametrize(
    ("measured", "runs", "expected"),
    [
        ({}, [], {5: 0.0}),  # nothing known
        (LINE, [], LINE),
        (LINE, [], {4: 4.4, 36: 7.6, 128: 16.8}),  # the line between and beyond
        ({1: 4.0, 8: 11.0, 16: 11.0}, [], {2: 5.0, 12: 11.0, 32: 22.0}),  # in proportion to a step
        ({4: 8.0}, [], {1: 8.0, 8: 16.0}),  # fewer than ever measured; one size
        ({1: 4.0, 2: 12.0}, [], {2: 8.0}),  # no longer than its parts
        ({1: 4.0, 2: 12.0}, [(2, 5.0)], {2: 5.0}),  # they contradict it: its next run decides
        ({1: 0.0, 2: 0.0}, [(1, 0.0), (2, 0.0)], {1: 0.0, 4: 0.0}),  # a clock was set back
        ({8: 64.0}, [(8, 67.0)] * 32, {8: 66.0}),  # a moving average
        ({8: 64.0}, [(8, 16.0)] * 20, {8: 16.0}),
        (LINE, [(8, 5.0)] * 31, {8: 4.8}),  # many runs are known: fitted again
        (LINE, [(8, 5.0)] * 32, {8: 4.85}),  # after 32 more
        (LINE, [*[(8, 4.8)] * 60, (8, 480.0), *[(8, 4.8)] * 3], {1: 4.1, 8: 4.8}),  # a stall
        (LINE, [*KNOWN, *[(8, 9.6)] * 3], {8: 4.8}),
        (LINE, [*KNOWN, *[(8, 9.6)] * 3, (8, 4.8), *[(8, 9.6)] * 3], {8: 4.8}),
        (LINE, [*KNOWN, *[(8, 9.6)] * 3, (8, 2.4), *[(8, 9.6)] * 3], {8: 4.8}),
        (LINE, [*KNOWN, *[(8, 5.2)] * 4], {8: 4.8}),  # no change: by less than a tenth
        (LINE, [*KNOWN, *TWO_TIMES], {1: 4.1, 8: 7.1}),  # at random: noise, and no change
        (LINE, [*KNOWN, *[(8, 9.6)] * 4], {8: 9.6, 64: 20.8}),  # in a row: a change
        (LINE, [*KNOWN, *[(8, 9.6), (1, 4.1)] * 3, (8, 9.6)], {1: 4.1, 8: 9.6}),  # of one size
        (LINE, [*KNOWN, *LONGER[:6]], {64: 10.4}),
        (LINE, [*KNOWN, *LONGER[:4], *SHORTER[:4]], {64: 10.4}),
        (LINE, [*KNOWN, *LONGER], {1: 8.2, 8: 9.6, 64: 20.8}),  # the machine has changed
        (LINE, [*KNOWN, (1, 6.1), (8, 7.2), *LONGER[2:]], {64: 20.8}),  # by the median
        (LINE, [*KNOWN, *ALL_LONGER[:9]], {1: 4.1, 8: 4.8, 64: 10.4}),  # three runs of each size
        (LINE, [*KNOWN, *SHORTER], {1: 2.05, 64: 5.2}),
        (LINE, [*KNOWN, *LONGER, (64, 15.0)], {64: 15.0}),  # a size that was moved is in doubt
        (LINE, [*KNOWN, *LONGER[:2], (64, 10.4), *LONGER[2:]], {64: 10.4}),  # it ran in between
    ],
)  # fmt: skip
def test_predictions(measured: dict[int, float], runs: Runs, expected: dict[int, float]) -> None:
    """Averages follow the runs; changes of a size and of the machine show in several runs."""
    curve = learned(measured, runs)
    found = {rows: 1e3 * curve.predict(rows) for rows in expected}
    assert found == pytest.approx(expected, rel=0.01, abs=1e-5)


def test_the_sizes_worth_running_follow_the_averages() -> None:
    """Here two rows share a run once it is known to be quicker than two runs."""
    curve = learned({1: 4.0, 2: 12.0})
    assert curve.sizes(2).rows == (1,)
    curve.observe(2, 0.005)
    assert curve.sizes(2).rows == (1, 2)


@pytest.mark.parametrize(
    ("run", "counts_as"),
    [
        ((8, 480.0), []),
        ((8, 0.01), []),
        ((32, 300.0), []),  # the first of a size: an engine may prepare in it
        ((96, 300.0), []),
        ((32, 14.0), [(32, 14.0)]),
    ],
)
def test_a_stall_does_not_count(run: tuple[int, float], counts_as: Runs) -> None:
    """Nor does a first run of a size that takes more than twice the expected time."""
    wild, mild = learned(LINE, [run]), learned(LINE, counts_as)
    sizes = (1, 8, 32, 64, 96)
    assert [wild.predict(b) for b in sizes] == pytest.approx([mild.predict(b) for b in sizes])
    assert wild.noise == pytest.approx(mild.noise)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.dictionaries(st.integers(1, 24), st.floats(0.01, 100.0), max_size=5),
    st.lists(st.tuples(st.integers(1, 24), st.floats(0.01, 100.0)), min_size=1, max_size=40),
    st.floats(0.0, 9.0),
)
def test_beliefs_are_plausible(measured: dict[int, float], runs: Runs, overhead: float) -> None:
    """Monotone and subadditive up to the largest measured size, after any runs."""
    curve = learned(measured, runs, overhead)
    taken = [curve.predict(rows) for rows in range(max(curve.fitted) + 1)]
    assert all(less <= more + 1e-9 for less, more in pairwise(taken))
    for one in range(1, len(taken)):
        for other in range(one, len(taken) - one):
            assert taken[one + other] <= taken[one] + taken[other] + 1e-9


def test_a_size_that_is_never_run_stays_plausible_on_a_noisy_machine() -> None:
    """However often the time of another size changes: its corrections do not multiply."""
    random = Random(0)  # noqa: S311 - chooses run times
    curve = learned({1: 0.5, 2: 0.6, 4: 0.5, 8: 0.6, 16: 0.7})
    level = longest = 0.0
    for at in range(20_000):
        if at % 200 == 0:
            level = random.choice([1.0, 1.0, 1.6, 2.5, 4.0])
        stall = 20.0 if random.random() < 0.01 else 1.0
        rows = 16 if random.random() < 0.97 else 1
        usual = 0.0007 * level * random.lognormvariate(0.0, 0.35)
        longest = max(longest, usual)
        curve.launched(rows, explored=False)
        curve.observe(rows, usual * stall)
    assert all(seconds < longest for seconds in curve.fitted.values())


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


@pytest.mark.parametrize(
    ("measured", "max_rows", "knee"),
    [
        ({}, 16, 16),
        ({32: 1.0}, 16, 16),  # nothing measured as small as that
        ({1: 1.0, 2: 2.0, 4: 4.0}, 8, 1),  # no gain in size
        ({1: 4.0, 4: 4.0, 8: 8.0}, 8, 4),
        ({1: 4.0, 4: 4.0, 8: 7.75}, 8, 4),  # 8 is better, but by less than 5 %
        ({1: 4.0, 4: 4.0, 8: 7.5}, 8, 8),
        ({1: 4.0, 4: 4.0, 8: 7.5}, 4, 4),  # out of reach
        ({1: 0.0, 2: 1.0}, 8, 1),  # too quick to measure
    ],
)
def test_knee(measured: dict[int, float], max_rows: int, knee: int) -> None:
    """The smallest measured size with 95 % of the best rows per second."""
    assert learned(measured).knee(max_rows) == knee


@pytest.mark.parametrize(
    ("rows", "seconds"), [(0, 1.0), (1, -1.0), (1, float("nan")), (1, float("inf"))]
)
def test_an_invalid_measurement_is_refused(rows: int, seconds: float) -> None:
    """With both numbers, and nothing is learned."""
    curve = LatencyCurve({1: 4.0})
    for refused in (lambda: curve.observe(rows, seconds), lambda: LatencyCurve({rows: seconds})):
        with pytest.raises(ValueError, match=f"not {rows} rows and {seconds} s"):
            refused()
    assert curve.predict(1) == 4.0


def test_the_dispatch_overhead_is_the_same_for_all_sizes() -> None:
    """Runs of one size that had to wait make no step; one long wait moves little."""
    curve = learned({1: 4.0, 8: 4.8, 16: 9.0}, [(8, 4.8)] * 400, overhead=2.0)
    assert curve.fitted == pytest.approx({1: 0.006, 8: 0.0068, 16: 0.011}, rel=1e-3)
    curve.observe(8, 0.0048, 100.0)
    for _ in range(64):
        curve.observe(8, 0.0048, 0.002)
    assert curve.predict(1) == pytest.approx(0.006, rel=0.01)


@pytest.mark.parametrize(
    ("off", "waits", "noise", "margin"),
    [
        (0.0, 0.0, 0.001, 1.1),  # the precision of a clock, and the least margin
        (0.1, 0.0, 0.1, 1.2),
        (0.0, 2.0, 0.001, 1.5),  # relative to the shortest run, which waits 2 ms on average
        (0.1, 2.0, 0.1, 1.54),
    ],
)
def test_noise_and_a_varying_dispatch_overhead_raise_the_margin(
    off: float, waits: float, noise: float, margin: float
) -> None:
    """Noise is the variation of the runs of one size, whatever the form of l(b)."""
    curve = learned({1: 6.0, 8: 20.0, 9: 39.0})
    for _ in range(400):
        for sign in (-1, 1):
            curve.observe(1, 0.006 * (1 + sign * off), (1 + sign) * waits / 1e3)
            curve.observe(8, 0.020 * (1 + sign * off), (1 + sign) * waits / 1e3)
    assert curve.noise == pytest.approx(noise, rel=0.05)
    assert curve.margin == pytest.approx(margin, rel=0.02)


def test_a_size_that_would_take_too_long_does_not_prevent_the_exploration_of_others() -> None:
    """Even if it is never launched, and is therefore the one launched least recently."""
    curve = learned(EQUAL, [(16, 16.0), *[(8, 8.0)] * WAIT])
    assert [curve.to_explore(8, 32, longest) for longest in (0.04, 0.02, 0.01)] == [32, 16, 0]


WAIT = EXPLORATION_INTERVAL_BATCHES


@pytest.mark.parametrize(
    ("measured", "launched", "best", "most", "explored"),
    [
        (EQUAL, [8] * (WAIT - 1), 8, 32, 0),  # too soon
        (EQUAL, [8] * WAIT, 8, 32, 16),
        (EQUAL, [8] * WAIT, 8, 15, 0),  # so many rows do not wait
        (EQUAL, [16, *[8] * WAIT], 8, 32, 32),  # the one launched least recently
        (EQUAL, [16, 32, *[8] * WAIT], 8, 32, 16),
        (EQUAL, [32] * WAIT, 32, 32, 8),  # also a smaller one
        ({8: 8.0, 16: 17.0}, [8] * WAIT, 8, 32, 0),  # it is certainly slower,
        ({8: 8.0, 16: 17.0}, [8] * 40 * 1024, 8, 32, 16),  # until its runs are long ago
        ({1: 4.0, 2: 12.0}, [1] * WAIT, 1, 2, 2),  # its runs and those of its parts disagree
        ({1: 4.0}, [1] * WAIT, 1, 2, 0),  # only a measured size
    ],
)
def test_a_size_that_may_be_quicker_is_explored(
    measured: dict[int, float], launched: list[int], best: int, most: int, explored: int
) -> None:
    """Once in 16 batches."""
    curve = learned(measured)
    for rows in launched:
        curve.launched(rows, explored=False)
    assert curve.to_explore(best, most) == explored
    curve.launched(explored or best, explored=True)
    assert curve.to_explore(best, most) == 0
