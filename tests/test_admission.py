"""Default timeouts, and whether decoding leaves enough time: server/admission.py."""

from math import inf

import pytest

from batcher.errors import Overloaded
from batcher.learning.latency import LatencyCurve
from batcher.queue import Queue
from model.execution.queues import FeedQueue
from server.admission import Decoding, DefaultTimeout, patience


def queue(cap: int, measured: dict[int, float]) -> FeedQueue:
    """Return a queue whose runs took the *measured* seconds, by their rows."""
    return Queue(LatencyCurve(measured), cap, 64)


QUICK = queue(8, {1: 0.001, 8: 0.002})
SLOW = queue(4, {1: 0.5, 4: 1.0})
UNKNOWN = queue(32, {})


@pytest.mark.parametrize(
    ("of", "rows", "seconds"),
    [
        (QUICK, 1, 0.5),  # the least
        (SLOW, 1, 5.0),  # five full batches, its own among them
        (SLOW, 4, 5.0),
        (SLOW, 5, 6.0),  # two of its own
        (SLOW, 40, 14.0),
        (QUICK, 8000, 2.008),
        (UNKNOWN, 1, inf),
    ],
)
def test_a_request_may_take_as_long_as_its_own_runs_and_four_more(
    of: FeedQueue, rows: int, seconds: float
) -> None:
    """If nothing is measured, the time is unlimited."""
    assert patience(of, rows) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("default", "seconds"),
    [
        (DefaultTimeout(None, [QUICK]), 0.5),
        (DefaultTimeout(None, [QUICK, SLOW]), 5.0),
        (DefaultTimeout(None, [QUICK, UNKNOWN]), 0.5),
        (DefaultTimeout(None, [UNKNOWN]), inf),
        (DefaultTimeout(None, [QUICK], 2.0), 2.5),  # plus the queue delay
        (DefaultTimeout(0.25, [SLOW], 2.0), 0.25),
        (DefaultTimeout(inf, [QUICK]), inf),
    ],
)
def test_the_default_is_the_option_or_what_the_slowest_runs_need(
    default: DefaultTimeout, seconds: float
) -> None:
    """Of the measured queues."""
    assert default.seconds == seconds


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_learned_default_follows_the_times_of_runs(factor: float) -> None:
    """A machine that was busy or idle at the start does not fix the timeout."""
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
    """For many rows, or a shape that was not measured; a given timeout holds for all."""
    assert default.of(of, rows) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("default", "words"),
    [
        (DefaultTimeout(0.5), "0.5 s for an answer"),
        (DefaultTimeout(1 / 3), "0.333 s for an answer"),
        (DefaultTimeout(inf), "any time for an answer"),
    ],
)
def test_a_default_has_a_text(default: DefaultTimeout, words: str) -> None:
    """For the log at the start."""
    assert str(default) == words


# --- decoding


def test_the_time_of_decoding_is_a_moving_average() -> None:
    """The first request counts in full, the others by a tenth."""
    decoding = Decoding(threads=2)
    assert decoding.average == 0.0
    averages = []
    for seconds in (2.0, 2.0, 7.0, 0.0):
        decoding.observe(seconds)
        averages.append(decoding.average)
    assert averages == pytest.approx([2.0, 2.0, 2.5, 2.25])


@pytest.mark.parametrize(
    ("threads", "pending", "allowed", "wait"),
    [
        (1, 0, 0.0, None),  # a thread is free: the batcher decides
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
    """Decoding takes 2 s of a thread here, and a run of one row 0.5 s."""
    decoding = Decoding(threads)
    decoding.observe(2.0)
    if wait is None:
        decoding.admit(pending, SLOW, allowed)
        return
    with pytest.raises(Overloaded) as caught:
        decoding.admit(pending, SLOW, allowed)
    assert (caught.value.wait, caught.value.allowed) == (wait, allowed)


def test_no_request_waits_for_threads_until_decoding_is_measured() -> None:
    """Only the expected time of the run counts."""
    Decoding(1).admit(1000, SLOW, 0.5)
    with pytest.raises(Overloaded):
        Decoding(1).admit(1000, SLOW, 0.25)
