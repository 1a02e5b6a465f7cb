"""A run that fails affects only the requests that caused it."""

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.defer import Deferred

from batcher.errors import OutOfMemory, ResultCountMismatch, RunFailed, ShuttingDown
from batcher.executor import Piece
from batcher.policy import Decision, LaneView, Launch, QueueView
from tests.fakes.executor import GreedyPolicy, ManualBatcher, Rows, all_rows, no_unhandled_errors


@pytest.fixture(autouse=True)
def _nothing_is_left_to_the_log() -> Iterator[None]:
    """No error of any test here ends in the log instead of at its request."""
    with no_unhandled_errors():
        yield


def end_runs(manual: ManualBatcher, bad: set[str]) -> None:
    """End every run of the only lane; a run with a *bad* item fails."""
    while not manual.lane.runs[-1].ended:
        run = manual.lane.current
        if any(piece.item in bad for piece in run.given):
            run.fail(ValueError("bad image"))
        else:
            run.finish()


@pytest.mark.parametrize("bad", ["a", "d", "h", "bg", "abcdefgh", ""])
def test_a_failed_batch_is_halved_until_bad_items_run_alone(bad: str) -> None:
    """Other requests get their results, each exactly once; the bad get the model's error."""
    manual = ManualBatcher()
    manual.submit("running")
    for name in "abcdefgh":
        manual.submit(name)
    end_runs(manual, set(bad))
    assert sorted(manual.ended) == sorted([*"abcdefgh", "running"])
    assert manual.errors.keys() == set(bad)
    for error in manual.errors.values():
        assert isinstance(error, RunFailed)
        assert isinstance(error.cause, ValueError)
        assert str(error.cause) == "bad image"
    assert all(manual.results[name] == all_rows(name) for name in set("abcdefgh") - set(bad))


def test_retries_are_launched_before_the_queue() -> None:
    """In the order of arrival, then later requests."""
    manual = ManualBatcher()
    manual.submit("running")
    for name in "abcd":
        manual.submit(name)
    manual.lane.current.finish()
    manual.submit("later", key="other")
    end_runs(manual, {"a"})
    assert manual.batches[1:] == [
        ["a", "b", "c", "d"],
        ["a", "b"],
        ["a"],
        ["b"],
        ["c", "d"],
        ["later"],
    ]
    assert manual.ended == ["running", "a", "b", "c", "d", "later"]


def test_a_failed_part_fails_its_request_once_and_drops_the_others() -> None:
    """Waiting parts are not run, and the result of the part on the other lane is dropped."""
    manual = ManualBatcher(lanes=2, cap=2)
    manual.submit("a", 8)
    manual.submit("b")
    manual.lanes[1].current.fail(ValueError("bad row"))
    assert manual.ended == ["a"]
    assert manual.lanes[1].current.pieces == [("b", 0, 1)]
    manual.lanes[0].current.finish()
    manual.lanes[1].current.finish()
    assert manual.ended == ["a", "b"]
    assert manual.recorder.totals.failed == 8


def test_out_of_memory_halves_by_rows_and_lowers_the_cap_from_then_on() -> None:
    """Even one request is cut; later batches are no larger than what fitted."""
    manual = ManualBatcher()
    manual.submit("running")
    manual.submit("a", 5)
    manual.submit("b", 3)
    manual.lane.current.finish()
    assert manual.lane.current.rows == 8
    manual.lane.current.fail(OutOfMemory(8))
    assert manual.cap == 4
    manual.submit("c", 6)
    while not manual.lane.runs[-1].ended:
        manual.lane.current.finish()
    assert [run.pieces for run in manual.lane.runs[2:]] == [
        [("a", 0, 4)],
        [("a", 4, 5), ("b", 0, 3)],
        [("c", 0, 4)],
        [("c", 4, 6)],
    ]
    assert manual.results == {
        "running": all_rows("running"),
        "a": all_rows("a", 5),
        "b": all_rows("b", 3),
        "c": all_rows("c", 6),
    }


def test_a_retry_is_cut_to_a_cap_lowered_meanwhile() -> None:
    """If two lanes run out of memory, the later and larger run does not raise the cap again."""
    manual = ManualBatcher(lanes=2)
    manual.submit("a", 16)
    quick, slow = manual.lanes
    quick.current.fail(OutOfMemory(8))
    quick.current.fail(OutOfMemory(4))
    assert manual.cap == 2
    slow.current.fail(OutOfMemory(8))
    assert manual.cap == 2
    launched = len(quick.runs), len(slow.runs)
    while manual.batcher.stats().running:
        for lane in manual.lanes:
            if not lane.runs[-1].ended:
                assert lane.current.rows == 2
                lane.current.finish()
    assert launched == (3, 2)
    assert manual.results == {"a": all_rows("a", 16)}


def test_one_row_out_of_memory_fails_its_request_and_leaves_the_cap() -> None:
    """It cannot be halved, and is no evidence about larger batches."""
    manual = ManualBatcher()
    manual.submit("a")
    manual.lane.current.fail(OutOfMemory(1))
    error = manual.errors["a"]
    assert isinstance(error, RunFailed)
    assert isinstance(error.cause, OutOfMemory)
    assert manual.cap == 8


@pytest.mark.parametrize("got", [0, 1, 3])
def test_a_wrong_number_of_results_fails_the_batch_without_retries(got: int) -> None:
    """With both numbers, at once: a retry would have the same error."""
    manual = ManualBatcher()
    manual.submit("running")
    manual.submit("a")
    manual.submit("b", 3)
    manual.lane.current.finish()
    manual.lane.current.finish([[]] * got)
    for name in "ab":
        error = manual.errors[name]
        assert isinstance(error, ResultCountMismatch)
        assert (error.expected, error.got) == (2, got)
    assert len(manual.lane.runs) == 2
    assert manual.latency.predict(4) == 0.0


@pytest.mark.parametrize("error", [ResultCountMismatch(2, 1), ShuttingDown()])
def test_an_error_that_is_no_item_s_fault_is_not_retried(error: Exception) -> None:
    """A lane that stops, or reports a wrong count itself, fails the whole batch."""
    manual = ManualBatcher()
    manual.submit("running")
    manual.submit("a")
    manual.submit("b")
    manual.lane.current.finish()
    manual.lane.current.fail(error)
    assert manual.errors == {"a": error, "b": error}
    assert len(manual.lane.runs) == 2


class BrokenExecutor:
    """Raises instead of returning, or fires with something that is no sequence."""

    seconds: float | None = None

    def __init__(self, returned: object = None) -> None:
        self.returned = returned
        self.asked = 0

    def run(self, pieces: Sequence[Piece[str]]) -> Deferred[Sequence[Rows[str]]]:
        """Raise ValueError, or return what was given."""
        self.asked += 1
        if self.returned is None:
            raise ValueError(f"crash with {len(pieces)} pieces")
        answer: Deferred[Sequence[Rows[str]]] = Deferred()
        answer.callback(self.returned)  # type: ignore[arg-type]  # a wrong type is the point
        return answer


@pytest.mark.parametrize("returned", [None, 7])
def test_an_executor_that_breaks_its_contract_fails_requests_not_the_batcher(
    returned: object,
) -> None:
    """It raises, or fires with a number: each request fails once."""
    broken = BrokenExecutor(returned)
    manual = ManualBatcher(executors=[broken])
    manual.submit("a")
    manual.submit("b", 20)
    assert manual.ended == ["a", "b"]
    for error in manual.errors.values():
        assert isinstance(error, RunFailed)
        assert isinstance(error.cause, ValueError if returned is None else TypeError)
    assert broken.asked == 2
    assert manual.batcher.stats().running == 0


def test_a_join_that_raises_fails_its_request_alone() -> None:
    """With its own error; other requests of the batch are answered."""

    def join(_: Sequence[Rows[str]]) -> Rows[str]:
        raise KeyError("cannot join")

    manual = ManualBatcher(cap=2, join=join)
    manual.submit("a", 3)
    manual.submit("b")
    manual.lane.current.finish()
    manual.lane.current.finish()
    error = manual.errors["a"]
    assert isinstance(error, RunFailed)
    assert isinstance(error.cause, KeyError)
    assert manual.results == {"b": all_rows("b")}


class FaultyPolicy:
    """Raises for any queue with more than one row."""

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Raise ZeroDivisionError, or be greedy."""
        if queue.rows > 1:
            raise ZeroDivisionError("no rate")
        return GreedyPolicy().decide(now, queue, lanes)


def test_a_policy_that_raises_leaves_no_request_waiting() -> None:
    """The requests of that queue fail, ended ones get their results, and the batcher goes on."""
    manual = ManualBatcher(policy=FaultyPolicy())
    manual.submit("a")
    manual.submit("b")
    manual.submit("c")
    manual.lane.current.finish()
    assert manual.results == {"a": all_rows("a")}
    for name in "bc":
        error = manual.errors[name]
        assert isinstance(error, RunFailed)
        assert isinstance(error.cause, ZeroDivisionError)
    manual.submit("d")
    manual.lane.current.finish()
    assert manual.results["d"] == all_rows("d")


class OversizedPolicy:
    """Launches more rows than there are, and than the cap."""

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Launch a thousand rows."""
        return Launch(1000, "full")


def test_no_policy_can_pass_the_cap() -> None:
    """A batch has at most the waiting rows and at most the cap."""
    manual = ManualBatcher(policy=OversizedPolicy(), cap=4)
    manual.submit("a", 6)
    assert manual.lane.current.rows == 4
    manual.lane.current.finish()
    assert manual.lane.current.rows == 2
