"""How long a request may take that names no timeout: server/deadlines.py."""

from math import inf

import pytest

from batcher.learning.latency import LatencyCurve
from batcher.queue import Queue
from model.execution.queues import FeedQueue
from server.deadlines import DefaultTimeout, learned_timeout


def queue(cap: int, measured: dict[int, float]) -> FeedQueue:
    """Return the queue of runs that took the seconds in *measured*, by their rows."""
    return Queue(LatencyCurve(measured), cap, 64)


QUICK = queue(8, {1: 0.001, 8: 0.002})
SLOW = queue(4, {1: 0.5, 4: 1.0})
UNKNOWN = queue(32, {})


@pytest.mark.parametrize(
    ("of", "rows", "seconds"),
    [
        (QUICK, 1, 0.5),  # the minimum
        (SLOW, 1, 5.0),  # five full batches, its own among them
        (SLOW, 4, 5.0),
        (SLOW, 5, 6.0),  # two batches of its own
        (SLOW, 40, 14.0),
        (QUICK, 8000, 2.008),
        (UNKNOWN, 1, inf),
    ],
)
def test_a_request_may_take_as_long_as_its_own_runs_and_four_more(
    of: FeedQueue, rows: int, seconds: float
) -> None:
    """Without a measurement there is no limit."""
    assert learned_timeout(of, rows) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("default", "seconds"),
    [
        (DefaultTimeout(None, [QUICK]), 0.5),
        (DefaultTimeout(None, [QUICK, SLOW]), 5.0),
        (DefaultTimeout(None, [QUICK, UNKNOWN]), 0.5),
        (DefaultTimeout(None, [UNKNOWN]), inf),
        (DefaultTimeout(None, [QUICK], 2.0), 2.5),  # a batch may wait for more rows
        (DefaultTimeout(0.25, [SLOW], 2.0), 0.25),
        (DefaultTimeout(inf, [QUICK]), inf),
    ],
)
def test_the_default_is_configured_or_learned_from_the_slowest_runs(
    default: DefaultTimeout, seconds: float
) -> None:
    """Of the queues that were measured."""
    assert default.seconds == pytest.approx(seconds)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_learned_default_follows_the_run_times(factor: float) -> None:
    """So a busy machine at the start does not fix a timeout that is too long."""
    model = queue(1, {1: 1.0})
    default = DefaultTimeout(None, [model])
    assert default.seconds == 5.0
    for _ in range(600):
        model.latency.observe(1, factor)
    assert default.seconds == pytest.approx(5.0 * factor, rel=0.01)
    assert default.of(model, 1) == default.seconds


@pytest.mark.parametrize(
    ("default", "of", "rows", "seconds"),
    [
        (DefaultTimeout(None, [QUICK]), QUICK, 8, 0.5),
        (DefaultTimeout(None, [QUICK]), QUICK, 8000, 2.008),
        (DefaultTimeout(None, [QUICK]), SLOW, 1, 5.0),
        (DefaultTimeout(None, [QUICK]), UNKNOWN, 1, inf),
        (DefaultTimeout(0.5), SLOW, 40, 0.5),
        (DefaultTimeout(0.5), UNKNOWN, 1, 0.5),
    ],
)
def test_a_learned_default_is_never_shorter_than_the_run_itself(
    default: DefaultTimeout, of: FeedQueue, rows: int, seconds: float
) -> None:
    """Of many rows, or of a shape not measured; a configured default holds for all."""
    assert default.of(of, rows) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("default", "words"),
    [
        (DefaultTimeout(0.5), "0.5 s for an answer"),
        (DefaultTimeout(1 / 3), "0.333 s for an answer"),
        (DefaultTimeout(inf), "any time for an answer"),
    ],
)
def test_a_default_is_logged_as_text(default: DefaultTimeout, words: str) -> None:
    """In the line that reports that the model is ready."""
    assert str(default) == words
