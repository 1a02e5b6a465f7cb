"""How a run that fails harms only whom it must."""

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.defer import Deferred

from batcher.errors import OutOfMemory, ResultCountMismatch, RunFailed, ShuttingDown
from batcher.executor import Piece
from batcher.policy import Decision, LaneView, Launch, QueueView
from tests.fakes.executor import GreedyPolicy, Rows, Scene, no_unhandled_errors, whole


@pytest.fixture(autouse=True)
def _nothing_is_left_to_the_log() -> Iterator[None]:
    """No error of any test here ends in the log instead of at its owner."""
    with no_unhandled_errors():
        yield


def poisoned(scene: Scene, bad: set[str]) -> None:
    """End every run of the only lane, failing those that *bad* items ride in."""
    while not scene.lane.runs[-1].ended:
        run = scene.lane.current
        if any(piece.item in bad for piece in run.given):
            run.fail(ValueError("bad image"))
        else:
            run.finish()


@pytest.mark.parametrize("bad", ["a", "d", "h", "bg", "abcdefgh", ""])
def test_a_failed_batch_is_halved_until_the_bad_stand_alone(bad: str) -> None:
    """Batch-mates get their results, each exactly once; the bad get the model's error."""
    scene = Scene()
    scene.submit("running")
    for name in "abcdefgh":
        scene.submit(name)
    poisoned(scene, set(bad))
    assert sorted(scene.ended) == sorted([*"abcdefgh", "running"])
    assert scene.errors.keys() == set(bad)
    for error in scene.errors.values():
        assert isinstance(error, RunFailed)
        assert isinstance(error.cause, ValueError)
        assert str(error.cause) == "bad image"
    assert all(scene.results[name] == whole(name) for name in set("abcdefgh") - set(bad))


def test_what_is_run_again_goes_before_the_queue() -> None:
    """In the order of arrival, and only then those who came later."""
    scene = Scene()
    scene.submit("running")
    for name in "abcd":
        scene.submit(name)
    scene.lane.current.finish()
    scene.submit("later", key="other")
    poisoned(scene, {"a"})
    assert scene.riders[1:] == [
        ["a", "b", "c", "d"],
        ["a", "b"],
        ["a"],
        ["b"],
        ["c", "d"],
        ["later"],
    ]
    assert scene.ended == ["running", "a", "b", "c", "d", "later"]


def test_a_failed_part_fails_its_request_once_and_drops_the_others() -> None:
    """Those in the queue are not run, and the part on the other lane is dropped."""
    scene = Scene(lanes=2, cap=2)
    scene.submit("a", 8)
    scene.submit("b")
    scene.lanes[1].current.fail(ValueError("bad row"))
    assert scene.ended == ["a"]
    assert scene.lanes[1].current.pieces == [("b", 0, 1)]
    scene.lanes[0].current.finish()
    scene.lanes[1].current.finish()
    assert scene.ended == ["a", "b"]
    assert scene.batcher.stats().totals.failed == 8


def test_out_of_memory_halves_by_rows_and_lowers_the_cap_from_then_on() -> None:
    """Even one request is cut; the next batches are no larger than what did fit."""
    scene = Scene()
    scene.submit("running")
    scene.submit("a", 5)
    scene.submit("b", 3)
    scene.lane.current.finish()
    assert scene.lane.current.rows == 8
    scene.lane.current.fail(OutOfMemory(8))
    assert scene.cap == 4
    scene.submit("c", 6)
    while not scene.lane.runs[-1].ended:
        scene.lane.current.finish()
    assert [run.pieces for run in scene.lane.runs[2:]] == [
        [("a", 0, 4)],
        [("a", 4, 5), ("b", 0, 3)],
        [("c", 0, 4)],
        [("c", 4, 6)],
    ]
    assert scene.results == {
        "running": whole("running"),
        "a": whole("a", 5),
        "b": whole("b", 3),
        "c": whole("c", 6),
    }


def test_what_is_run_again_keeps_to_a_cap_lowered_meanwhile() -> None:
    """Of two lanes that run out of memory, the later and larger does not raise the cap again."""
    scene = Scene(lanes=2)
    scene.submit("a", 16)
    quick, slow = scene.lanes
    quick.current.fail(OutOfMemory(8))
    quick.current.fail(OutOfMemory(4))
    assert scene.cap == 2
    slow.current.fail(OutOfMemory(8))
    assert scene.cap == 2
    launched = len(quick.runs), len(slow.runs)
    while scene.batcher.stats().running:
        for lane in scene.lanes:
            if not lane.runs[-1].ended:
                assert lane.current.rows == 2
                lane.current.finish()
    assert launched == (3, 2)
    assert scene.results == {"a": whole("a", 16)}


def test_one_row_out_of_memory_fails_its_request_and_leaves_the_cap() -> None:
    """It cannot be halved, and says nothing about batches of others."""
    scene = Scene()
    scene.submit("a")
    scene.lane.current.fail(OutOfMemory(1))
    error = scene.errors["a"]
    assert isinstance(error, RunFailed)
    assert isinstance(error.cause, OutOfMemory)
    assert scene.cap == 8


@pytest.mark.parametrize("got", [0, 1, 3])
def test_a_wrong_number_of_results_fails_the_batch_without_a_storm(got: int) -> None:
    """With both numbers, at once: to run it again would not teach the model to count."""
    scene = Scene()
    scene.submit("running")
    scene.submit("a")
    scene.submit("b", 3)
    scene.lane.current.finish()
    scene.lane.current.finish([[]] * got)
    for name in "ab":
        error = scene.errors[name]
        assert isinstance(error, ResultCountMismatch)
        assert (error.expected, error.got) == (2, got)
    assert len(scene.lane.runs) == 2
    assert scene.latency.predict(4) == 0.0


@pytest.mark.parametrize("error", [ResultCountMismatch(2, 1), ShuttingDown()])
def test_an_error_that_is_no_item_s_fault_is_not_retried(error: Exception) -> None:
    """A lane that stops, or counts wrongly by its own admission, ends the whole batch."""
    scene = Scene()
    scene.submit("running")
    scene.submit("a")
    scene.submit("b")
    scene.lane.current.finish()
    scene.lane.current.fail(error)
    assert scene.errors == {"a": error, "b": error}
    assert len(scene.lane.runs) == 2


class BrokenExecutor:
    """Raises instead of returning, or returns what is no sequence."""

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
    """Raising synchronously, or answering with a number: each request hears of it, once."""
    broken = BrokenExecutor(returned)
    scene = Scene(executors=[broken])
    scene.submit("a")
    scene.submit("b", 20)
    assert scene.ended == ["a", "b"]
    for error in scene.errors.values():
        assert isinstance(error, RunFailed)
        assert isinstance(error.cause, ValueError if returned is None else TypeError)
    assert broken.asked == 2
    assert scene.batcher.stats().running == 0


def test_a_join_that_raises_fails_its_request_alone() -> None:
    """As the request's own error; a batch-mate is answered."""

    def join(_: Sequence[Rows[str]]) -> Rows[str]:
        raise KeyError("cannot join")

    scene = Scene(cap=2, join=join)
    scene.submit("a", 3)
    scene.submit("b")
    scene.lane.current.finish()
    scene.lane.current.finish()
    error = scene.errors["a"]
    assert isinstance(error, RunFailed)
    assert isinstance(error.cause, KeyError)
    assert scene.results == {"b": whole("b")}


class FaultyPolicy:
    """Fails to decide about any queue of more than one row."""

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Raise ZeroDivisionError, or be greedy."""
        if queue.rows > 1:
            raise ZeroDivisionError("rate of nobody")
        return GreedyPolicy().decide(now, queue, lanes)


def test_a_policy_that_raises_leaves_nobody_waiting() -> None:
    """Those it was asked about are told, those who had results get them, and life goes on."""
    scene = Scene(policy=FaultyPolicy())
    scene.submit("a")
    scene.submit("b")
    scene.submit("c")
    scene.lane.current.finish()
    assert scene.results == {"a": whole("a")}
    for name in "bc":
        error = scene.errors[name]
        assert isinstance(error, RunFailed)
        assert isinstance(error.cause, ZeroDivisionError)
    scene.submit("d")
    scene.lane.current.finish()
    assert scene.results["d"] == whole("d")


class GreatPolicy:
    """Asks for more rows than there are, or than a batch may have."""

    def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
        """Launch a thousand rows."""
        return Launch(1000, "full")


def test_no_policy_can_pass_the_cap() -> None:
    """Whatever it asks for, a batch has what there is and what it may have."""
    scene = Scene(policy=GreatPolicy(), cap=4)
    scene.submit("a", 6)
    assert scene.lane.current.rows == 4
    scene.lane.current.finish()
    assert scene.lane.current.rows == 2
