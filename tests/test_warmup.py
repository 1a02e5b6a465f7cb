"""Warm-up: the sizes that it tries, where its sweep ends, and what it measures."""

import weakref
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from batcher.batcher import Batcher
from batcher.errors import OutOfMemory, ResultCountMismatch, ShuttingDown
from batcher.learning.latency import LatencyCurve
from batcher.queue import Queue
from batcher.share import Share
from model.errors import ModelError
from model.execution.lane import Lane
from model.execution.lane_pool import join_rows
from model.execution.recorder import Recorder
from model.execution.warmup import (
    MAX_WARMUP_ROWS,
    MeasuredRuns,
    SampleFailed,
    averages,
    choose_cap,
    has_plateaued,
    repeat_sample,
    sizes_to_time,
    sizes_up_to,
    sweep_is_complete,
    warm_up,
)
from model.execution.warmup_runs import (
    MAX_WARMUP_RUNS,
    MIN_LONG_RUN_SECONDS,
    MIN_WARMUP_RUNS,
    warmup_runs,
)
from model.signature import Arrays, Feed, Signature, TensorSpec, blank_feed
from tests.fakes.executor import GreedyPolicy
from tests.fakes.model import IMAGES, FakeRunner, images, loaded, started_thread
from tests.fakes.threads import kinds, outcomes

RUNS = 1 + MIN_WARMUP_RUNS  #: runs of a size that takes a while: an untimed one and the timed ones


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
def test_two_sizes_that_add_less_than_five_percent_end_the_sweep(
    rates: list[float], *, over: bool
) -> None:
    """Of the best rate before each; one such size may be an accident."""
    measured = {2**index: 2**index / rate for index, rate in enumerate(rates)}
    assert has_plateaued(dict(reversed(measured.items()))) is over


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
    """For rates of 1, 2, 4, ... rows: 95 % of the best rate, or half of it up to four rows."""
    assert choose_cap({2**index: 2**index / rate for index, rate in enumerate(rates)}) == cap


def test_a_sample_that_can_only_run_alone_is_run_as_it_is() -> None:
    """Its first axis may have any meaning."""
    signature = Signature((TensorSpec("x", np.dtype(np.float32), (3,)),), (), alone="no batch axis")
    sample = blank_feed(signature)
    assert repeat_sample(sample, 8) is sample
    assert repeat_sample(blank_feed(IMAGES), 8).rows == 8


class Machine:
    """Lanes whose runs last *duration* of their rows in seconds; `lines` collects the lines."""

    def __init__(
        self,
        duration: Callable[[int], float] = lambda rows: 1 + rows / 8,
        *,
        lanes: int = 1,
        capacity: int | None = None,
    ) -> None:
        self.clock = Clock()
        self.threads = [started_thread(seconds=self.clock.seconds) for _ in range(lanes)]
        self.runner = FakeRunner(
            capacity=capacity, spend=lambda rows: self.clock.advance(duration(rows))
        )
        self.sample = blank_feed(IMAGES)
        self.sample.model = loaded(self.runner)
        self.lanes = [Lane(stepped.thread) for stepped in self.threads]
        self.batcher: Batcher[Feed, Arrays] = Batcher(
            self.clock,
            self.lanes,
            GreedyPolicy(),
            join=join_rows,
            observer=Recorder(),
            run_timeout=30.0,
        )
        self.runs = MeasuredRuns(self.batcher, "warm-up")
        self.lines: list[str] = []

    def warm_up(self, largest: int | None = None) -> list[object]:
        """Begin a warm-up; return the list that will hold the averages of its run times."""
        warming = warm_up(self.runs, self.sample, largest, on_progress=self.lines.append)
        return outcomes(Deferred.fromCoroutine(warming).addCallback(averages))

    def work(self) -> None:
        """Run all jobs of every lane."""
        while any(stepped.run_all() for stepped in self.threads):
            pass

    def rows(self) -> list[int]:
        """Return the rows of each run of all lanes."""
        return [len(feed[0]) for feed in self.runner.fed]


def finished(machine: Machine, largest: int | None = None) -> list[object]:
    """Return the outcome of a whole warm-up."""
    outcome = machine.warm_up(largest)
    machine.work()
    return outcome


def test_each_size_is_run_once_for_the_engine_and_then_timed() -> None:
    """The typical run counts; the untimed first run does not, however long it lasts."""
    durations = iter([64.0, 0.375, 0.375, 0.75, 0.125, 16.0])
    machine = Machine(lambda _: next(durations))
    (measured,) = finished(machine, largest=1)
    assert machine.rows() == [1] * RUNS
    assert measured == {1: 0.5}
    assert machine.lines == ["1 rows: 500.0 ms"]


def test_quick_runs_are_timed_more_often() -> None:
    """As many as fit into a second, since more repeats measure better."""
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
    """So that a slow model does not start later."""
    machine = Machine(lambda _: MIN_LONG_RUN_SECONDS * 2)
    assert finished(machine, largest=1) == [{1: MIN_LONG_RUN_SECONDS * 2}]
    assert machine.rows() == [1, 1]


def test_a_run_of_a_warm_up_may_take_longer_than_the_run_timeout() -> None:
    """The first run of a large model may load libraries, and a large batch is slow on few cores."""
    assert finished(Machine(lambda _: 1000.0), largest=2) == [{1: 1000.0, 2: 1000.0}]


def test_the_outputs_of_a_run_are_dropped_at_once() -> None:
    """Those of all runs of a size may not fit in memory."""

    class Heavy(np.ndarray):
        """An array that a weak reference can follow."""

    alive: list[weakref.ref[np.ndarray]] = []
    most = 0
    machine = Machine(lambda _: 1 / 64)
    run = machine.runner.run

    def watched(feed: Feed) -> Arrays:
        nonlocal most
        outputs = tuple(output.view(Heavy) for output in run(feed))
        alive.extend(map(weakref.ref, outputs))
        most = max(most, sum(each() is not None for each in alive))
        return outputs

    machine.runner.run = watched  # type: ignore[method-assign]  # to follow its outputs
    assert finished(machine, largest=1) == [{1: 1 / 64}]
    assert len(alive) > 60
    assert most <= 3


def test_the_sweep_ends_where_more_rows_add_no_rate() -> None:
    """Runs of up to four rows last as long as of one; from there time grows with the rows."""
    machine = Machine(lambda rows: max(1, rows / 4) / 4)
    assert finished(machine) == [{1: 0.25, 2: 0.25, 4: 0.25, 8: 0.5, 16: 1.0}]


def test_the_sweep_ends_at_its_limit_where_more_rows_always_add_rate() -> None:
    """As on an accelerator that no batch saturates."""
    (measured,) = finished(Machine(lambda _: 0.5))
    assert measured == dict.fromkeys([1, 2, 4, 8, 16, 32, 64, MAX_WARMUP_ROWS], 0.5)


def test_the_sweep_ends_below_a_size_that_does_not_fit_into_memory() -> None:
    """The smaller sizes are kept, and a line gives the reason."""
    machine = Machine(lambda _: 0.5, capacity=5)
    assert finished(machine) == [{1: 0.5, 2: 0.5, 4: 0.5}]
    assert machine.lines[-1] == (
        "a run of 8 rows failed, the largest batch is 4: a run of 8 rows did not fit into memory"
    )


def test_the_sweep_ends_below_a_size_that_the_graph_cannot_run() -> None:
    """Where a constant inside fixes the rows, the model is served with as many as it takes."""
    machine = Machine(lambda _: 0.5, lanes=2)
    outcome = machine.warm_up()
    while len(machine.lines) < 2:
        machine.threads[0].run_all()
        machine.threads[1].run_all()
    machine.runner.errors = [ResultCountMismatch(2, 1)]
    machine.work()
    assert outcome == [{1: 0.5, 2: 0.5}]
    assert "the largest batch is 2: the model returned 1 results" in machine.lines[-1]


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize(("capacity", "largest"), [(0, None), (5, 8), (0, 1)])
def test_a_required_size_that_does_not_fit_is_an_error(
    capacity: int, largest: int | None, lanes: int
) -> None:
    """One row is always required, and so is the size that the user or the graph fixes."""
    (error,) = finished(Machine(lambda _: 0.5, capacity=capacity, lanes=lanes), largest)
    rows = max(1, 8 * (capacity > 0))
    assert kinds([error]) == [ModelError]
    assert (
        str(error) == f"a run of {rows} rows failed: a run of {rows} rows did not fit into memory"
    )


def test_a_sample_that_the_model_cannot_run_has_its_own_error() -> None:
    """So that the start may continue without a measurement."""
    machine = Machine(lambda _: 0.5)
    machine.runner.errors = [ValueError("zeros will not do\nand more of it")]
    (error,) = finished(machine)
    assert isinstance(error, SampleFailed)
    assert str(error) == "a run of one row failed: zeros will not do"


def test_a_sweep_to_a_fixed_size_does_not_end_before() -> None:
    """All sizes up to the fixed one are measured, and none beyond."""
    machine = Machine(lambda rows: rows / 8)
    assert finished(machine, largest=24) == [{rows: rows / 8 for rows in (1, 2, 4, 8, 16, 24)}]


@pytest.mark.parametrize(
    ("measured", "over"),
    [
        ({1: 1.0, 2: 1.0, 4: 1.0}, False),
        ({1: 1.0, 2: 2.0, 4: 4.0}, True),
        (dict.fromkeys([1, MAX_WARMUP_ROWS], 1.0), True),
    ],
)
def test_a_sweep_that_a_failure_ended_is_not_complete(
    measured: dict[int, float], over: bool
) -> None:
    """It must not be stored: the next start may have more memory."""
    assert sweep_is_complete(measured) is over


def test_a_failure_is_raised_when_every_lane_is_idle_again() -> None:
    """Else the first requests would wait for a measurement that is of no use."""
    machine = Machine(lambda _: 0.5, lanes=2, capacity=0)
    outcome = machine.warm_up()
    machine.threads[0].run_all()
    assert outcome == []
    machine.threads[1].run_all()
    assert kinds(outcome) == [ModelError]


def test_a_cancelled_warm_up_ends_with_the_runs_that_have_begun() -> None:
    """The runs that wait are dropped."""
    machine = Machine(lambda _: 0.5, lanes=2)
    fired = machine.warm_up()
    machine.threads[0].run_all()
    machine.threads[1].run_all()
    before = len(machine.rows())
    stopped = outcomes(machine.runs.stop())
    assert stopped == []
    machine.work()
    assert stopped == [None]
    assert kinds(fired) == [CancelledError]
    assert len(machine.rows()) <= before + 2
    assert kinds(machine.warm_up()) == [ShuttingDown]
    assert machine.batcher.stats().running == 0


def test_all_lanes_run_a_size_at_the_same_time() -> None:
    """The next size waits for the slowest lane."""
    machine = Machine(lambda _: 0.5, lanes=3)
    outcome = machine.warm_up(2)
    jobs = [stepped.queue.jobs for stepped in machine.threads]
    assert list(map(len, jobs)) == [1, 1, 1]
    for stepped in machine.threads[:2]:
        stepped.run_all()
    assert list(map(len, jobs)) == [0, 0, 1]
    machine.work()
    assert outcome == [{1: 0.5, 2: 0.5}]
    assert machine.rows() == [1] * (3 * RUNS) + [2] * (3 * RUNS)


def test_the_times_of_all_lanes_count() -> None:
    """A slower lane counts like the others: the mean is over the runs of all lanes."""
    durations = iter([64.0] * 3 + [0.75, 0.5, 0.25] * MIN_WARMUP_RUNS)
    assert finished(Machine(lambda _: next(durations), lanes=3), largest=1) == [{1: 0.5}]


def test_other_models_are_served_during_a_warm_up() -> None:
    """Their requests wait for the runs under way, not for those of the warm-up that wait."""
    machine = Machine(lambda _: 0.5)
    outcome = machine.warm_up(1)
    machine.threads[0].run_all()
    feed = images(7, model=loaded(machine.runner, name="other"))
    queue: Queue[Feed, Arrays] = Queue(LatencyCurve({1: 0.5}), 4, 4, share=Share("other/1"))
    answers = [outcomes(machine.batcher.submit(feed, 1, queue)) for _ in range(2)]
    machine.threads[0].run_all()
    assert [kinds(fired) for fired in answers] == [[tuple], [tuple]]
    machine.work()
    assert outcome == [{1: 0.5}]


@pytest.mark.parametrize(
    ("sizes", "timed"),
    [
        ([1], {1}),
        ([1, 2], {1, 2}),
        ([4, 2, 1], {1, 2, 4}),
        ([1, 2, 4, 8], {1, 2, 4, 8}),
        ([1, 2, 4, 8, 16, 32, 64, 128], {1, 4, 16, 128}),
    ],
)
def test_up_to_four_sizes_are_timed_to_check_stored_run_times(
    sizes: list[int], timed: set[int]
) -> None:
    """The smallest, the largest, and two between."""
    assert sizes_to_time(sizes) == timed


def prepared(machine: Machine, *sizes: int) -> list[object]:
    """Return the outcome of running *sizes* for a check of stored run times."""
    outcome = outcomes(Deferred.fromCoroutine(machine.runs.run_sizes(machine.sample, sizes)))
    machine.work()
    return outcome


@pytest.mark.parametrize("seconds", [0.5, 1 / 64])
def test_all_sizes_are_run_on_every_lane_and_some_are_timed(seconds: float) -> None:
    """For a start with stored run times, which checks whether they still hold."""
    machine = Machine(lambda rows: rows / 8 * seconds, lanes=2)
    timed = (1, 2, 3, 8)
    runs = 2 * MIN_WARMUP_RUNS
    assert prepared(machine, 1, 2, 3, 4, 8) == [
        {rows: [rows / 8 * seconds] * runs for rows in timed}
    ]
    counts = Counter(machine.rows())
    assert counts == {4: 2} | dict.fromkeys(timed, 2 + runs)


def test_a_failure_of_running_all_sizes_is_passed_on() -> None:
    """The device may have less memory than when the run times were measured."""
    (error,) = prepared(Machine(lanes=2, capacity=3), 1, 2, 4)
    assert isinstance(error, OutOfMemory)
    assert error.rows == 4


def test_beside_other_models_one_run_at_a_time_is_under_way() -> None:
    """On the device's other lanes their requests wait for none; else all lanes run at once."""
    for beside, most in ((False, 3), (True, 1)):
        machine = Machine(lanes=3)
        runs = MeasuredRuns(machine.batcher, "warm-up", beside=beside)
        running: list[int] = []
        ended = outcomes(Deferred.fromCoroutine(runs.run(machine.sample, 3)))
        while not ended:
            running.append(sum(bool(it.queue.jobs) for it in machine.threads))
            busy = next(it for it in machine.threads if it.queue.jobs)
            busy.step()
            busy.calls.drain()
        assert max(running) == most
        assert machine.rows() == [1, 1, 1]
        assert len(ended[0]) == 3  # type: ignore[arg-type]  # the seconds
