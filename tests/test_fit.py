"""Lines through noisy measurements: as few as explain them."""

import random

import pytest

from batcher.fit import Line, Point, fit_lines

NOISE = 0.02


def points(seconds: dict[int, float], noise: float = NOISE) -> list[Point]:
    """Return *seconds* by rows, each off by what chance says."""
    chance = random.Random(7)  # noqa: S311 - not for secrets
    return [
        Point(rows, y * (1.0 + chance.gauss(0.0, noise)), 1.0, 1.0 / (NOISE * y) ** 2)
        for rows, y in seconds.items()
    ]


def test_nothing_takes_no_line() -> None:
    """And one point a flat one."""
    assert fit_lines([]) == []
    assert fit_lines([Point(4, 8.0, 3.0, 1.0)]) == [Line(8.0, 0.0, 1, 3.0)]


def test_noise_averages_out_within_a_line() -> None:
    """Thirty-two sizes of 4 + 0.1 b are one line, closer to it than each of them."""
    (line,) = fit_lines(points({rows: 4.0 + 0.1 * rows for rows in range(1, 33)}))
    assert line.points == 32
    assert line.at(16) == pytest.approx(5.6, rel=NOISE / 2)


def test_a_step_is_believed_once_it_stands_out() -> None:
    """A jump by half is; one by less than the noise is not."""
    large = {rows: 4.0 if rows <= 8 else 6.0 for rows in range(1, 17)}
    assert [line.points for line in fit_lines(points(large))] == [8, 8]
    small = {rows: 4.0 if rows <= 8 else 4.02 for rows in range(1, 17)}
    assert [line.points for line in fit_lines(points(small))] == [16]


def test_a_line_never_falls() -> None:
    """Where fewer rows took longer, both take the same."""
    falling = [Point(1, 5.0, 1.0, 1.0), Point(2, 4.0, 1.0, 1.0)]
    assert fit_lines(falling) == [Line(4.5, 0.0, 2, 2.0)]
