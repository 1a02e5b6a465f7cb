"""Which rows are launched before a new one, and the expected wait."""

import pytest

from batcher.admission import Backlog, expected_wait, rows_before
from batcher.learning.latency import LatencyCurve
from batcher.priority import Priority

CPU = LatencyCurve({rows: 2.0 + 12.0 * rows for rows in (1, 2, 4, 8)})


@pytest.mark.parametrize(
    ("priority", "waiting", "rows"),
    [
        (Priority.NORMAL, (0, 0, 0), 0),
        (Priority.NORMAL, (0, 5, 0), 5),
        (Priority.NORMAL, (3, 5, 0), 8),  # all of the higher, if they are few
        (Priority.NORMAL, (100, 1, 0), 9),  # else four for each
        (Priority.HIGH, (0, 0, 100), 0),
        (Priority.HIGH, (31, 0, 100), 33),
        (Priority.LOW, (100, 100, 0), 20),
    ],
)
def test_rows_before(priority: Priority, waiting: tuple[int, ...], rows: int) -> None:
    """All rows of its own level, and those of other levels that their shares allow."""
    assert rows_before(priority, waiting) == rows


@pytest.mark.parametrize(
    ("backlog", "allowed", "seconds"),
    [
        (Backlog(0, 0.0, 1, 8), 1000.0, 14.0),
        (Backlog(0, 5.0, 1, 8), 1000.0, 19.0),
        (Backlog(7, 0.0, 1, 8), 1000.0, 98.0),  # in the same batch
        (Backlog(8, 0.0, 1, 8), 1000.0, 98.0 + 14.0),
        (Backlog(8, 0.0, 2, 8), 1000.0, 49.0 + 14.0),
        (Backlog(8, 0.0, 1, 8), 100.0, 2 * 50.0 + 14.0),  # batches of four, by then
    ],
)
def test_expected_wait(backlog: Backlog, allowed: float, seconds: float) -> None:
    """The time until a lane is idle, the batches before it, and its own."""
    assert expected_wait(backlog, CPU, allowed) == pytest.approx(seconds, rel=1e-3)
