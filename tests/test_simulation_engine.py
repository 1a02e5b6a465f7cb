"""The batcher on simulated time: scripts/simulation/engine.py."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, inf, log, sqrt
from statistics import fmean, stdev

import pytest
from twisted.internet.error import AlreadyCalled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface.verify import verifyObject

from batcher.errors import RunFailed
from batcher.policy import Decision, FixedPolicy, LaneView, QueueView
from scripts.simulation.engine import (
    START,
    Noise,
    SimulatedClock,
    Workload,
    simulate,
    simulate_fixed,
)
from scripts.simulation.machine import Client, Disturbance, Neighbour, SlowFirstRun, Stalls
from tests.fakes.executor import GreedyPolicy
from tests.fakes.load import chance

#: What runs take, in seconds by rows: flat, in steps, and by the row.
FLAT = [0.0, *(4.0 + 0.25 * rows for rows in range(1, 33))]
STEPS = [0.0, *(4.0 + 5.0 * (rows // 4) for rows in range(1, 9))]
ROWS = [0.0, *(0.5 + 3.0 * rows for rows in range(1, 5))]


def a_workload(
    due: list[float],
    seconds: list[float] = FLAT,
    *,
    requests: int = 0,
    think: float | None = None,
    per_answer: float = 0.0,
    slo: float = inf,
    lanes: int = 1,
    noise: Noise | None = None,
    disturbances: Sequence[Disturbance] = (),
) -> Workload:
    """Return a workload with arrivals at *due*, seconds from its start."""
    requests = requests or len(due)
    return Workload(
        seconds=seconds,
        measured={rows: seconds[rows] for rows in (1, len(seconds) - 1)},
        noise=noise or Noise(0.0, [0.0] * requests),
        due=[START + time for time in due],
        requests=requests,
        think=think,
        per_answer=per_answer,
        slo=slo,
        lanes=lanes,
        disturbances=disturbances,
    )


def stretched(*factors: float) -> Noise:
    """Return the noise in which the run of a request alone takes so many times as long."""
    return Noise(1.0, [log(factor) + 0.5 for factor in factors])


def random_noise(seed: int, sigma: float = 0.2, requests: int = 100) -> Noise:
    """Return the noise of at most so many *requests*."""
    source = chance(seed)
    return Noise(sigma, [source.gauss(0.0, 1.0) for _ in range(requests)])


def random_workload(seconds: list[float], load: float, seed: int, *, grain: int | None) -> Workload:
    """Return a workload of 80 requests; with *grain*, arrivals are multiples of 1/grain s."""
    source = chance(seed)
    due, time = [], 0.0
    for _ in range(80):
        time += source.expovariate(
            load * max(rows / seconds[rows] for rows in range(1, len(seconds)))
        )
        due.append(time if grain is None else round(time * grain) / grain)
    return a_workload(due, seconds, noise=None if grain else random_noise(seed))


def ends(workload: Workload, policy: FixedPolicy | GreedyPolicy, cap: int = 32) -> list[float]:
    """Return when the requests of *workload* are answered, in seconds from its start."""
    return [ended - START for ended in simulate(workload, policy, cap).ended]


def test_the_clock_is_a_reactors() -> None:
    """So are its delayed calls."""
    clock = SimulatedClock(START)
    assert verifyObject(IReactorTime, clock)
    assert verifyObject(IDelayedCall, clock.callLater(1.0, list))


def test_calls_are_made_in_order_of_time_and_then_of_creation() -> None:
    """Also delayed and reset calls, and calls created by other calls; cancelled ones are not."""
    clock = SimulatedClock(8.0)
    calls_made: list[tuple[float, str]] = []

    def record(word: str, then: str = "") -> None:
        calls_made.append((clock.seconds(), word))
        if then:
            clock.callLater(0.0, record, then)

    calls = {word: clock.callLater(2.0, record, word, then=word * 2) for word in "abcd"}
    calls["a"].delay(1.0)
    calls["b"].reset(1.0)
    calls["c"].cancel()
    assert [call.getTime() for call in clock.getDelayedCalls()] == [9.0, 10.0, 11.0]
    while clock.next() < inf:
        clock.step()
    assert calls_made == [(9, "b"), (9, "bb"), (10, "d"), (10, "dd"), (11, "a"), (11, "aa")]
    assert not any(call.active() for call in calls.values())
    with pytest.raises(AlreadyCalled):
        calls["a"].cancel()


def test_a_run_takes_its_time_and_its_noise() -> None:
    """The first request alone, then those that arrived meanwhile; noise depends on the requests."""
    workload = a_workload([0.0, 1.0, 2.0, 100.0], noise=stretched(1.0, 4.0, 0.25, 0.5))
    history = simulate(workload, GreedyPolicy(), cap=32)
    both = exp(1.0 / sqrt(2.0) - 0.5)  # the logarithms of the two cancel out
    assert [ended - START for ended in history.ended] == pytest.approx(
        [4.25, 4.25 + 4.5 * both, 4.25 + 4.5 * both, 102.125]
    )
    assert history.runs == [(0, 1), (1, 2), (3, 1)]


def test_disturbances_follow_one_another() -> None:
    """Here the stall is at 5 s; only the run that lasts three times as long meets it."""
    slow, stall = SlowFirstRun(3.0), Stalls([START + 5.0], [1.0])
    assert ends(a_workload([0.0, 20.0], disturbances=[slow, stall]), GreedyPolicy()) == [
        13.75,
        24.25,
    ]
    assert ends(a_workload([0.0, 20.0], disturbances=[stall, slow]), GreedyPolicy()) == [
        12.75,
        24.25,
    ]


@pytest.mark.parametrize("rows", [1, 7, 32])
def test_noise_is_as_large_for_a_run_of_many_rows(rows: int) -> None:
    """Its mean is 1, and the standard deviation of its logarithm is *sigma*, for any rows."""
    noise = random_noise(5, 0.2, 1000 * rows)
    runs = [noise.factor(noise.shares[at : at + rows]) for at in range(0, 1000 * rows, rows)]
    assert fmean(runs) == pytest.approx(1.0, abs=0.02)
    assert stdev(map(log, runs)) == pytest.approx(0.2, rel=0.07)


def test_lanes_run_side_by_side() -> None:
    """Each runs one of two requests, in the time of one row."""
    assert ends(a_workload([0.0, 0.0, 1.0]), GreedyPolicy()) == [4.25, 8.75, 8.75]
    assert ends(a_workload([0.0, 0.0, 1.0], lanes=2), GreedyPolicy()) == [4.25, 4.25, 8.5]


@pytest.mark.parametrize(
    ("policy", "latency"),
    [(GreedyPolicy(), 8.5), (FixedPolicy(2, 8.0), 4.5)],
    ids=["never wait", "wait for two"],
)
def test_clients_of_a_closed_loop_send_their_next_request(
    policy: FixedPolicy | GreedyPolicy, latency: float
) -> None:
    """Two clients take turns for ever, unless the policy waits for both."""
    history = simulate(a_workload([0.0, 0.0], requests=40, think=0.0), policy, cap=2)
    assert len(history.due) == 40
    waits = [ended - due for due, ended in zip(history.due, history.ended, strict=True)]
    assert waits[2:] == [latency] * 38


def test_clients_think_before_they_send_one_more() -> None:
    """For the think time of the workload."""
    history = simulate(a_workload([0.0], requests=3, think=10.0), GreedyPolicy(), cap=2)
    assert [due - START for due in history.due] == [0.0, 14.25, 28.5]


def test_clients_are_answered_one_by_one() -> None:
    """Of two requests in one batch, the client of the second returns later."""
    workload = a_workload([0.0, 0.0], requests=6, think=0.0, per_answer=1.0)
    history = simulate(workload, FixedPolicy(2, 1.0), cap=2)
    assert [due - START for due in history.due] == [0.0, 0.0, 5.5, 6.5, 12.0, 13.0]


def test_a_request_that_cannot_be_in_time_is_refused() -> None:
    """Unless nothing waits or runs; a client sends its next request after the time of a run."""
    history = simulate(a_workload([0.0, 1.0, 1.0], slo=5.0), GreedyPolicy(), cap=1)
    assert history.ended == [START + 4.25, inf, inf]
    assert (history.refused, history.dropped) == ([1, 2], [])
    history = simulate(a_workload([0.0], requests=3, think=1.0, slo=4.0), GreedyPolicy(), cap=1)
    assert [due - START for due in history.due] == [0.0, 5.25, 10.5]
    assert (history.refused, history.dropped) == ([], [0, 1, 2])  # the lane was idle: admitted


def test_an_admitted_request_that_is_late_is_dropped() -> None:
    """Here the first run takes three times the expected time."""
    workload = a_workload([0.0, 0.5, 20.0], slo=10.0, noise=stretched(3.0, 1.0, 1.0))
    history = simulate(workload, GreedyPolicy(), cap=1)
    assert history.ended == [inf, inf, pytest.approx(START + 24.25)]
    assert (history.refused, sorted(history.dropped)) == ([], [0, 1])


def test_a_faulty_policy_ends_the_simulation() -> None:
    """With its exception, as the batcher reports it."""

    class Faulty:
        def decide(self, now: float, queue: QueueView, lanes: LaneView) -> Decision:
            raise KeyError(queue.rows)

    with pytest.raises(RunFailed, match="KeyError: 1"):
        simulate(a_workload([0.0]), Faulty(), cap=1)


@pytest.mark.parametrize("seconds", [FLAT, STEPS, ROWS], ids=["flat", "steps", "rows"])
@pytest.mark.parametrize("load", [0.3, 0.9, 1.5])
@pytest.mark.parametrize("grain", [None, 2])
def test_stepping_from_run_to_run_has_the_same_history(
    seconds: list[float], load: float, grain: int | None
) -> None:
    """To the last bit, whatever fills a batch first, and with simultaneous events."""
    cap = len(seconds) - 1
    for seed in range(2):
        workload = random_workload(seconds, load, seed, grain=grain)
        for rows in (1, 2, cap):
            for delay in (0.0, 0.5, 5.0, 20.0):
                policy = FixedPolicy(rows, delay)
                assert simulate_fixed(workload, policy) == simulate(workload, policy, rows)


@pytest.mark.parametrize("load", [0.3, 0.9])
def test_it_has_the_same_history_on_a_machine_that_changes(load: float) -> None:
    """With all disturbances together, for any fixed setting."""
    workload = random_workload(FLAT, load, seed=3, grain=None)
    disturbed = replace(
        workload,
        disturbances=[
            Neighbour([rows**-0.5 * 2 for rows in range(1, 34)], START + 5.0, START + 40.0),
            Client(workload.due, 0.02),
            Stalls([START + 3.0 * number for number in range(20)], [0.5, 4.0] * 10),
            SlowFirstRun(3.0),
            SlowFirstRun(2.0, of_each_size=True),
        ],
    )
    for rows in (1, 2, 32):
        for delay in (0.0, 0.5, 20.0):
            policy = FixedPolicy(rows, delay)
            history = simulate_fixed(disturbed, policy)
            assert history == simulate(disturbed, policy, rows)
            assert history != simulate_fixed(workload, policy)


@pytest.mark.parametrize(("think", "per_answer"), [(0, 0), (0.5, 0), (7, 0), (0, 0.3), (7, 2)])
@pytest.mark.parametrize("clients", [1, 5, 40])
def test_it_has_the_same_history_in_a_closed_loop(
    think: float, per_answer: float, clients: int
) -> None:
    """For any number of clients, think time and time per answer."""
    for noise in (None, random_noise(clients)):
        workload = a_workload(
            [0.0] * clients, requests=100, think=think, per_answer=per_answer, noise=noise
        )
        for rows in (1, 4, 32):
            for delay in (0.0, 0.5, 7.0, 20.0):
                policy = FixedPolicy(rows, delay)
                assert simulate_fixed(workload, policy) == simulate(workload, policy, rows)


@pytest.mark.parametrize("workload", [a_workload([0.0], lanes=2), a_workload([0.0], slo=1.0)])
def test_it_needs_one_lane_and_no_slo(workload: Workload) -> None:
    """Other workloads need the batcher."""
    with pytest.raises(ValueError, match="expected one lane and no SLO"):
        simulate_fixed(workload, FixedPolicy(1, 0.0))
