"""Which rows are launched before a new one, and the expected wait."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import pytest

from batcher.admission import rows_before
from batcher.errors import OutOfMemory, Overloaded
from batcher.learning.latency import LatencyCurve
from batcher.priority import Priority
from batcher.queue import Queue
from batcher.share import Account, Share
from tests.fakes.executor import ManualBatcher, Rows

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


class Device(ManualBatcher):
    """A batcher with a queue of each name, and the expected wait in it."""

    def queue(
        self, name: str, latency: LatencyCurve, cap: int, share: Share | None = None
    ) -> Queue[str, Rows[str]]:
        """Make the queue *name*, whose runs take the time in *latency*."""
        queue = self.queues[name] = Queue(latency, cap, 10_000, name, share)
        return queue

    def wait(self, name: str, *, priority: Priority = Priority.NORMAL, ahead: int = 0) -> float:
        """Return the expected wait in the queue *name* in seconds, without the margin."""
        queue = self.queues[name]
        now = self.clock.seconds()
        wait = self.batcher.admission.expected_wait(now, queue, priority, ahead)
        return wait / queue.margin


def about(seconds: float) -> object:
    """Return a number that equals *seconds* within the precision of a fit."""
    return pytest.approx(seconds, rel=1e-3)


def constant(seconds: float, cap: int) -> LatencyCurve:
    """Return an l(b) of *seconds* for up to *cap* rows."""
    return LatencyCurve({1: seconds, cap: seconds})


@pytest.mark.parametrize(
    ("lanes", "running", "ahead", "seconds"),
    [
        (1, (), 0, 14.0),
        (1, (9.0,), 0, 5.0 + 14.0),
        (1, (14.0,), 0, 14.0),
        (1, (99.0,), 0, 14.0),  # longer than expected: at any moment
        (2, (9.0,), 0, 14.0),  # the other lane is idle
        (2, (9.0, 4.0), 0, 5.0 + 14.0),  # the first run that ends
        (2, (600.0, 4.0), 0, 10.0 + 14.0),  # not one that hangs
        (1, (600.0,), 0, inf),
        (1, (), 7, 98.0),  # in the same batch
        (1, (), 8, 98.0 + 14.0),
        (2, (), 8, 49.0 + 14.0),
    ],
)
def test_expected_wait(lanes: int, running: Sequence[float], ahead: int, seconds: float) -> None:
    """The time until a lane is idle, the batches before it, and its own."""
    device = Device(lanes=lanes, run_timeout=500.0)
    device.queue("net", CPU, 8)
    for ago, after in pairwise((*running, 0.0)):
        device.submit("running", key="net")
        device.clock.advance(ago - after)
    assert device.wait("net", ahead=ahead) == about(seconds)


def test_batches_are_expected_to_be_as_large_as_a_deadline_allows() -> None:
    """A run takes at most half of the time allowed: here four rows, 50 s."""
    device = Device()
    queue = device.queue("net", CPU, 8)
    with pytest.raises(Overloaded) as caught:
        device.admit(queue, deadline=100.0, ahead=8)
    assert caught.value.wait == about(queue.margin * (2 * 50.0 + 14.0))


def test_each_queue_is_costed_at_its_own_run_times() -> None:
    """Two full batches and one row of 10 s each, and their proportion of another priority."""
    device = Device()
    device.queue("quick", constant(1.0, 8), 8)
    device.queue("slow", constant(10.0, 2), 2)
    device.submit("running", key="quick")
    for _ in range(5):
        device.submit("waits", key="slow")
    assert device.wait("quick") == about(1.0 + 3 * 10.0 + 1.0)
    assert device.wait("quick", priority=Priority.LOW) == about(1.0 + 2 * 10.0 + 1.0)
    assert device.wait("slow") == about(1.0 + 2 * 10.0 + 10.0)
    for _ in range(8):
        device.submit("waits", key="quick")
    assert device.wait("slow") == about(1.0 + 1.0 + 2 * 10.0 + 10.0)


@pytest.mark.parametrize("weight", [1.0, 4.0, 0.25])
def test_a_flooded_share_counts_by_its_weight(weight: float) -> None:
    """It has turns as long as its charge is lower, however many of its rows wait."""
    device = Device()
    device.queue("mine", constant(1.0, 8), 8, Share("mine"))
    device.queue("flooded", constant(10.0, 2), 2, Share("flooded", Account(weight)))
    device.submit("running", key="mine")
    assert device.wait("mine", ahead=80) == about(1.0 + 10.0 + 1.0)
    for _ in range(1000):
        device.submit("waits", key="flooded")
    entitled = weight * (1.0 + 10 * 1.0)  # for the run under way and the ten batches before it
    assert device.wait("mine", ahead=80) == about(1.0 + 10.0 + entitled + 1.0)


def test_a_flooded_share_does_not_delay_a_lone_request() -> None:
    """Beyond the run under way: the other share has the next turn."""
    device = Device()
    mine = device.queue("mine", constant(1.0, 8), 8, Share("mine"))
    device.queue("flooded", constant(10.0, 2), 2, Share("flooded"))
    for _ in range(1000):
        device.submit("waits", key="flooded")
    assert device.wait("mine") == about(10.0 + 1.0)
    device.admit(mine, deadline=0.001)  # its own share is idle: it refuses nothing


def test_a_version_is_admitted_while_only_another_one_of_its_model_is_busy() -> None:
    """Else an estimate of the idle version that is too high could never be corrected."""
    device = Device()
    mine = device.queue("mine", constant(1.0, 8), 8, Share("mine"))
    assert mine.share is not None
    device.queue("busy", constant(10.0, 2), 2, Share("busy", mine.share.account))
    for _ in range(20):
        device.submit("waits", key="busy")
    device.admit(mine, deadline=0.001)


def test_another_share_counts_no_more_than_its_own_work() -> None:
    """Three rows in two batches."""
    device = Device()
    device.queue("mine", constant(1.0, 8), 8, Share("mine"))
    device.queue("other", constant(2.0, 2), 2, Share("other"))
    device.submit("running", key="mine")
    for _ in range(3):
        device.submit("waits", key="other")
    assert device.wait("mine", ahead=800) == about(1.0 + 100.0 + 2 * 2.0 + 1.0)


def test_rows_to_be_run_again_are_costed_at_the_run_times_of_their_queue() -> None:
    """They are launched first, whatever their share."""
    device = Device(lanes=2)
    device.queue("mine", constant(1.0, 8), 8, Share("mine"))
    slow = device.queue("slow", constant(10.0, 2), 2, Share("slow"))
    device.submit("running", key="mine")
    device.submit("split", 3, key="slow")
    device.lanes[1].current.fail(OutOfMemory(2))
    assert (slow.cap, device.batcher.stats().retrying, slow.rows) == (1, 1, 1)
    assert device.wait("mine") == about(1.0 + 10.0 / 2 + 1.0)
