"""
What must hold of a batcher between two steps, seen from outside.

Each function raises AssertionError where it does not.
"""

from math import inf

from batcher.admission import MIN_IDLE_RUNS
from batcher.errors import BatcherError, Overloaded, RunHung, ShuttingDown
from batcher.priority import Priority
from batcher.stats import State
from tests.batcher_model.checked_batcher import Ferry
from tests.batcher_model.requests import Rider
from tests.batcher_model.settings import FIXED, KEYS, LIMIT

ROUNDING = 1e-6  #: seconds


def check(ferry: Ferry, *, punctual: bool) -> None:
    """Check all; *punctual* where every timer that is due has rung."""
    if ferry.wrong:
        raise ferry.wrong[0]
    check_answers(ferry, punctual=punctual)
    check_numbers(ferry)
    check_lanes(ferry)
    check_timer(ferry, punctual=punctual)


def check_answers(ferry: Ferry, *, punctual: bool) -> None:
    """Whoever is due an answer has it, and a drain fires after the last."""
    flying = ferry.flying
    lost = {piece.item for flown in flying if flown.given_up for piece in flown.run.given}
    stuck = len(flying) == len(ferry.lanes) and all(flown.given_up for flown in flying)
    assert not (ferry.open and (ferry.aborted or stuck)), "nobody tells those who wait in vain"
    for rider in ferry.open.values():
        assert rider.due is None, "answers are not given at once"
        assert rider.number not in lost, "nobody tells those whose run hangs"
        if punctual and (rider.waiting or rider.again):
            assert rider.deadline > ferry.clock.seconds(), "waits past its deadline"
    if not ferry.aborted and (ferry.open or any(not flown.overdue for flown in flying)):
        assert ferry.drained == [], "drained too early"
    elif ferry.aborted or all(flown.given_up for flown in flying):
        assert len(ferry.drained) == ferry.drains, "drained, and nobody is told"


def check_numbers(ferry: Ferry) -> None:
    """What is told of the batcher is so, and limits are kept."""
    stats = ferry.batcher.stats()
    riders = ferry.open.values()
    flying = ferry.flying
    assert stats.waiting == sum(rider.waiting for rider in riders)
    assert stats.retrying == sum(rider.again for rider in riders)
    assert (stats.lanes, stats.running) == (len(ferry.lanes), len(flying))
    if not ferry.aborted:
        hung = sum(flown.given_up for flown in flying)
        assert hung <= stats.hung <= sum(flown.overdue for flown in flying)
        assert ferry.batcher.hung == (stats.hung > 0)
    over = ferry.aborted or (ferry.drains > 0 and len(ferry.drained) == ferry.drains)
    open_state = State.DRAINING if ferry.closed else State.RUNNING
    assert stats.state is (State.STOPPED if over else open_state)
    for key, queue in ferry.queues.items():
        assert queue.cap == ferry.caps[key]
        assert sum(rider.waiting for rider in riders if rider.asked.key == key) <= LIMIT
    totals = stats.totals
    assert (totals.runs, totals.run_rows) == (
        len(ferry.flown),
        sum(flown.run.rows for flown in ferry.flown),
    )
    for name in ("answered", "failed", "expired", "cancelled", "refused"):
        assert getattr(totals, name) == ferry.totals[name], name


def check_lanes(ferry: Ferry) -> None:
    """No lane is idle while there is work for it, but for a wait that the policy may decide."""
    if len(ferry.flying) == len(ferry.lanes):
        return
    now = ferry.clock.seconds()
    for key in KEYS:
        riders = [rider for rider in ferry.open.values() if rider.asked.key == key]
        assert not any(rider.again for rider in riders), "a lane is idle"
        if any(rider.waiting for rider in riders):
            until = _held_until(ferry, key, riders)
            (call,) = ferry.clock.getDelayedCalls()
            assert call.getTime() <= until + ROUNDING, "waits longer than it may"
            assert until > now or call.getTime() <= now, "a lane is idle"


def _held_until(ferry: Ferry, key: str, riders: list[Rider]) -> float:
    """Return how long those of *key* may at most wait for company beside an idle lane."""
    assert not ferry.closed, "a drain waits for company"
    if ferry.world.fixed:
        rows = sum(rider.waiting for rider in riders)
        assert rows < min(FIXED.max_batch_size, ferry.caps[key]), "a full batch waits"
        return ferry.oldest(riders) + FIXED.max_queue_delay
    assert ferry.missing[key], "waits for nobody"
    return ferry.since[key] + ferry.queues[key].latency.predict(ferry.caps[key])


def check_timer(ferry: Ferry, *, punctual: bool) -> None:
    """There is one timer at most, and it rings when something is due."""
    times = [call.getTime() for call in ferry.clock.getDelayedCalls()]
    assert len(times) <= 1
    due = [rider.deadline for rider in ferry.open.values() if rider.waiting or rider.again]
    if not ferry.aborted:
        due += [flown.hangs_at for flown in ferry.flying if not flown.overdue]
    if min(due, default=inf) < inf:
        assert times, "no timer"
        assert times[0] <= min(due) + ROUNDING, "the timer is late"
    assert not punctual or times == [] or times[0] > ferry.clock.seconds()


def check_admission(ferry: Ferry, key: str, timeout: float, priority: Priority, ahead: int) -> None:
    """Whether one who comes now would be in time is foretold, and nothing changes by that."""
    before = ferry.batcher.stats()
    queue, flying = ferry.queues[key], ferry.flying
    now = ferry.clock.seconds()
    try:
        refusal: BatcherError | None = None
        ferry.batcher.admit(queue, deadline=now + timeout, priority=priority, ahead=ahead)
    except BatcherError as error:
        refusal = error
    assert ferry.batcher.stats() == before
    stuck = len(flying) == len(ferry.lanes)
    quiet = not (ahead or ferry.open or flying)
    doubtful = quiet and now - ferry.landed >= MIN_IDLE_RUNS * queue.latency.predict(1)
    least = queue.margin * queue.latency.predict(1)
    if ferry.closed:
        assert isinstance(refusal, ShuttingDown)
    elif isinstance(refusal, RunHung):
        assert stuck
        assert all(flown.overdue for flown in flying)
    elif stuck and all(flown.given_up for flown in flying):
        raise AssertionError("admitted to a lane that hangs")
    elif isinstance(refusal, Overloaded):
        assert refusal.allowed == timeout
        assert refusal.wait > timeout
        assert refusal.wait >= least
        assert not quiet or refusal.wait == least, "waits for nobody"
        assert not doubtful or now < ferry.probe, "nobody would ever show that it is otherwise"
    else:
        assert refusal is None
        assert doubtful or timeout >= least, "admitted in vain"
        if timeout < least:
            ferry.probe = now + timeout


def check_report(ferry: Ferry) -> None:
    """The report tells of the last runs and of who waits."""
    report = ferry.batcher.report()
    for queue in report.queues:
        waiting = dict.fromkeys(Priority, 0)
        for rider in ferry.open.values():
            if rider.asked.key == queue.name:
                waiting[rider.asked.priority] += rider.waiting
        assert queue.rows == {level.name.lower(): rows for level, rows in waiting.items()}
        assert queue.cap == ferry.caps[queue.name]
    latest = ferry.flown[: -len(report.runs) - 1 : -1]
    assert len(report.runs) == min(64, len(ferry.flown))
    for run, flown in zip(report.runs, latest, strict=True):
        assert run.rows == flown.run.rows <= run.cap
        assert (run.seconds is None) == (not flown.run.ended)


def check_over(ferry: Ferry) -> None:
    """All is over: everyone has heard once, nothing is left, and traces tell of every ride."""
    check(ferry, punctual=True)
    assert ferry.open == {}
    assert ferry.flying == []
    assert ferry.clock.getDelayedCalls() == []
    assert ferry.batcher.stats().state is State.STOPPED
    assert len(ferry.drained) == ferry.drains
    for rider in ferry.riders:
        assert len(rider.outcomes) == 1
        assert len(rider.trace.runs) == rider.rides
        assert (rider.trace.queued is None) == rider.turned_away
        assert (rider.trace.queued or 0.0) >= 0.0
        for run in rider.trace.runs:
            assert run.rows <= run.cap
            assert run.seconds is not None
