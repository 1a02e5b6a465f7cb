"""The lanes and the batches on them: batcher/lanes.py."""

from collections.abc import Sequence
from math import inf

import pytest
from twisted.internet.defer import Deferred

from batcher.batch import Batch
from batcher.executor import Piece
from batcher.lanes import MIN_HUNG_RUN_RATIO, Lanes
from batcher.learning.latency import LatencyCurve
from batcher.queue import Queue
from batcher.request import Part, Request
from batcher.share import ShareTurns
from batcher.trace import Run

QUEUE: Queue[str, str] = Queue(LatencyCurve({}), 8, 64)
RUN_TIMEOUT = 32.0


class NamedExecutor:
    """An executor that `Lanes` must never call."""

    seconds: float | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, pieces: Sequence[Piece[str]]) -> Deferred[Sequence[str]]:
        """Fail."""
        raise AssertionError(f"{self.name} was asked to run {pieces}")


def lanes_of(names: str, run_timeout: float = RUN_TIMEOUT) -> Lanes[str, str]:
    """Return lanes with these *names*."""
    return Lanes([NamedExecutor(name) for name in names], ShareTurns(), run_timeout, 0.0)


def launched(lanes: Lanes[str, str], now: float = 0.0, expected: float = 1.0) -> Batch[str, str]:
    """Launch a batch of one row at *now*."""
    request: Request[str, str] = Request(1, "item", 1, QUEUE, 0.0)
    batch = Batch([Part("item", 0, 1, request)])
    lanes.launch(batch, Run(1, 8, "idle", started=now, expected=expected))
    return batch


def lane_of(batch: Batch[str, str]) -> str:
    """Return the name of the lane of *batch*."""
    assert isinstance(batch.executor, NamedExecutor)
    return batch.executor.name


def test_the_lane_that_ran_last_goes_next() -> None:
    """It has the warmest caches; lanes that never ran go in order."""
    lanes = lanes_of("abc")
    first, second = launched(lanes), launched(lanes)
    assert (lane_of(first), lane_of(second)) == ("a", "b")
    lanes.complete(second, 1.0)
    lanes.complete(first, 2.0)
    assert [lane_of(launched(lanes)) for _ in "abc"] == ["a", "b", "c"]
    assert lanes.idle == []


def test_batches_batch_are_in_order_of_launch() -> None:
    """Whatever has ended in between."""
    lanes = lanes_of("abc")
    first, second, third = (launched(lanes) for _ in range(3))
    assert (len(lanes), list(lanes)) == (3, [first, second, third])
    lanes.complete(second, 1.0)
    fourth = launched(lanes)
    assert (len(lanes), list(lanes)) == (3, [first, third, fourth])


@pytest.mark.parametrize(("now", "taken"), [(5.0, 2.0), (3.0, 0.0), (1.0, 0.0)])
def test_the_end_of_a_run_sets_its_seconds(now: float, taken: float) -> None:
    """Launched at 3.0; never negative, even if the clock is set back."""
    lanes = lanes_of("a")
    batch = launched(lanes, 3.0)
    lanes.complete(batch, now)
    assert batch.run.seconds == taken


@pytest.mark.parametrize(
    ("run_timeout", "expected", "hangs_at"),
    [
        (RUN_TIMEOUT, 0.0, 4.0 + RUN_TIMEOUT),
        (RUN_TIMEOUT, RUN_TIMEOUT / MIN_HUNG_RUN_RATIO, 4.0 + RUN_TIMEOUT),
        (RUN_TIMEOUT, RUN_TIMEOUT, 4.0 + MIN_HUNG_RUN_RATIO * RUN_TIMEOUT),
        (inf, 1.0, inf),
    ],
)
def test_a_run_may_take_the_timeout_or_ten_times_the_expected_time(
    run_timeout: float, expected: float, hangs_at: float
) -> None:
    """Whichever is more, from its launch at 4.0."""
    lanes = lanes_of("ab", run_timeout)
    assert lanes.hangs_at() == inf
    batch = launched(lanes, 4.0, expected)
    launched(lanes, 8.0, expected)
    assert lanes.hangs_at() == hangs_at
    if hangs_at < inf:
        assert lanes.give_up(hangs_at - 1.0) == []
        assert lanes.give_up(hangs_at) == [batch]


def test_a_run_is_given_up_once_and_counts_as_hung_until_it_ends() -> None:
    """Its lane is not used meanwhile; the next run is given up at its own time."""
    lanes = lanes_of("ab")
    first, second = launched(lanes, 0.0), launched(lanes, 1.0)
    assert lanes.give_up(RUN_TIMEOUT) == [first]
    assert (lanes.hung, lanes.all_hung, lanes.hangs_at()) == (1, False, 1.0 + RUN_TIMEOUT)
    assert lanes.give_up(RUN_TIMEOUT) == []
    assert lanes.give_up(2 * RUN_TIMEOUT) == [second]
    assert (lanes.hung, lanes.all_hung, lanes.hangs_at()) == (2, True, inf)
    assert (len(lanes), lanes.idle) == (2, [])
    lanes.complete(first, 100.0)
    assert (lanes.hung, lanes.all_hung, len(lanes)) == (1, False, 1)
    lanes.complete(second, 100.0)
    assert (lanes.hung, len(lanes), len(lanes.idle)) == (0, 0, 2)


def test_several_runs_may_be_given_up_at_once() -> None:
    """In order of launch."""
    lanes = lanes_of("abc")
    all_ = [launched(lanes) for _ in range(3)]
    assert lanes.give_up(RUN_TIMEOUT) == all_
    assert lanes.all_hung


@pytest.mark.parametrize(
    ("launches", "now", "seconds"),
    [
        ([], 0.0, 0.0),
        ([(0.0, 9.0)], 1.0, 0.0),  # the other lane is idle
        ([(0.0, 9.0), (1.0, 4.0)], 2.0, 3.0),
        ([(0.0, 3.0), (1.0, 4.0)], 2.0, 1.0),
        ([(0.0, 3.0), (1.0, 4.0)], 3.0, 0.0),
        ([(0.0, 3.0), (1.0, 4.0)], 9.0, 0.0),  # longer than expected: at any moment
    ],
)
def test_a_lane_is_free_when_the_first_run_ends(
    launches: Sequence[tuple[float, float]], now: float, seconds: float
) -> None:
    """By the expected times; at once if a lane is idle."""
    lanes = lanes_of("ab")
    for started, expected in launches:
        launched(lanes, started, expected)
    assert lanes.free_in(now) == seconds


def test_a_run_that_hangs_frees_no_lane() -> None:
    """Its end is unknown."""
    lanes = lanes_of("ab")
    launched(lanes, 0.0)
    launched(lanes, RUN_TIMEOUT - 1.0, 2.0)
    lanes.give_up(RUN_TIMEOUT)
    assert lanes.free_in(RUN_TIMEOUT) == 1.0
    lanes.give_up(2 * RUN_TIMEOUT)
    assert lanes.free_in(2 * RUN_TIMEOUT) == inf
