"""Whatever comes in whatever order, the batcher keeps its contract."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from batcher.batcher import Batcher
from batcher.errors import DeadlineExceeded, OutOfMemory, QueueFull, RunFailed, ShuttingDown
from batcher.executor import Piece
from batcher.latency import LatencyCurve
from batcher.policy import FixedPolicy
from batcher.profile import Profile
from batcher.stats import State
from batcher.trace import Trace
from tests.support import GreedyPolicy, ManualExecutor, Rows, join_rows, no_unhandled_errors


@pytest.fixture(autouse=True)
def _nothing_is_left_to_the_log() -> Iterator[None]:
    """No error of any example ends in the log instead of at its owner."""
    with no_unhandled_errors():
        yield


KEYS = "ab"
LIMIT = 24  # rows that may wait


@dataclass(frozen=True)
class Submit:
    """A request comes."""

    rows: int
    key: str
    timeout: float = inf
    poison: bool = False


@dataclass(frozen=True)
class Cancel:
    """The owner of one of the requests so far hangs up."""

    which: int


@dataclass(frozen=True)
class End:
    """The run on one of the lanes ends, if there is one, as its riders and its size will have."""

    lane: int


@dataclass(frozen=True)
class Sleep:
    """Time passes; *punctual* when timers fire, else the reactor is busy and they are late."""

    seconds: int
    punctual: bool


Step = Submit | Cancel | End | Sleep


@dataclass(frozen=True)
class World:
    """What stays the same throughout one example."""

    lanes: int
    cap: int
    fits: int  # rows; a larger run is out of memory
    fixed: bool  # the policy
    aborts: bool  # the end: else it drains


@dataclass(eq=False)
class Rider:
    """What the test knows of one request."""

    number: int
    submit: Submit
    deadline: float
    trace: Trace = field(default_factory=Trace)
    answer: Deferred[Rows[int]] | None = None
    outcomes: list[object] = field(default_factory=list)  # a result or an error; must be one
    served: set[int] = field(default_factory=set)  # rows that were run with success
    running: set[int] = field(default_factory=set)
    doomed: bool = False  # its run failed for it alone; it is told after the next launch
    launched: int = 0  # rows that left the queue, which they do in order


class Witness(ManualExecutor[int]):
    """A lane that looks at each batch as it is launched."""

    def __init__(self, ferry: "Ferry") -> None:
        super().__init__()
        self.ferry = ferry

    def run(self, pieces: Sequence[Piece[int]]) -> Deferred[Sequence[Rows[int]]]:
        """Note what is wrong with the batch, since whatever is raised here would be answered."""
        try:
            self.ferry.boards(pieces)
        except AssertionError as error:
            self.ferry.wrong.append(error)
        return super().run(pieces)


class Ferry:
    """A batcher, the requests it was given, and all that must hold between them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = Clock()
        self.lanes = [Witness(self) for _ in range(world.lanes)]
        self.batcher: Batcher[int, Rows[int]] = Batcher(
            self.clock,
            self.lanes,
            FixedPolicy(4, 4.0) if world.fixed else GreedyPolicy(),
            join=join_rows,
        )
        self.profiles = {key: Profile(LatencyCurve({}), world.cap, LIMIT) for key in KEYS}
        self.riders: list[Rider] = []
        self.wrong: list[AssertionError] = []
        self.drained: list[None] = []

    def take(self, step: Step) -> None:
        """Let *step* happen."""
        match step:
            case Submit():
                self.submit(step)
            case Cancel(which):
                if self.riders:
                    answer = self.riders[which % len(self.riders)].answer
                    assert answer is not None
                    answer.cancel()
            case End(which):
                self.end(self.lanes[which % len(self.lanes)])
            case Sleep(seconds, punctual):
                if punctual:
                    self.clock.advance(seconds)
                else:
                    self.clock.rightNow += seconds

    def submit(self, submit: Submit) -> None:
        """Submit a request and note whatever its Deferred fires with."""
        rider = Rider(len(self.riders), submit, self.clock.seconds() + submit.timeout)
        self.riders.append(rider)
        rider.answer = self.batcher.submit(
            rider.number,
            submit.rows,
            self.profiles[submit.key],
            deadline=rider.deadline,
            trace=rider.trace,
        )
        rider.answer.addBoth(self.ends, rider)

    def ends(self, outcome: Rows[int] | Failure, rider: Rider) -> None:
        """Note the *outcome* of *rider*; a second is an error in Twisted itself."""
        rider.outcomes.append(outcome.value if isinstance(outcome, Failure) else outcome)

    def boards(self, pieces: Sequence[Piece[int]]) -> None:
        """Check a batch that is launched."""
        riders = [self.riders[piece.item] for piece in pieces]
        (key,) = {rider.submit.key for rider in riders}
        assert sum(piece.rows for piece in pieces) <= self.profiles[key].cap
        for piece, rider in zip(pieces, riders, strict=True):
            rows = set(range(piece.start, piece.stop))
            assert rows, "a piece without rows"
            assert not rider.outcomes, "run after its end"
            assert not rider.doomed, "run again although it failed alone"
            assert rider.deadline > self.clock.seconds(), "run after its deadline"
            assert not rows & (rider.served | rider.running), "run twice"
            rider.running |= rows
            if piece.stop > rider.launched:  # for the first time: nobody older is left behind
                assert piece.start == rider.launched
                rider.launched = piece.stop
                for older in self.riders[: rider.number]:
                    if older.submit.key == rider.submit.key and not older.outcomes:
                        assert (
                            older.launched == older.submit.rows
                            or older.doomed
                            or self.is_late(older)
                        )

    def is_late(self, rider: Rider) -> bool:
        """Return whether the deadline of *rider* has come, though nobody may have been told."""
        return rider.deadline <= self.clock.seconds()

    def end(self, lane: Witness) -> None:
        """End the run on *lane* as its pieces would have it."""
        if not lane.runs or lane.runs[-1].ended:
            return
        run = lane.current
        good = run.rows <= self.world.fits
        good = good and not any(self.riders[piece.item].submit.poison for piece in run.given)
        for piece in run.given:
            rows = set(range(piece.start, piece.stop))
            self.riders[piece.item].running -= rows
            if good:
                self.riders[piece.item].served |= rows
        if good:
            run.finish()
        elif run.rows > self.world.fits:
            run.fail(OutOfMemory(run.rows))
        else:
            self.riders[run.given[0].item].doomed = len(run.given) == 1
            run.fail(ValueError("poison"))

    def check(self, step: Step) -> None:
        """Check what must hold after every step."""
        assert self.wrong == []
        stats = self.batcher.stats()
        calls = self.clock.getDelayedCalls()
        assert stats.waiting <= LIMIT * len(KEYS)
        assert len(calls) <= 1
        assert stats.running == sum(not lane.runs[-1].ended for lane in self.lanes if lane.runs)
        if stats.running < stats.lanes:
            assert stats.retrying == 0
            assert stats.waiting == 0 or (self.world.fixed and calls)
        if isinstance(step, Sleep) and step.punctual:
            for rider in self.riders:
                if len(rider.running | rider.served) < rider.submit.rows:
                    assert rider.outcomes or not self.is_late(rider), "waits past its deadline"

    def finish(self) -> None:
        """Stop in the way of this world, and end what still runs."""
        self.batcher.drain().addCallback(self.drained.append)
        if self.world.aborts:
            self.batcher.abort()
            assert all(rider.outcomes for rider in self.riders)
            assert self.drained == [None]
        while self.batcher.stats().running:
            for lane in self.lanes:
                self.end(lane)
        assert self.wrong == []

    def account(self) -> None:
        """Check what must hold when all is over."""
        assert self.drained == [None]
        assert self.clock.getDelayedCalls() == []
        stats = self.batcher.stats()
        assert stats.state is State.STOPPED
        assert (stats.waiting, stats.retrying, stats.running) == (0, 0, 0)
        for profile in self.profiles.values():
            assert profile.cap >= min(self.world.cap, (self.world.fits + 2) // 2)
        ends = {"answered": 0, "failed": 0, "expired": 0, "cancelled": 0, "refused": 0}
        for rider in self.riders:
            ends[self.judge(rider)] += rider.submit.rows
        totals = stats.totals
        assert ends == {name: getattr(totals, name) for name in ends}
        assert totals.runs == sum(len(lane.runs) for lane in self.lanes)
        assert totals.run_rows == sum(run.rows for lane in self.lanes for run in lane.runs)

    def judge(self, rider: Rider) -> str:
        """Check that *rider* ended once, in a way that it deserved, and return which."""
        (outcome,) = rider.outcomes
        rows = rider.submit.rows
        runs = [run for lane in self.lanes for run in lane.runs]
        rides = sum(piece.item == rider.number for run in runs for piece in run.given)
        assert len(rider.trace.runs) == rides
        match outcome:
            case list():
                assert outcome == [(rider.number, row) for row in range(rows)]
                assert not rider.submit.poison
                assert rider.served == set(range(rows))
                return "answered"
            case DeadlineExceeded():
                assert rider.submit.timeout < inf
                return "expired"
            case RunFailed():
                assert rider.submit.poison
                assert isinstance(outcome.cause, ValueError)
                return "failed"
            case ShuttingDown():
                assert self.world.aborts
                return "failed"
            case QueueFull():
                assert outcome.waiting + rows > LIMIT
                assert rides == 0
                return "refused"
            case _:
                assert isinstance(outcome, CancelledError)
                return "cancelled"


worlds = st.builds(
    World,
    lanes=st.integers(1, 3),
    cap=st.integers(1, 8),
    fits=st.sampled_from([1, 2, 3, 5, 99]),
    fixed=st.booleans(),
    aborts=st.booleans(),
)
submits = st.builds(
    Submit,
    rows=st.sampled_from([1, 1, 1, 2, 3, 5, 12]),
    key=st.sampled_from(KEYS[:1] + KEYS),
    timeout=st.sampled_from([inf, inf, 1.0, 2.0, 4.0, 16.0]),
    poison=st.sampled_from([False, False, False, True]),
)
ends = st.builds(End, st.integers(0, 2))
others = st.one_of(
    st.builds(Cancel, st.integers(0, 63)),
    st.builds(Sleep, st.integers(1, 4), st.booleans()),
)
journeys = st.lists(st.one_of(submits, submits, ends, ends, others), min_size=8, max_size=64)


@settings(derandomize=True, deadline=None, max_examples=1000)
@given(worlds, journeys)
def test_every_request_ends_once_and_as_it_deserves(world: World, journey: list[Step]) -> None:
    """
    Each Deferred fires once, with its own rows in order or an error that its request has earned.

    And all along: no row is run again after it succeeded, beside itself, or after its request has
    ended; no batch passes the cap or mixes keys; nobody is overtaken within a key; no lane is
    idle while there is work for it; the queue is bounded, and there is one timer at most.
    """
    ferry = Ferry(world)
    for step in journey:
        ferry.take(step)
        ferry.check(step)
    ferry.finish()
    ferry.account()
