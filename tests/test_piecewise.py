"""Lines through noisy measurements, as few as explain them."""

import random

import pytest

from batcher.learning.piecewise import Line, Point, fit_lines

NOISE = 0.02


def points(seconds: dict[int, float], noise: float = NOISE) -> list[Point]:
    """Return points at *seconds* by rows, with random errors."""
    chance = random.Random(7)  # noqa: S311 - not for secrets
    return [
        Point(rows, y * (1.0 + chance.gauss(0.0, noise)), 1.0 / (NOISE * y) ** 2)
        for rows, y in seconds.items()
    ]


def test_no_points_have_no_line() -> None:
    """One point has a flat line."""
    assert fit_lines([]) == []
    assert fit_lines([Point(4, 8.0, 0.25)]) == [Line(8.0, 0.0, 1)]


def test_noise_averages_out_within_a_line() -> None:
    """Thirty-two sizes of 4 + 0.1 b are one line, nearer to it than each of them."""
    (line,) = fit_lines(points({rows: 4.0 + 0.1 * rows for rows in range(1, 33)}))
    assert line.points == 32
    assert line.at(16) == pytest.approx(5.6, rel=NOISE / 2)


def test_a_step_is_fitted_if_it_exceeds_the_noise() -> None:
    """A step by half is; one below the noise is not."""
    large = {rows: 4.0 if rows <= 8 else 6.0 for rows in range(1, 17)}
    assert [line.points for line in fit_lines(points(large))] == [8, 8]
    small = {rows: 4.0 if rows <= 8 else 4.02 for rows in range(1, 17)}
    assert [line.points for line in fit_lines(points(small))] == [16]


def test_a_line_never_falls() -> None:
    """If fewer rows took longer, both sizes have the same time."""
    falling = [Point(1, 5.0, 1.0), Point(3, 4.0, 1.0)]
    assert fit_lines(falling) == [Line(4.5, 0.0, 2)]


def test_a_change_is_rather_in_a_wide_gap_than_before_it() -> None:
    """A point off by two errors stays with its neighbours, although it fits the line beyond."""
    seconds = {x: 4.0 + 0.1 * x for x in range(4, 65, 4)}
    seconds[64] *= 1.0 + 2.0 * NOISE
    found = fit_lines(points({**seconds, 128: 20.8}, noise=0.0))
    assert [line.points for line in found] == [16, 1]
