"""Whatever comes in whatever order, the batcher keeps its contract."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf, prod
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from batcher.priority import Priority
from tests.batcher_model.checked_batcher import Ferry
from tests.batcher_model.contract import check, check_admission, check_over, check_report
from tests.batcher_model.requests import Hangup, Submission
from tests.batcher_model.settings import KEYS, Fault, World
from tests.fakes.executor import no_unhandled_errors


@pytest.fixture(autouse=True)
def _nothing_is_left_to_the_log() -> Iterator[None]:
    """No error of any example ends in the log instead of at its owner."""
    with no_unhandled_errors():
        yield


#: What requests are made of; the first of each is the simplest, what stands there twice likelier.
ROWS = (1, 1, 1, 1, 2, 3, 5, 12)
QUEUES = (*KEYS, KEYS[0])
PRIORITIES = (Priority.NORMAL, Priority.HIGH, Priority.LOW)
TIMEOUTS = (inf, inf, inf, 16.0, 4.0, 2.0, 1.0, 0.0)
POISON = (False,) * 7 + (True,)
SOURCES = (None, None, 0, 1, 2)
CHOICES = (ROWS, QUEUES, PRIORITIES, TIMEOUTS, POISON, SOURCES)


def submission(number: int) -> Submission:
    """Return one of all requests: to draw them by their *number* is quicker than part by part."""
    chosen: list[Any] = []
    for choices in CHOICES:
        number, at = divmod(number, len(choices))
        chosen.append(choices[at])
    return Submission(*chosen)


submissions = st.integers(0, prod(map(len, CHOICES)) - 1).map(submission)
#: Who comes again and again: of each profile and priority, some of them in a hurry.
CROWD = [
    Submission(rows, key, priority, timeout)
    for timeout in (inf, 2.0)
    for rows in (1, 2)
    for key in KEYS
    for priority in PRIORITIES
]
crowds = st.tuples(st.sets(st.sampled_from(CROWD), min_size=2, max_size=5), st.integers(2, 24))
hangups = st.builds(Hangup, st.integers(0, 15))
thens = st.one_of(st.none(), hangups, submissions)
keys = st.sampled_from(QUEUES)
priorities = st.sampled_from(PRIORITIES)
timeouts = st.sampled_from(TIMEOUTS)
faults: st.SearchStrategy[Fault] = st.sampled_from(
    ["none", "none", "none", "none", "memory", "too few", "too many", "leaving"]
)
caps = st.integers(1, 8)
worlds = st.builds(
    World,
    lanes=st.integers(1, 3),
    caps=st.tuples(caps, caps, caps),
    fits=st.sampled_from([99, 99, 99, 5, 3, 2, 1]),
    known=st.sampled_from([(), ((1, 1.0), (8, 2.0)), ((1, 4.0), (8, 4.5))]),
    instant=st.sampled_from([0, 0, 0, 3, 2, 1]),
    returns=st.booleans(),
    fixed=st.booleans(),
)


class Journey(RuleBasedStateMachine):
    """One example: what comes, runs that end, and time."""

    fixed: bool  #: the policy

    @initialize(world=worlds)
    def begin(self, world: World) -> None:
        """Have a batcher."""
        self.ferry = Ferry(replace(world, fixed=self.fixed))
        self.punctual = True
        self.steps = 0
        self.broken = False

    @rule(asked=submissions, then=thens)
    def submit(self, asked: Submission, then: Submission | Hangup | None) -> None:
        """One request comes, whose owner goes on at its end."""
        self.ferry.submit(replace(asked, then=then))

    @rule(several=st.lists(submissions, min_size=3, max_size=8))
    def submit_several(self, several: list[Submission]) -> None:
        """A burst comes."""
        for asked in several:
            self.ferry.submit(asked)

    @rule(hangup=hangups)
    def cancel(self, hangup: Hangup) -> None:
        """An owner hangs up."""
        self.ferry.cancel(hangup.which)

    @rule(lane=st.integers(0, 2), fault=faults)
    def end(self, lane: int, fault: Fault) -> None:
        """A run ends, if that lane has one."""
        chosen = self.ferry.lanes[lane % len(self.ferry.lanes)]
        if chosen.busy:
            self.ferry.end(chosen, fault)

    @rule(turns=st.integers(1, 6))
    def work(self, turns: int) -> None:
        """All lanes do what they are there for, some turns long."""
        self.work_for(turns)

    def work_for(self, turns: int) -> bool:
        """End all runs, one turn after the other; return whether none is left."""
        for _ in range(turns):
            for lane in self.ferry.lanes:
                if lane.busy:
                    self.ferry.end(lane, "none")
        return not self.ferry.flying

    @rule(seconds=st.sampled_from([1.0, 1.0, 0.25, 2.0, 4.0, 8.0]))
    def sleep(self, seconds: float) -> None:
        """Time passes, and timers ring."""
        self.ferry.sleep(seconds)
        self.punctual = True

    @rule(seconds=st.sampled_from([0.25, 1.0, 4.0, 10.0]))
    def oversleep(self, seconds: float) -> None:
        """The reactor is busy: time passes, and no timer rings."""
        self.ferry.set_clock(self.ferry.clock.seconds() + seconds)
        self.punctual = False

    @rule(seconds=st.sampled_from([0.25, 1.0]))
    def set_clock_back(self, seconds: float) -> None:
        """The machine's time is corrected."""
        self.ferry.set_clock(self.ferry.clock.seconds() - seconds)

    @rule(key=keys, timeout=timeouts, priority=priorities, ahead=st.sampled_from([0, 0, 1, 9]))
    def admit(self, key: str, timeout: float, priority: Priority, ahead: int) -> None:
        """Somebody asks whether it is worth while to come."""
        check_admission(self.ferry, key, timeout, priority, ahead)

    @rule()
    def report(self) -> None:
        """Somebody looks."""
        check_report(self.ferry)

    @precondition(lambda self: self.steps > 16)
    @rule()
    def drain(self) -> None:
        """The server is told to stop."""
        self.ferry.drain()

    @precondition(lambda self: self.steps > 24)
    @rule()
    def abort(self) -> None:
        """The server is told to stop at once."""
        self.ferry.abort()

    @invariant()
    def contract(self) -> None:
        """Check that the contract holds."""
        self.steps += 1
        self.broken = True
        check(self.ferry, punctual=self.punctual)
        self.broken = False
        self.punctual = False

    def teardown(self) -> None:
        """Drain, let all runs end, and see that nothing and nobody is left."""
        if self.broken:
            return
        self.ferry.drain()
        assert self.work_for(200), "runs without end"
        check_over(self.ferry)


class LotJourney(Journey):
    """One with nothing to tune."""

    fixed = False


class FixedJourney(Journey):
    """One with a fixed size and delay."""

    fixed = True


QUIET = settings(
    derandomize=True,
    deadline=None,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
)
JOURNEYS = pytest.mark.parametrize("journey", [LotJourney, FixedJourney])


@JOURNEYS
def test_every_request_ends_once_and_as_it_deserves(journey: type[Journey]) -> None:
    """
    Each Deferred fires once, with its own rows in order or an error that its request has earned.

    And all along: no row is run again after it succeeded, beside itself, or after its request has
    ended; no batch passes the cap or mixes profiles; nobody is overtaken within a priority, or
    passed over for more than the shares allow; no lane is idle while there is work for it; one that
    hangs is neither used nor lost; the queue is bounded, and there is one timer at most.
    """
    run_state_machine_as_test(journey, settings=settings(QUIET, max_examples=120))


@pytest.mark.full
@JOURNEYS
def test_many_more_requests_end_once_and_as_they_deserve(journey: type[Journey]) -> None:
    """The same, for longer."""
    run_state_machine_as_test(journey, settings=settings(QUIET, max_examples=600))


def crowd(world: World, stays: list[tuple[set[Submission], int]]) -> None:
    """Have more come than can be served, a set of kinds for some turns and then another."""
    ferry = Ferry(world)
    for kinds, turns in stays:
        for _ in range(turns):
            for asked in sorted(kinds, key=CROWD.index):
                for _ in range(6 - ferry.waiting(asked)):
                    ferry.submit(asked)
            ferry.sleep(0.25)
            for lane in ferry.lanes:
                if lane.busy:
                    ferry.end(lane, "none")
            check(ferry, punctual=False)


stays = st.lists(crowds, min_size=1, max_size=4)


@settings(QUIET, max_examples=40)
@given(worlds, stays)
def test_nobody_is_passed_over_however_crowded_it_is(
    world: World, stays: list[tuple[set[Submission], int]]
) -> None:
    """Each has a share of the rows that leave, be it of high priority or low, and whatever for."""
    crowd(world, stays)


@pytest.mark.full
@settings(QUIET, max_examples=120)
@given(worlds, stays)
def test_nobody_is_passed_over_in_many_more_crowds(
    world: World, stays: list[tuple[set[Submission], int]]
) -> None:
    """The same, for longer."""
    crowd(world, stays)
