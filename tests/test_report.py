"""What is told of why batches leave: batcher/report.py."""

import pytest

from batcher.lanes import Departure
from batcher.learning.arrivals import UNEXPECTED
from batcher.learning.latency import LatencyCurve
from batcher.pending import Pending, Ticket
from batcher.priority import Priority
from batcher.profile import Profile
from batcher.report import REMEMBERED, REPORTED, Logbook, queue_report
from batcher.stats import Flush, QueueReport
from batcher.trace import Run

StrPending = Pending[str, str]


def profile(name: str = "net") -> Profile:
    """Return a profile with a run time that is known."""
    return Profile(LatencyCurve({1: 2.0, 4: 4.0}), 4, 64, name)


def departure(started: float = 0.0, seconds: float | None = None) -> Departure:
    """Return a batch of three rows that left at *started*, and two that did not."""
    return Departure(Run(3, 4, "lot", seconds), started, 3.5, 2)


def waiting(*tickets: Ticket[str, str]) -> StrPending:
    """Return the queues in which *tickets* wait."""
    pending: StrPending = Pending()
    for ticket in tickets:
        pending.push(ticket)
    return pending


@pytest.mark.parametrize(
    ("now", "seconds", "flush"),
    [
        (5.0, None, Flush(1.0, 3, 4, 2, "lot", 3.5, None)),
        (9.0, 3.0, Flush(5.0, 3, 4, 2, "lot", 3.5, 3.0)),
        (3.0, None, Flush(0.0, 3, 4, 2, "lot", 3.5, None)),  # the clock was set back
    ],
)
def test_a_batch_is_told_with_its_reason_and_its_time(
    now: float, seconds: float | None, flush: Flush
) -> None:
    """How long it took once it has ended."""
    logbook = Logbook()
    logbook.left(profile(), departure(4.0, seconds))
    assert logbook.flushes(now) == (flush,)


def test_the_latest_batches_are_remembered() -> None:
    """The last one first, and no more than so many."""
    logbook = Logbook()
    net = profile()
    for started in range(REMEMBERED + 10):
        logbook.left(net, departure(float(started)))
    now = REMEMBERED + 10.0
    agos = [flush.ago for flush in logbook.flushes(now)]
    assert agos == [float(ago) for ago in range(1, REMEMBERED + 1)]


def test_the_profiles_used_last_are_told_of() -> None:
    """The latest first, each once, and no more than so many."""
    logbook = Logbook()
    profiles = [profile(str(number)) for number in range(REPORTED + 2)]
    for each in (*profiles, profiles[-3]):
        logbook.left(each, departure())
    names = [queue.name for queue in logbook.queues(waiting(), 0.0)]
    latest = [profiles[-3], profiles[-1], profiles[-2], *reversed(profiles[2:-3])]
    assert names == [each.name for each in latest]
    assert len(names) == REPORTED


def test_a_queue_is_told_by_priority_with_what_is_believed_of_its_runs() -> None:
    """Of its own profile alone."""
    net, other = profile(), profile("other")
    pending = waiting(
        Ticket(1, "a", 3, net, 4.0, priority=Priority.LOW),
        Ticket(2, "b", 2, net, 6.0, priority=Priority.HIGH),
        Ticket(3, "c", 5, other, 1.0),
        Ticket(4, "d", 1, net, 7.0, priority=Priority.HIGH),
    )
    logbook = Logbook()
    logbook.left(net, departure())
    (queue,) = logbook.queues(pending, 8.0)
    assert queue == QueueReport(
        name="net",
        rows={"high": 3, "normal": 0, "low": 3},
        waited=4.0,
        arrivals=UNEXPECTED.rate,
        latency=net.latency.fitted,
        knee=4,
        best=net.latency.sizes(4).rates[-1],
        cap=4,
        margin=net.latency.margin,
    )


def test_an_empty_queue_is_told_too() -> None:
    """Nobody waits, and nothing is known of runs that never were."""
    report = queue_report(Profile(LatencyCurve({}), 4, 64, "new"), waiting().of(profile()), 8.0)
    assert report.rows == {"high": 0, "normal": 0, "low": 0}
    assert (report.waited, report.arrivals, report.latency, report.best) == (0.0, 0.0, {}, 0.0)


def test_a_clock_that_is_set_back_makes_nobody_wait_less_than_nothing() -> None:
    """Who came at 9.0 is told of at 8.0."""
    net = profile()
    pending = waiting(Ticket(1, "a", 1, net, 9.0))
    assert queue_report(net, pending.of(net), 8.0).waited == 0.0


def test_arrivals_are_told_as_they_are_expected() -> None:
    """Rows a second, once there has been time to see them."""
    net = profile()
    for second in range(1000):
        net.arrivals.came(2, float(second))
        net.expected(float(second))
    report = queue_report(net, waiting().of(net), 1000.0)
    assert report.arrivals == pytest.approx(2.0, rel=0.01)
