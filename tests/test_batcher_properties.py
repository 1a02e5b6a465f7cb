"""The batcher keeps its contract under any sequence of events."""

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
from tests.batcher_model.checked_batcher import CheckedBatcher
from tests.batcher_model.contract import check, check_admission, check_over, check_report
from tests.batcher_model.requests import Cancellation, Submission
from tests.batcher_model.settings import KEYS, Fault, Setup

pytestmark = pytest.mark.usefixtures("no_error_is_unhandled")

#: The parts of a submission; the first of each is the simplest, and repeated ones are likelier.
ROWS = (1, 1, 1, 1, 2, 3, 5, 12)
QUEUES = (*KEYS, KEYS[0])
PRIORITIES = (Priority.NORMAL, Priority.HIGH, Priority.LOW)
TIMEOUTS = (inf, inf, inf, 16.0, 4.0, 2.0, 1.0, 0.0)
POISON = (False,) * 7 + (True,)
SOURCES = (None, None, 0, 1, 2)
CHOICES = (ROWS, QUEUES, PRIORITIES, TIMEOUTS, POISON, SOURCES)


def submission(number: int) -> Submission:
    """Return the submission *number*: drawing a number is faster than drawing each part."""
    chosen: list[Any] = []
    for choices in CHOICES:
        number, at = divmod(number, len(choices))
        chosen.append(choices[at])
    return Submission(*chosen)


submissions = st.integers(0, prod(map(len, CHOICES)) - 1).map(submission)
#: The kinds of an overload: each queue and priority, some with a short timeout.
KINDS = [
    Submission(rows, key, priority, timeout)
    for timeout in (inf, 2.0)
    for rows in (1, 2)
    for key in KEYS
    for priority in PRIORITIES
]
overloads = st.tuples(st.sets(st.sampled_from(KINDS), min_size=2, max_size=5), st.integers(2, 24))
cancellations = st.builds(Cancellation, st.integers(0, 15))
thens = st.one_of(st.none(), cancellations, submissions)
keys = st.sampled_from(QUEUES)
priorities = st.sampled_from(PRIORITIES)
timeouts = st.sampled_from(TIMEOUTS)
faults: st.SearchStrategy[Fault] = st.sampled_from(
    ["none", "none", "none", "none", "memory", "too few", "too many", "leaving"]
)
caps = st.integers(1, 8)
setups = st.builds(
    Setup,
    lanes=st.integers(1, 3),
    caps=st.tuples(caps, caps, caps),
    fits=st.sampled_from([99, 99, 99, 5, 3, 2, 1]),
    known=st.sampled_from([(), ((1, 1.0), (8, 2.0)), ((1, 4.0), (8, 4.5))]),
    instant=st.sampled_from([0, 0, 0, 3, 2, 1]),
    returns=st.booleans(),
    fixed=st.booleans(),
    shares=st.sampled_from([("abc",), ("abc",), ("a", "bc"), ("a", "b", "c")]),
)


class BatcherMachine(RuleBasedStateMachine):
    """One example: requests, ends of runs, and time."""

    fixed: bool  #: the policy

    @initialize(setup=setups)
    def begin(self, setup: Setup) -> None:
        """Make a batcher."""
        self.checked = CheckedBatcher(replace(setup, fixed=self.fixed))
        self.punctual = True
        self.steps = 0
        self.broken = False

    @rule(asked=submissions, then=thens)
    def submit(self, asked: Submission, then: Submission | Cancellation | None) -> None:
        """Submit a request; at its end its owner goes on."""
        self.checked.submit(replace(asked, then=then))

    @rule(several=st.lists(submissions, min_size=3, max_size=8))
    def submit_several(self, several: list[Submission]) -> None:
        """Submit several requests."""
        for asked in several:
            self.checked.submit(asked)

    @rule(cancellation=cancellations)
    def cancel(self, cancellation: Cancellation) -> None:
        """Cancel a request."""
        self.checked.cancel(cancellation.which)

    @rule(lane=st.integers(0, 2), fault=faults)
    def end(self, lane: int, fault: Fault) -> None:
        """End the run on a lane, if there is one."""
        chosen = self.checked.lanes[lane % len(self.checked.lanes)]
        if chosen.busy:
            self.checked.end(chosen, fault)

    @rule(turns=st.integers(1, 6))
    def work(self, turns: int) -> None:
        """End the runs on all lanes, several times."""
        self.work_for(turns)

    def work_for(self, turns: int) -> bool:
        """End all runs *turns* times; return whether none is left."""
        for _ in range(turns):
            for lane in self.checked.lanes:
                if lane.busy:
                    self.checked.end(lane, "none")
        return not self.checked.in_flight

    @rule(seconds=st.sampled_from([1.0, 1.0, 0.25, 2.0, 4.0, 8.0]))
    def sleep(self, seconds: float) -> None:
        """Let time pass; timers fire."""
        self.checked.sleep(seconds)
        self.punctual = True

    @rule(seconds=st.sampled_from([0.25, 1.0, 4.0, 10.0]))
    def oversleep(self, seconds: float) -> None:
        """Let time pass while the reactor is busy: no timer fires."""
        self.checked.set_clock(self.checked.clock.seconds() + seconds)
        self.punctual = False

    @rule(seconds=st.sampled_from([0.25, 1.0]))
    def set_clock_back(self, seconds: float) -> None:
        """Set the clock back."""
        self.checked.set_clock(self.checked.clock.seconds() - seconds)

    @rule(key=keys, timeout=timeouts, priority=priorities, ahead=st.sampled_from([0, 0, 1, 9]))
    def admit(self, key: str, timeout: float, priority: Priority, ahead: int) -> None:
        """Ask for admission."""
        check_admission(self.checked, key, timeout, priority, ahead)

    @rule()
    def report(self) -> None:
        """Ask for the report."""
        check_report(self.checked)

    @precondition(lambda self: self.steps > 16)
    @rule()
    def drain(self) -> None:
        """Drain."""
        self.checked.drain()

    @precondition(lambda self: self.steps > 12)
    @rule(which=st.integers(0, 2))
    def close_share(self, which: int) -> None:
        """Close a share."""
        self.checked.close_share(which)

    @precondition(lambda self: self.steps > 24)
    @rule()
    def abort(self) -> None:
        """Abort."""
        self.checked.abort()

    @invariant()
    def contract(self) -> None:
        """Check that the contract holds."""
        self.steps += 1
        self.broken = True
        check(self.checked, punctual=self.punctual)
        self.broken = False
        self.punctual = False

    def teardown(self) -> None:
        """Drain, end all runs, and check that nothing is left."""
        if self.broken:
            return
        self.checked.drain()
        assert self.work_for(200), "runs without end"
        check_over(self.checked)


class LotPolicyMachine(BatcherMachine):
    """With the lot policy."""

    fixed = False


class FixedPolicyMachine(BatcherMachine):
    """With a fixed size and delay."""

    fixed = True


QUIET = settings(
    derandomize=True,
    deadline=None,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
)
MACHINES = pytest.mark.parametrize("machine", [LotPolicyMachine, FixedPolicyMachine])


@MACHINES
def test_every_request_ends_once_and_as_it_must(machine: type[BatcherMachine]) -> None:
    """
    Each Deferred fires once, with its own rows in order, or with a justified error.

    At all times: no row is run again after it succeeded, twice at once, or after its request has
    ended; no batch exceeds the cap or mixes queues; no request is overtaken within a priority, or
    passed over for more than its priority allows; no lane is idle while there is work for it; a
    hung lane is neither used nor lost; the queue is bounded, and there is at most one timer; the
    Deferred of a closed share fires after its last run.
    """
    run_state_machine_as_test(machine, settings=settings(QUIET, max_examples=60))


@pytest.mark.full
@MACHINES
def test_many_more_requests_end_once_and_as_they_must(machine: type[BatcherMachine]) -> None:
    """The same, for longer."""
    run_state_machine_as_test(machine, settings=settings(QUIET, max_examples=300))


def overload(setup: Setup, stays: list[tuple[set[Submission], int]]) -> None:
    """Submit more than can be served: each set of kinds for some turns."""
    checked = CheckedBatcher(setup)
    for kinds, turns in stays:
        for _ in range(turns):
            for asked in sorted(kinds, key=KINDS.index):
                for _ in range(6 - checked.waiting(asked)):
                    checked.submit(asked)
            checked.sleep(0.25)
            for lane in checked.lanes:
                if lane.busy:
                    checked.end(lane, "none")
            check(checked, punctual=False)


stays = st.lists(overloads, min_size=1, max_size=4)


@settings(QUIET, max_examples=20)
@given(setups, stays)
def test_no_request_starves_under_overload(
    setup: Setup, stays: list[tuple[set[Submission], int]]
) -> None:
    """Each queue level gets its share of the launched rows."""
    overload(setup, stays)


@pytest.mark.full
@settings(QUIET, max_examples=60)
@given(setups, stays)
def test_no_request_starves_under_many_more_overloads(
    setup: Setup, stays: list[tuple[set[Submission], int]]
) -> None:
    """The same, for longer."""
    overload(setup, stays)
