"""Whether a request has time to wait for a decode thread: server/decode_admission.py."""

from math import inf

import pytest

from batcher.errors import Overloaded
from batcher.learning.latency import LatencyCurve
from batcher.queue import Queue
from model.execution.queues import FeedQueue
from server.decode_admission import DecodeAdmission

#: A run of one row takes half a second.
SLOW: FeedQueue = Queue(LatencyCurve({1: 0.5, 4: 1.0}), 4, 64)


def test_the_time_of_decoding_is_a_moving_average() -> None:
    """The first counts in full, the others by a tenth."""
    decoding = DecodeAdmission(threads=2)
    assert decoding.average == 0.0
    averages = []
    for seconds in (2.0, 2.0, 7.0, 0.0):
        decoding.observe(seconds)
        averages.append(decoding.average)
    assert averages == pytest.approx([2.0, 2.0, 2.5, 2.25])


@pytest.mark.parametrize(
    ("threads", "pending", "allowed", "wait"),
    [
        (1, 0, 0.0, None),  # a thread is free: only the batcher judges
        (2, 1, 0.0, None),
        (1, 1, 2.5, None),
        (1, 1, 2.25, 2.5),
        (2, 2, 1.5, None),
        (2, 2, 1.25, 1.5),
        (2, 9, 8.0, 8.5),
        (2, 1000, inf, None),
    ],
)
def test_a_request_that_would_wait_too_long_for_a_thread_is_refused(
    threads: int, pending: int, allowed: float, wait: float | None
) -> None:
    """An image takes two seconds of a thread here, and a run of one row half a second."""
    decoding = DecodeAdmission(threads)
    decoding.observe(2.0)
    if wait is None:
        decoding.admit(pending, SLOW, allowed)
        return
    with pytest.raises(Overloaded) as caught:
        decoding.admit(pending, SLOW, allowed)
    assert (caught.value.wait, caught.value.allowed) == (wait, allowed)


def test_the_margin_falls_with_the_requests_that_are_decoded() -> None:
    """After a miss has raised it."""
    decoding = DecodeAdmission(1)
    decoding.observe(2.0)
    waits = [decoding.expected_wait(1, SLOW)]
    decoding.observe_missed(10.0)
    for times in (0, 100, 900):
        for _ in range(times):
            decoding.observe(2.0)
        waits.append(decoding.expected_wait(1, SLOW))
    assert waits == pytest.approx([2.5, 3.0, 3.0 * 1.2**-0.5, 2.5])


def test_before_the_first_measurement_decoding_refuses_nothing() -> None:
    """Only the run itself counts."""
    DecodeAdmission(1).admit(1000, SLOW, 0.5)
    with pytest.raises(Overloaded):
        DecodeAdmission(1).admit(1000, SLOW, 0.25)
