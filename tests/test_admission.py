"""Admission of requests to a model, and the wait that it expects: server/admission.py."""

from collections.abc import Callable

import numpy as np
import pytest
from twisted.internet.task import Clock

from batcher.errors import DeadlineExceeded, Overloaded, ShuttingDown
from model.execution.decode_pool import DecodePool
from model.signature import Feed
from server.call import RequestOptions
from server.inference import Inference
from tests.fakes.server import SIGNATURE, SIZE, ManualLane, classify, served_model
from tests.fakes.threads import Calls, ManualThreads, outcomes
from tests.images import coloured, encoded

pytestmark = pytest.mark.usefixtures("log")

IMAGE = encoded(coloured(8, 8), "PNG")


class Busy:
    """A model with a run under way and rows that wait, on a clock that stands at 64 s."""

    def __init__(self, decoding: Callable[[], float] | None = None) -> None:
        """*decoding* is the clock of the decode thread: each job takes 2 seconds without it."""
        self.clock = Clock()
        self.clock.advance(64)
        self.threads, self.calls = ManualThreads(), Calls()
        ticks = iter(range(0, 1000, 2))
        clock = decoding or (lambda: float(next(ticks)))
        pool = DecodePool(self.calls, 1, pool=self.threads, clock=clock)
        pool.start()
        self.model = served_model(self.clock, ManualLane())
        self.inference = Inference(self.model, pool, clock=self.clock)
        self.admission = self.inference.admission

    def queue_rows(self, count: int) -> None:
        """Submit *count* requests of one row."""
        for _ in range(count):
            feed = Feed(SIGNATURE, (np.zeros((1, SIZE, SIZE, 3), np.uint8),))
            outcomes(self.inference.submit(feed))

    def decode_slowly(self, waiting: int) -> None:
        """Decode an image in two seconds, and let *waiting* images wait for the thread."""
        outcomes(classify(self.inference, IMAGE, 1))
        self.threads.step()
        self.calls.drain()
        for _ in range(waiting):
            outcomes(classify(self.inference, IMAGE, 1))


@pytest.mark.parametrize(("rows", "images"), [(5, 0), (0, 6), (5, 6)])
def test_the_expected_wait_is_what_admission_compares(rows: int, images: int) -> None:
    """A request with a little more time is admitted, one with a little less refused."""
    busy = Busy()
    busy.queue_rows(rows)
    if images:
        busy.decode_slowly(images)
    wait = busy.admission.expected_wait()
    assert wait > 0.0
    assert busy.admission.expected_wait() == wait
    busy.admission.admit(RequestOptions(since=64.0, timeout=wait * 1.001))
    with pytest.raises(Overloaded):
        busy.admission.admit(RequestOptions(since=64.0, timeout=wait * 0.999))


@pytest.mark.parametrize(
    ("rows", "images", "seconds"),
    [
        (0, 0, 0.1),
        (1, 0, 2 * 1.1 - 1.0),  # the run under way
        (5, 0, 6 * 1.1 - 1.0),  # and those that wait, each alone, since no other size is measured
        (5, 1, 7 * 1.1 - 1.0),  # the image before it is a row, too
        (0, 3, 3 * 2.0),  # for the decode thread, whose margin is 1
    ],
)
def test_the_expected_delay_is_that_of_admission_without_the_run(
    rows: int, images: int, seconds: float
) -> None:
    """With the margin of the queue, here 1.1; reading changes nothing."""
    busy = Busy(lambda: 0.0)
    busy.admission.decoding.observe(2.0)
    busy.queue_rows(rows)
    for _ in range(images):
        outcomes(classify(busy.inference, IMAGE, 1))
    assert busy.admission.expected_delay() == pytest.approx(seconds)
    assert busy.admission.expected_delay() == pytest.approx(seconds)


def test_the_expected_delay_is_at_least_that_of_the_oldest_image() -> None:
    """Nothing was decoded yet, so that the estimate is zero."""
    times = [0.0]
    busy = Busy(lambda: times[-1])
    for _ in range(2):
        outcomes(classify(busy.inference, IMAGE, 1))
    times.append(8.0)
    assert busy.admission.expected_delay() == 8.0


def test_an_idle_model_admits_a_request_that_is_expected_to_be_late() -> None:
    """No wrong estimate can refuse everything for good."""
    idle = Busy()
    idle.admission.admit(RequestOptions(since=64.0, timeout=0.001 * idle.admission.expected_wait()))


def test_each_request_that_ends_before_it_is_submitted_is_recorded_once() -> None:
    """With its cause or its stage, whether its head or a decode thread ends it."""
    busy = Busy()
    busy.queue_rows(5)
    with pytest.raises(Overloaded):
        busy.admission.admit(RequestOptions(since=64.0, timeout=0.001))
    with pytest.raises(DeadlineExceeded):
        busy.admission.admit(RequestOptions(since=60.0, timeout=1.0))
    cancelled = classify(busy.inference, IMAGE, 1)
    outcomes(cancelled)
    cancelled.cancel()
    outcomes(classify(busy.inference, IMAGE, 1, RequestOptions(since=64.0, timeout=1.0)))
    busy.clock.advance(2)
    while busy.threads.queue:
        busy.threads.step()
    busy.calls.drain()
    busy.model.batcher.drain()
    with pytest.raises(ShuttingDown):
        busy.admission.admit(RequestOptions(since=66.0, timeout=1.0))
    totals = busy.model.recorder.totals
    assert totals.refused_by_cause == {"late": 1, "closed": 1}
    assert totals.expired_by_stage == {"decode": 2}
    assert totals.cancelled_by_stage == {"decode": 1}


def test_each_further_request_makes_the_expected_wait_longer_by_the_added_wait() -> None:
    """While rows wait: a run of the largest batch, shared by its rows; or the decode thread."""
    busy = Busy()
    busy.model.default_queue.latency.observe(4, 2.0)
    busy.queue_rows(5)
    before, added = busy.admission.expected_wait(), busy.admission.added_wait()
    busy.queue_rows(4)
    assert busy.admission.expected_wait() - before == pytest.approx(4 * added, rel=0.05)
    busy = Busy()
    busy.decode_slowly(3)
    before, added = busy.admission.expected_wait(), busy.admission.added_wait()
    outcomes(classify(busy.inference, IMAGE, 1))
    assert busy.admission.expected_wait() - before == pytest.approx(added)
