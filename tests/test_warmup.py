"""Warm-up: the sizes it tries, where it stops, and what it measures."""

from collections.abc import Callable

import numpy as np
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from batcher.errors import OutOfMemory, ResultCountMismatch
from batcher.learning.latency import (
    MAX_WARMUP_RUNS,
    MIN_LONG_RUN_SECONDS,
    MIN_WARMUP_RUNS,
    warmup_runs,
)
from model.errors import ModelError
from model.execution.lane import Lane
from model.execution.thread import ThreadStopped
from model.execution.warmup import (
    LARGEST,
    SampleFailed,
    climb_is_over,
    has_levelled_off,
    learned_cap,
    prime,
    sized,
    sizes_up_to,
    warm_up,
)
from model.signature import Signature, TensorSpec, blank_feed
from tests.fakes.model import IMAGES, FakeRunner, started_thread
from tests.fakes.threads import kinds, outcomes

RUNS = 1 + MIN_WARMUP_RUNS  #: of a size that takes a while


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (24, [1, 2, 4, 8, 16, 24])],
)
def test_the_sizes_are_powers_of_two_and_the_largest(largest: int, sizes: list[int]) -> None:
    """Each once, upwards from one."""
    assert sizes_up_to(largest) == sizes


@pytest.mark.parametrize(
    ("rates", "over"),
    [
        ([10], False),
        ([10, 10], False),
        ([10, 10, 10], True),
        ([10, 10.4, 10.8], True),
        ([10, 10.6, 10.8], False),
        ([10, 10.4, 11], False),
        ([10, 20, 20, 40], False),
        ([10, 20, 20.5, 20.5], True),
        ([10, 20, 15, 20.5], True),
        ([40, 10, 20], True),
        ([10, 20, 40, 41], False),
    ],
)
def test_two_sizes_that_bring_less_than_five_percent_end_the_climb(
    rates: list[float], *, over: bool
) -> None:
    """Each beside the best rate before it, in rows a second; one such size may be an accident."""
    measured = {2**index: 2**index / rate for index, rate in enumerate(rates)}
    assert has_levelled_off(dict(reversed(measured.items()))) is over


@pytest.mark.parametrize(
    ("rates", "cap"),
    [
        ([10], 1),
        ([10, 20, 40, 41, 41], 4),
        ([10, 20, 40, 80, 81], 8),
        ([10, 15, 20, 21.5, 22], 8),
        ([10, 10, 10, 10], 4),
        ([10, 9.8, 9.2, 8], 4),
        ([10, 9.8, 4.9, 5], 2),
        ([10, 4.9, 5, 5], 1),
        ([10, 4.9, 5.1, 5], 4),
    ],
)
def test_the_cap_is_the_knee_or_four_rows_where_that_costs_little(
    rates: list[float], cap: int
) -> None:
    """By the rows a second of 1, 2, 4, ... rows: 95 % of the best, or half of it for company."""
    assert learned_cap({2**index: 2**index / rate for index, rate in enumerate(rates)}) == cap


def test_a_sample_that_can_only_run_alone_is_run_as_it_is() -> None:
    """Whatever its first axis means."""
    signature = Signature((TensorSpec("x", np.dtype(np.float32), (3,)),), (), alone="no batch axis")
    sample = blank_feed(signature)
    assert sized(sample, 8) is sample
    assert sized(blank_feed(IMAGES), 8).rows == 8


class Machine:
    """Lanes whose runs take as long as *duration* says of their rows; *say* keeps the lines."""

    def __init__(
        self,
        duration: Callable[[int], float] = lambda rows: 1 + rows / 8,
        *,
        lanes: int = 1,
        capacity: int | None = None,
    ) -> None:
        self.clock = Clock()
        self.threads = [started_thread(seconds=self.clock.seconds) for _ in range(lanes)]
        self.runners = [
            FakeRunner(capacity=capacity, spend=lambda rows: self.clock.advance(duration(rows)))
            for _ in range(lanes)
        ]
        self.lanes = [
            Lane(stepped.thread, runner)
            for stepped, runner in zip(self.threads, self.runners, strict=True)
        ]
        self.said: list[str] = []

    def warm_up(self, largest: int | None = None) -> list[object]:
        """Begin a warm-up; return what will hold its outcome."""
        return outcomes(
            Deferred.fromCoroutine(
                warm_up(
                    self.lanes,
                    blank_feed(IMAGES),
                    largest,
                    say=self.said.append,
                )
            )
        )

    def work(self) -> None:
        """Let every lane do all that it is given."""
        while any(stepped.run_all() for stepped in self.threads):
            pass

    def rows(self) -> list[int]:
        """Return the rows of each run of the first lane."""
        return [len(feed[0]) for feed in self.runners[0].fed]


def finished(machine: Machine, largest: int | None = None) -> list[object]:
    """Return the outcome of a whole warm-up."""
    outcome = machine.warm_up(largest)
    machine.work()
    return outcome


def test_each_size_is_run_once_for_the_engine_and_then_timed() -> None:
    """What is typical counts, and the run before them does not, however long it took."""
    durations = iter([64.0, 0.375, 0.375, 0.75, 0.125, 16.0])
    machine = Machine(lambda _: next(durations))
    (measured,) = finished(machine, largest=1)
    assert machine.rows() == [1] * RUNS
    assert measured == {1: 0.5}
    assert machine.said == ["1 rows: 500.0 ms"]


def test_quick_runs_are_timed_more_often() -> None:
    """The more repeats, the better what is learned: as many as fit into a second."""
    machine = Machine(lambda _: 1 / 16)
    assert finished(machine, largest=1) == [{1: 1 / 16}]
    assert machine.rows() == [1] * (1 + 16)
    machine = Machine(lambda _: 1 / 1024)
    finished(machine, largest=1)
    assert machine.rows() == [1] * (1 + MAX_WARMUP_RUNS)


@pytest.mark.parametrize(
    ("seconds", "runs"),
    [(0.0, 100), (0.01, 100), (0.02, 50), (0.1, 10), (0.2, 5), (1.0, 5), (1.1, 1), (60.0, 1)],
)
def test_a_warm_up_times_what_fits_into_a_second(seconds: float, runs: int) -> None:
    """At least five runs and at most 100, but a long one once."""
    assert warmup_runs(seconds) == runs


def test_a_long_run_is_timed_once() -> None:
    """A slow model is not made slower to start."""
    machine = Machine(lambda _: MIN_LONG_RUN_SECONDS * 2)
    assert finished(machine, largest=1) == [{1: MIN_LONG_RUN_SECONDS * 2}]
    assert machine.rows() == [1, 1]


def test_the_climb_ends_where_more_rows_bring_nothing() -> None:
    """Up to four rows cost as much as one; from there each costs its share."""
    machine = Machine(lambda rows: max(1, rows / 4) / 4)
    assert finished(machine) == [{1: 0.25, 2: 0.25, 4: 0.25, 8: 0.5, 16: 1.0}]


def test_the_climb_ends_at_its_limit_where_more_rows_always_bring_more() -> None:
    """As on an accelerator that no batch fills."""
    (measured,) = finished(Machine(lambda _: 0.5))
    assert measured == dict.fromkeys([1, 2, 4, 8, 16, 32, 64, LARGEST], 0.5)


def test_the_climb_ends_below_what_the_device_has_no_room_for() -> None:
    """What was measured holds, and the log says why there is no more."""
    machine = Machine(lambda _: 0.5, capacity=5)
    assert finished(machine) == [{1: 0.5, 2: 0.5, 4: 0.5}]
    assert machine.said[-1] == (
        "a run of 8 rows failed, the largest batch is 4: a run of 8 rows did not fit into memory"
    )


def test_the_climb_ends_below_a_size_that_the_graph_is_not_made_for() -> None:
    """As where a constant inside fixes the rows: it is served, with as many as it takes."""
    machine = Machine(lambda _: 0.5, lanes=2)
    outcome = machine.warm_up()
    for stepped in machine.threads:
        stepped.run_all()
    machine.runners[1].errors = [ResultCountMismatch(2, 1)]
    machine.work()
    assert outcome == [{1: 0.5, 2: 0.5}]
    assert "the largest batch is 2: the model returned 1 results" in machine.said[-1]


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize(("capacity", "largest"), [(0, None), (5, 8), (0, 1)])
def test_a_size_that_must_be_and_does_not_fit_is_an_error(
    capacity: int, largest: int | None, lanes: int
) -> None:
    """One row always must, and so must the size that the user or the graph fixes."""
    (error,) = finished(Machine(lambda _: 0.5, capacity=capacity, lanes=lanes), largest)
    rows = max(1, 8 * (capacity > 0))
    assert kinds([error]) == [ModelError]
    assert (
        str(error) == f"a run of {rows} rows failed: a run of {rows} rows did not fit into memory"
    )


def test_a_sample_that_the_model_cannot_run_says_so() -> None:
    """Whoever made it up may go on without a measurement."""
    machine = Machine(lambda _: 0.5)
    machine.runners[0].errors = [ValueError("zeros will not do\nand more of it")]
    (error,) = finished(machine)
    assert isinstance(error, SampleFailed)
    assert str(error) == "a run of one row failed: zeros will not do"


def test_a_fixed_size_is_climbed_to_whatever_it_brings() -> None:
    """The curve is wanted whole, and never beyond."""
    machine = Machine(lambda rows: rows / 8)
    assert finished(machine, largest=24) == [{rows: rows / 8 for rows in (1, 2, 4, 8, 16, 24)}]


@pytest.mark.parametrize(
    ("measured", "over"),
    [
        ({1: 1.0, 2: 1.0, 4: 1.0}, False),
        ({1: 1.0, 2: 2.0, 4: 4.0}, True),
        (dict.fromkeys([1, LARGEST], 1.0), True),
    ],
)
def test_a_climb_that_was_cut_short_is_not_over(measured: dict[int, float], over: bool) -> None:
    """It must not be kept: the next start may have more room."""
    assert climb_is_over(measured) is over


def test_a_failure_is_told_when_every_lane_is_idle_again() -> None:
    """Else the first requests would wait for a measurement that nobody wants any more."""
    machine = Machine(lambda _: 0.5, lanes=2, capacity=0)
    outcome = machine.warm_up()
    machine.threads[0].run_all()
    assert outcome == []
    machine.threads[1].run_all()
    assert kinds(outcome) == [ModelError]


def test_a_cancelled_warm_up_ends_at_once() -> None:
    """What the lanes have begun is run and forgotten."""
    machine = Machine(lambda _: 0.5, lanes=2)
    warming = Deferred.fromCoroutine(warm_up(machine.lanes, blank_feed(IMAGES), None, say=print))
    fired = outcomes(warming)
    warming.cancel()
    assert kinds(fired) == [CancelledError]
    machine.work()
    assert machine.rows() == [1] * RUNS


def test_all_lanes_run_a_size_at_the_same_time() -> None:
    """Each has its calls before any has begun, and the next size waits for the slowest."""
    machine = Machine(lambda _: 0.5, lanes=3)
    outcome = machine.warm_up(2)
    jobs = [stepped.queue.jobs for stepped in machine.threads]
    assert list(map(len, jobs)) == [1, 1, 1]
    for stepped in machine.threads[:2]:
        stepped.run_all()
    assert list(map(len, jobs)) == [0, 0, 1]
    machine.work()
    assert outcome == [{1: 0.5, 2: 0.5}]
    assert [lane.runs for lane in machine.lanes] == [2 * RUNS] * 3


def test_the_median_is_over_all_lanes() -> None:
    """A lane that is slower than the others has its say."""
    durations = iter([0.75] * RUNS + [0.5] * RUNS + [0.25] * RUNS)
    assert finished(Machine(lambda _: next(durations), lanes=3), largest=1) == [{1: 0.5}]
    durations = iter([1 / 256] * (1 + MAX_WARMUP_RUNS) + [1 / 4] * (2 * RUNS))
    assert finished(Machine(lambda _: next(durations), lanes=3), largest=1) == [{1: 1 / 4}]


def primed(machine: Machine, largest: int) -> list[object]:
    """Return the outcome of a whole priming."""
    outcome = outcomes(Deferred.fromCoroutine(prime(machine.lanes, blank_feed(IMAGES), largest)))
    machine.work()
    return outcome


@pytest.mark.parametrize("seconds", [0.5, 1 / 64])
def test_priming_runs_every_size_on_every_lane_and_times_the_largest(seconds: float) -> None:
    """For a start that knows the run times already, and wants to hear if they still hold."""
    machine = Machine(lambda rows: rows / 6 * seconds, lanes=2)
    assert primed(machine, 6) == [seconds]
    assert machine.rows() == [1, 2, 4, 6] + [6] * RUNS
    assert [lane.runs for lane in machine.lanes] == [4 + RUNS] * 2


def test_priming_hands_a_failure_on_as_it_is() -> None:
    """The device may have less room than when the run times were measured."""
    (error,) = primed(Machine(lanes=2, capacity=3), 4)
    assert isinstance(error, OutOfMemory)
    assert error.rows == 4


def test_a_thread_that_is_stopped_ends_the_warm_up() -> None:
    """As when a server is told to go while it still starts."""
    machine = Machine(lanes=1)
    (stepped,) = machine.threads
    outcome = machine.warm_up()
    stepped.thread.stop()
    machine.work()
    (error,) = outcome
    assert isinstance(error, ThreadStopped)
    assert str(error) == "the model thread model-0 has stopped"
