"""The calls of an observer: batcher/observer.py, and the totals in model/execution/recorder.py."""

from typing import Any

import pytest

from batcher.errors import OutOfMemory, Overloaded, RefusalCause, RunFailed, RunHung, ShuttingDown
from batcher.learning.latency import LatencyCurve
from batcher.observer import CancelStage, ExpiryStage
from batcher.policy import LotPolicy
from batcher.queue import Queue
from batcher.share import Account, Share
from batcher.trace import Run
from tests.fakes.executor import ManualBatcher


class Events:
    """An observer that keeps all calls, in order."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, int, type[BaseException] | None]] = []
        self.rows: list[tuple[str, int, object]] = []

    def launched(self, queue: Queue[Any, Any], run: Run) -> None:
        """Keep the rows; the run has not ended."""
        assert run.seconds is None
        self.runs.append(("launched", run.rows, None))

    def ended(self, queue: Queue[Any, Any], run: Run, error: BaseException | None) -> None:
        """Keep the rows and the error; the run has its seconds."""
        assert run.seconds is not None
        self.runs.append(("ended", run.rows, None if error is None else type(error)))

    def answered(self, queue: Queue[Any, Any], rows: int) -> None:
        """Keep it."""
        self.rows.append(("answered", rows, None))

    def failed(self, queue: Queue[Any, Any], rows: int, error: BaseException) -> None:
        """Keep it with the class of the error."""
        self.rows.append(("failed", rows, type(error)))

    def refused(self, queue: Queue[Any, Any], rows: int, cause: RefusalCause) -> None:
        """Keep it with the cause."""
        self.rows.append(("refused", rows, cause))

    def expired(self, queue: Queue[Any, Any], rows: int, stage: ExpiryStage) -> None:
        """Keep it with the stage."""
        self.rows.append(("expired", rows, stage))

    def cancelled(self, queue: Queue[Any, Any], rows: int, stage: CancelStage) -> None:
        """Keep it with the stage."""
        self.rows.append(("cancelled", rows, stage))


@pytest.fixture
def events() -> Events:
    """Return an observer that has not been called."""
    return Events()


def test_each_row_ends_in_one_event(events: Events) -> None:
    """With its cause or its stage; a request that is split or run again ends once, too."""
    manual = ManualBatcher(cap=4, limit=16, observer=events)
    manual.submit("running", 2)
    manual.submit("answered", 6)
    manual.submit("late", 3, deadline=2.0)
    manual.submit("waits", 5).cancel()
    manual.submit("too many", 17)
    manual.submit("past", deadline=0.0)
    manual.lane.current.finish()
    manual.clock.advance(2.0)
    manual.lane.current.finish()
    running = manual.submit("cancelled in a run", 7)
    manual.lane.current.finish()
    running.cancel()
    manual.lane.current.finish()
    manual.submit("bad")
    manual.lane.current.fail(ValueError("bad"))
    manual.submit("answered too late", deadline=4.0)
    manual.clock.rightNow = 8.0
    manual.lane.current.finish()
    manual.submit("aborted", 4)
    manual.batcher.abort()
    manual.submit("closed")
    assert events.rows == [
        ("cancelled", 5, "queue"),
        ("refused", 17, "full"),
        ("expired", 1, "submit"),
        ("answered", 2, None),
        ("expired", 3, "queue"),
        ("answered", 6, None),
        ("cancelled", 7, "run"),
        ("failed", 1, RunFailed),
        ("expired", 1, "answer"),
        ("failed", 4, ShuttingDown),
        ("refused", 1, "closed"),
    ]


def test_each_run_is_launched_and_ends(events: Events) -> None:
    """Retries, too; with the error of the run, or that of its results."""
    manual = ManualBatcher(cap=4, observer=events)
    manual.submit("a")
    manual.submit("b", 4)
    manual.lane.current.finish([])
    manual.lane.current.fail(OutOfMemory(4))
    manual.lane.current.finish()
    manual.lane.current.fail(ValueError("bad"))
    launched = [("launched", rows, None) for rows in (1, 4, 2, 2)]
    ended = [
        (rows, error and error.__name__) for kind, rows, error in events.runs if kind == "ended"
    ]
    assert [each for each in events.runs if each[0] == "launched"] == launched
    assert ended == [
        (1, "ResultCountMismatch"),
        (4, "OutOfMemory"),
        (2, None),
        (2, "ValueError"),
    ]


def test_a_run_that_is_given_up_ends_when_its_lane_is_idle_again(events: Events) -> None:
    """Its requests have failed before, and further ones are refused meanwhile."""
    manual = ManualBatcher(observer=events, run_timeout=8.0)
    manual.submit("hangs", 2)
    manual.clock.advance(8.0)
    manual.submit("refused")
    assert events.rows == [("failed", 2, RunHung), ("refused", 1, "hung")]
    assert events.runs == [("launched", 2, None)]
    manual.lane.current.finish()
    assert events.runs == [("launched", 2, None), ("ended", 2, None)]


def test_a_request_that_is_refused_before_it_is_submitted_is_left_to_the_caller(
    events: Events,
) -> None:
    """Its rows are not known yet."""
    manual = ManualBatcher(cap=1, policy=LotPolicy(), observer=events)
    manual.latency.observe(1, 4.0)
    manual.submit("running")
    with pytest.raises(Overloaded, match="too busy"):
        manual.admit(manual.queues[""], deadline=1.0)
    assert events.rows == []


def test_totals_are_kept_by_cause_and_stage() -> None:
    """And as sums."""
    manual = ManualBatcher(limit=4)
    queue = manual.queues[""]
    manual.recorder.refused(queue, 1, "late")
    manual.recorder.refused(queue, 2, "decode")
    manual.recorder.expired(queue, 3, "decode")
    manual.submit("running")
    manual.submit("refused", 5)
    manual.submit("cancelled", 4).cancel()
    totals = manual.report.totals
    assert (totals.refused, totals.expired, totals.cancelled) == (8, 3, 4)
    assert (totals.refused_by_cause) == {"late": 1, "decode": 2, "full": 5}
    assert (totals.expired_by_stage) == {"decode": 3}
    assert (totals.cancelled_by_stage) == {"queue": 4}


def test_a_background_share_is_not_reported() -> None:
    """Neither its runs nor its rows nor its queues."""
    manual = ManualBatcher()
    share = Share("warm-up", Account(0.25), background=True)
    warm_up = manual.queues["warm-up"] = Queue(LatencyCurve({}), 8, 8, "warm-up", share)
    manual.submit("answered", 8, key="warm-up")
    manual.submit("refused", 9, key="warm-up")
    manual.submit("cancelled", 4, key="warm-up").cancel()
    manual.lane.current.finish()
    manual.submit("failed", key="warm-up")
    manual.lane.current.fail(ValueError("bad"))
    manual.recorder.expired(warm_up, 1, "queue")
    empty = ManualBatcher().report
    assert (manual.report.totals, manual.report.runs) == (empty.totals, ())
    assert manual.report.queues == ()
