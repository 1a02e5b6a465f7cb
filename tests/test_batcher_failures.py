"""A run that fails affects only the requests that caused it."""

from collections.abc import Callable, Sequence

import pytest
from twisted.internet.defer import Deferred

from batcher.errors import OutOfMemory, ResultCountMismatch, RunFailed, ShuttingDown
from batcher.executor import Piece
from batcher.policy import Decision, LaneView, Launch, QueueView
from tests.fakes.executor import GreedyPolicy, ManualBatcher, Rows, all_rows

pytestmark = pytest.mark.usefixtures("no_error_is_unhandled")


def end_runs(manual: ManualBatcher, bad: str) -> None:
    """End every run of the only lane; a run with a *bad* item fails."""
    while not manual.lane.runs[-1].ended:
        run = manual.lane.current
        if any(piece.item in bad for piece in run.given):
            run.fail(ValueError("bad image"))
        else:
            run.finish()


@pytest.mark.parametrize(
    ("bad", "batches"),
    [
        ("", ["abcde", "L"]),
        ("a", ["abcde", "abc", "ab", "a", "b", "c", "de", "L"]),
        ("d", ["abcde", "abc", "de", "d", "e", "L"]),
        ("abcde", ["abcde", "abc", "ab", "a", "b", "c", "de", "d", "e", "L"]),
    ],
)
def test_a_failed_batch_is_halved_until_bad_items_run_alone(bad: str, batches: list[str]) -> None:
    """Before later requests; others get their results, the bad get the error of the model."""
    manual = ManualBatcher()
    manual.submit("running")
    for name in "abcde":
        manual.submit(name)
    manual.lane.current.finish()
    manual.submit("L", key="later")
    end_runs(manual, bad)
    assert manual.batches[1:] == [list(each) for each in batches]
    assert manual.ended == ["running", *"abcde", "L"]
    assert manual.errors.keys() == set(bad)
    for error in manual.errors.values():
        assert isinstance(error, RunFailed)
        assert str(error) == "the run failed: ValueError: bad image"


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
    manual.lane.current.fail(OutOfMemory(8))
    assert manual.cap == 4
    manual.submit("c", 6)
    end_runs(manual, "")
    assert [run.pieces for run in manual.lane.runs[2:]] == [
        [("a", 0, 4)],
        [("a", 4, 5), ("b", 0, 3)],
        [("c", 0, 4)],
        [("c", 4, 6)],
    ]
    assert [len(manual.results[name]) for name in "abc"] == [5, 3, 6]


def test_a_retry_is_cut_to_a_cap_lowered_meanwhile() -> None:
    """If two lanes run out of memory, the later and larger run does not raise the cap again."""
    manual = ManualBatcher(lanes=2)
    manual.submit("a", 16)
    quick, slow = manual.lanes
    quick.current.fail(OutOfMemory(8))
    quick.current.fail(OutOfMemory(4))
    slow.current.fail(OutOfMemory(8))
    assert manual.cap == 2
    while manual.batcher.stats().running:
        for lane in manual.lanes:
            if not lane.runs[-1].ended:
                assert lane.current.rows == 2
                lane.current.finish()
    assert manual.results == {"a": all_rows("a", 16)}


@pytest.mark.parametrize(
    ("error", "runs"),
    [
        (OutOfMemory(1), 1),  # one row cannot be halved, and is no evidence about larger batches
        (ValueError("bad"), 1),
        (ResultCountMismatch(2, 1), 2),  # by the lane itself; a retry would have the same error
        (ShuttingDown(), 2),
    ],
)
def test_an_error_that_no_smaller_batch_avoids_ends_the_requests(
    error: Exception, runs: int
) -> None:
    """Without a retry, and with the same cap."""
    manual = ManualBatcher()
    for name in "ab"[:runs]:
        manual.submit(name)
    for _ in range(runs):
        manual.lane.current.fail(error)
    ends = [end.cause if isinstance(end, RunFailed) else end for end in manual.errors.values()]
    assert ends == [error] * runs
    assert (len(manual.lane.runs), manual.cap) == (runs, 8)


@pytest.mark.parametrize("got", [0, 1, 3])
def test_a_wrong_number_of_results_fails_the_batch_without_retries(got: int) -> None:
    """With both numbers; nothing is learned from such a run."""
    manual = ManualBatcher()
    manual.submit("running")
    manual.submit("a")
    manual.submit("b", 3)
    manual.clock.advance(1.0)
    manual.lane.current.finish()
    manual.lane.current.finish([[]] * got)
    for name in "ab":
        error = manual.errors[name]
        assert isinstance(error, ResultCountMismatch)
        assert (error.expected, error.got) == (2, got)
    assert len(manual.lane.runs) == 2
    assert manual.latency.fitted.keys() == {1}


class BrokenExecutor:
    """Raises instead of returning, or fires with something that is no sequence."""

    seconds: float | None = None

    def __init__(self, returned: object = None) -> None:
        self.returned = returned

    def run(self, pieces: Sequence[Piece[str]]) -> Deferred[Sequence[Rows[str]]]:
        """Raise ValueError, or return what was given."""
        if self.returned is None:
            raise ValueError(f"crash with {len(pieces)} pieces")
        answer: Deferred[Sequence[Rows[str]]] = Deferred()
        answer.callback(self.returned)  # type: ignore[arg-type]  # a wrong type is the point
        return answer


class FaultyPolicy:
    """Raises for any queue with more than one row."""

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Raise ZeroDivisionError, or be greedy."""
        if queue.rows > 1:
            raise ZeroDivisionError("no rate")
        return GreedyPolicy().decide(now, queue, lanes)


def refuse_to_join(_: Sequence[Rows[str]]) -> Rows[str]:
    """Raise KeyError."""
    raise KeyError("cannot join")


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: ManualBatcher(executors=[BrokenExecutor()]), ValueError),
        (lambda: ManualBatcher(executors=[BrokenExecutor(7)]), TypeError),
        (lambda: ManualBatcher(cap=2, join=refuse_to_join), KeyError),
        (lambda: ManualBatcher(policy=FaultyPolicy()), ZeroDivisionError),
    ],
    ids=["executor raises", "executor fires with a number", "join", "policy"],
)
def test_code_that_breaks_its_contract_fails_requests_not_the_batcher(
    make: Callable[[], ManualBatcher], cause: type[Exception]
) -> None:
    """Each of its requests fails once, others are answered, and the batcher goes on."""
    manual = make()
    manual.submit("bad", 3)
    manual.submit("good")
    for _ in range(2):
        if manual.batcher.stats().running:
            manual.lane.current.finish()
    assert sorted(manual.ended) == ["bad", "good"]
    error = manual.errors["bad"]
    assert isinstance(error, RunFailed)
    assert isinstance(error.cause, cause)
    assert ("good" in manual.results) == (cause in {KeyError, ZeroDivisionError})
    stats = manual.batcher.stats()
    assert (stats.running, stats.waiting, stats.retrying) == (0, 0, 0)


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
