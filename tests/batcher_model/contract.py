"""
The contract of the batcher, checked from outside between two steps.

Each function raises AssertionError if it is broken.
"""

from math import inf

from batcher.errors import BatcherError, Overloaded, RunHung, ShuttingDown
from batcher.priority import Priority
from batcher.stats import State
from tests.batcher_model.checked_batcher import CheckedBatcher
from tests.batcher_model.requests import ModelRequest, oldest_of
from tests.batcher_model.settings import FIXED, KEYS, LIMIT

ROUNDING = 1e-6  #: seconds


def check(checked: CheckedBatcher, *, punctual: bool) -> None:
    """Check all; *punctual*: every timer that is due has fired."""
    if checked.wrong:
        raise checked.wrong[0]
    check_answers(checked, punctual=punctual)
    check_closed_shares(checked)
    check_numbers(checked)
    check_lanes(checked)
    check_timer(checked, punctual=punctual)


def check_answers(checked: CheckedBatcher, *, punctual: bool) -> None:
    """Each request that must have an outcome has it, and a drain fires after the last."""
    in_flight = checked.in_flight
    lost = {piece.item for it in in_flight if it.given_up for piece in it.run.given}
    stuck = len(in_flight) == len(checked.lanes) and all(it.given_up for it in in_flight)
    assert not (checked.open and (checked.aborted or stuck)), "requests wait in vain"
    for request in checked.open.values():
        assert request.expected_end is None, "an answer is late"
        assert request.number not in lost, "the run hangs"
        if punctual and (request.waiting or request.retrying):
            assert request.deadline > checked.clock.seconds(), "waits past its deadline"
    if not checked.aborted and (checked.open or any(not it.overdue for it in in_flight)):
        assert checked.drained == [], "drained too early"
    elif checked.aborted or all(it.given_up for it in in_flight):
        assert len(checked.drained) == checked.drains, "a drain does not fire"


def check_closed_shares(checked: CheckedBatcher) -> None:
    """The Deferred of a closed share fires after its last request and its last run."""
    for keys, fired in checked.closes.items():
        runs = [it for it in checked.in_flight if checked.key_of(it) in keys]
        waits = any(request.asked.key in keys for request in checked.open.values())
        if not checked.aborted and (waits or any(not it.overdue for it in runs)):
            assert fired == [], "a share has ended too early"
        elif checked.aborted or all(it.given_up for it in runs):
            assert fired == [None], "the end of a share does not fire"


def check_numbers(checked: CheckedBatcher) -> None:
    """The reported numbers are right, and limits are kept."""
    stats = checked.batcher.stats()
    requests = checked.open.values()
    in_flight = checked.in_flight
    assert stats.waiting == sum(request.waiting for request in requests)
    assert stats.retrying == sum(request.retrying for request in requests)
    assert (stats.lanes, stats.running) == (len(checked.lanes), len(in_flight))
    if not checked.aborted:
        hung = sum(it.given_up for it in in_flight)
        assert hung <= stats.hung <= sum(it.overdue for it in in_flight)
        assert len(checked.batcher.hung) == stats.hung
    over = checked.aborted or (checked.drains > 0 and len(checked.drained) == checked.drains)
    open_state = State.DRAINING if checked.closed else State.RUNNING
    assert stats.state is (State.STOPPED if over else open_state)
    for key, queue in checked.queues.items():
        assert queue.cap == checked.caps[key]
        assert sum(request.waiting for request in requests if request.asked.key == key) <= LIMIT
    totals = checked.recorder.totals
    assert (totals.runs, totals.run_rows) == (
        len(checked.launched_runs),
        sum(it.run.rows for it in checked.launched_runs),
    )
    for name in ("answered", "failed", "expired", "cancelled", "refused"):
        assert getattr(totals, name) == checked.totals[name], name


def check_lanes(checked: CheckedBatcher) -> None:
    """No lane is idle while there is work for it, unless the policy may wait."""
    if len(checked.in_flight) == len(checked.lanes):
        return
    now = checked.clock.seconds()
    for key in KEYS:
        requests = [request for request in checked.open.values() if request.asked.key == key]
        assert not any(request.retrying for request in requests), "a lane is idle"
        if any(request.waiting for request in requests):
            until = _held_until(checked, key, requests)
            (call,) = checked.clock.getDelayedCalls()
            assert call.getTime() <= until + ROUNDING, "waits longer than it may"
            assert until > now or call.getTime() <= now, "a lane is idle"


def _held_until(checked: CheckedBatcher, key: str, requests: list[ModelRequest]) -> float:
    """Return the latest end of a wait of the queue *key* beside an idle lane."""
    assert not checked.is_closed(key), "a drain waits for further requests"
    if checked.setup.fixed:
        rows = sum(request.waiting for request in requests)
        assert rows < min(FIXED.max_batch_size, checked.caps[key]), "a full batch waits"
        return oldest_of(requests) + FIXED.max_queue_delay
    assert checked.missing[key], "waits for nothing"
    return checked.since[key] + checked.queues[key].latency.predict(checked.caps[key])


def check_timer(checked: CheckedBatcher, *, punctual: bool) -> None:
    """There is at most one timer, and it fires when something is due."""
    times = [call.getTime() for call in checked.clock.getDelayedCalls()]
    assert len(times) <= 1
    due = [
        request.deadline for request in checked.open.values() if request.waiting or request.retrying
    ]
    if not checked.aborted:
        due += [it.hangs_at for it in checked.in_flight if not it.overdue]
    if min(due, default=inf) < inf:
        assert times, "no timer"
        assert times[0] <= min(due) + ROUNDING, "the timer is late"
    assert not punctual or times == [] or times[0] > checked.clock.seconds()


def check_admission(
    checked: CheckedBatcher, key: str, timeout: float, priority: Priority, ahead: int
) -> None:
    """An idle share refuses nothing, a busy one what would be late; to ask changes nothing."""
    before = checked.batcher.stats()
    queue, in_flight = checked.queues[key], checked.in_flight
    now = checked.clock.seconds()
    try:
        refusal: BatcherError | None = None
        checked.batcher.admission.admit(now, queue, now + timeout, priority, ahead)
    except BatcherError as error:
        refusal = error
    assert checked.batcher.stats() == before
    stuck = len(in_flight) == len(checked.lanes)
    must_admit = timeout == inf or not (ahead or checked.is_busy(key))
    least = queue.margin * queue.latency.predict(1)
    if checked.is_closed(key):
        assert isinstance(refusal, ShuttingDown)
    elif isinstance(refusal, RunHung):
        assert stuck
        assert all(it.overdue for it in in_flight)
    elif stuck and all(it.given_up for it in in_flight):
        raise AssertionError("admitted to a lane that hangs")
    elif isinstance(refusal, Overloaded):
        assert not must_admit, "refused for nothing"
        assert refusal.allowed == timeout
        assert refusal.wait > timeout
        assert refusal.wait >= least
    else:
        assert refusal is None
        assert must_admit or timeout >= least, "admitted in vain"


def check_report(checked: CheckedBatcher) -> None:
    """The report has the last runs and the waiting rows."""
    report = checked.recorder.report(checked.batcher.stats())
    for queue in report.queues:
        waiting = dict.fromkeys(Priority, 0)
        for request in checked.open.values():
            if request.asked.key == queue.name:
                waiting[request.asked.priority] += request.waiting
        assert queue.rows == {level.name.lower(): rows for level, rows in waiting.items()}
        assert queue.cap == checked.caps[queue.name]
    latest = checked.launched_runs[: -len(report.runs) - 1 : -1]
    assert len(report.runs) == min(64, len(checked.launched_runs))
    for run, it in zip(report.runs, latest, strict=True):
        assert run.rows == it.run.rows <= run.cap
        assert (run.seconds is None) == (not it.run.ended)


def check_over(checked: CheckedBatcher) -> None:
    """All requests have ended once, nothing is left, and traces have every run."""
    check(checked, punctual=True)
    assert checked.open == {}
    assert checked.in_flight == []
    assert checked.clock.getDelayedCalls() == []
    assert checked.batcher.stats().state is State.STOPPED
    assert len(checked.drained) == checked.drains
    for request in checked.requests:
        assert len(request.outcomes) == 1
        assert len(request.trace.runs) == request.runs
        assert (request.trace.queued is None) == request.refused
        assert (request.trace.queued or 0.0) >= 0.0
        for run in request.trace.runs:
            assert run.rows <= run.cap
            assert run.seconds is not None
