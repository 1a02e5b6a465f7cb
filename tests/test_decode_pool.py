"""Threads for decoding, stepped by hand: model/execution/decode_pool.py."""

import os
import threading
import weakref
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from model.execution.decode_pool import DecodePool, PoolNotRunning, PoolReport, default_threads
from tests.fakes.decode_pool import SteppedPool
from tests.fakes.threads import Calls, ManualThreads, kinds, outcomes


def fail_with(error: BaseException) -> object:
    """Raise *error*."""
    raise error


# --- jobs


def test_construction_starts_nothing() -> None:
    """Neither fake threads nor real ones: twistd forks after the construction."""
    threads = ManualThreads()
    DecodePool(Calls(), pool=threads)
    assert threads.threads == []
    before = threading.active_count()
    DecodePool(Calls(), 3)
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [ValueError("bad image"), SystemExit(1), KeyboardInterrupt()])
def test_an_exception_is_delivered_as_a_failure(error: BaseException) -> None:
    """Even an exception that would end a thread."""
    stepped = SteppedPool()
    fired = outcomes(stepped.pool.run(fail_with, error))
    stepped.finish()
    assert fired == [error]


@pytest.mark.parametrize("function", [lambda: "pixels", lambda: fail_with(ValueError("bad"))])
def test_the_seconds_of_a_job_are_reported_before_its_result(
    function: Callable[[], object],
) -> None:
    """Also of a failed job; its wait does not count."""
    stepped = SteppedPool()
    reported: list[object] = []
    stepped.pool.run(function, on_duration=reported.append).addBoth(
        lambda _: reported.append("result")
    )
    stepped.finish()
    assert reported == [2.0, "result"]


def test_a_failing_on_duration_does_not_lose_the_result() -> None:
    """The reactor logs the error."""
    stepped = SteppedPool()
    fired = outcomes(
        stepped.pool.run(lambda: "pixels", on_duration=lambda _: fail_with(KeyError("oops")))
    )
    stepped.threads.step()
    with pytest.raises(KeyError, match="oops"):
        stepped.calls.step()
    assert fired == ["pixels"]


# --- cancelling


def test_a_job_cancelled_before_it_began_never_runs() -> None:
    """Its arguments are freed at once, though the job stays in the queue."""

    class Body:
        pass

    stepped = SteppedPool()
    ran: list[Body] = []
    body = Body()
    alive = weakref.ref(body)
    deferred = stepped.pool.run(ran.append, body)
    del body
    fired = outcomes(deferred)
    deferred.cancel()
    assert kinds(fired) == [CancelledError]
    assert alive() is None
    assert (stepped.pool.waiting, stepped.pool.running) == (0, 0)
    stepped.threads.step()
    stepped.calls.drain()
    assert ran == []
    assert len(fired) == 1


@pytest.mark.parametrize("function", [lambda: "pixels", lambda: fail_with(ValueError("bad"))])
def test_a_job_cancelled_while_it_runs_has_no_result(function: Callable[[], object]) -> None:
    """Its result or failure is dropped, and its seconds are not reported."""
    stepped = SteppedPool()
    reported: list[float] = []

    def work() -> object:
        deferred.cancel()
        return function()

    deferred = stepped.pool.run(work, on_duration=reported.append)
    fired = outcomes(deferred)
    stepped.threads.step()
    assert kinds(fired) == [CancelledError]
    assert stepped.pool.running == 1
    stepped.calls.step()
    assert kinds(fired) == [CancelledError]
    assert reported == []
    assert stepped.pool.running == 0


# --- numbers


def test_jobs_are_counted_by_stage() -> None:
    """A job waits, then runs until its result is delivered, on the reactor thread only."""
    stepped = SteppedPool()
    seen: list[tuple[int, int]] = []

    def work(number: int) -> int:
        seen.append((stepped.pool.waiting, stepped.pool.running))
        return number

    fired = [outcomes(stepped.pool.run(work, number)) for number in range(3)]
    assert (stepped.pool.waiting, stepped.pool.running) == (3, 0)
    stepped.threads.step()
    assert (seen, fired) == ([(2, 1)], [[], [], []])
    assert (stepped.pool.waiting, stepped.pool.running) == (2, 1)
    stepped.calls.step()
    assert (stepped.pool.waiting, stepped.pool.running, fired) == (2, 0, [[0], [], []])


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 2), (64, 63)])
def test_one_core_is_reserved_for_the_reactor(
    cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the cores that this process may use, not of all cores of the machine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert default_threads() == threads
    assert DecodePool(Calls()).threads == threads


# --- start and stop


def test_a_pool_starts_once_and_is_alive_until_its_stop() -> None:
    """While all its threads are alive; before and after, jobs are refused with the reason."""
    threads = ManualThreads()
    pool = DecodePool(Calls(), 1, pool=threads)
    alive = [pool.alive()]
    refused = outcomes(pool.run(lambda: None))
    pool.start()
    for thread_alive in (True, False, True):
        threads.threads[0].alive = thread_alive
        alive.append(pool.alive())
    with pytest.raises(RuntimeError, match="running cannot be started"):
        pool.start()
    pool.stop()
    refused += outcomes(pool.run(lambda: None))
    assert [*alive, pool.alive()] == [False, True, False, True, False]
    assert kinds(refused) == [PoolNotRunning, PoolNotRunning]
    assert [str(error).rpartition(" is ")[2] for error in refused] == ["not started", "stopped"]
    assert not threads.queue
    unused = DecodePool(Calls(), 1, pool=ManualThreads())
    assert outcomes(unused.stop()) == [None]
    with pytest.raises(RuntimeError, match="stopped cannot be started"):
        unused.start()


def test_a_stop_fails_waiting_jobs_and_waits_for_running_ones() -> None:
    """In order of arrival; the threads end when the last result is delivered."""
    stepped = SteppedPool()
    running = outcomes(stepped.pool.run(lambda: "pixels"))
    stepped.threads.step()
    order: list[object] = []

    def note(failure: Failure, number: int) -> None:
        order.append((number, type(failure.value)))

    for number in range(3):
        stepped.pool.run(order.append, "ran").addErrback(note, number)
    stopped, again = outcomes(stepped.pool.stop()), outcomes(stepped.pool.stop())
    assert order == [(number, PoolNotRunning) for number in range(3)]
    assert (running, stopped, again) == ([], [], [])
    assert stepped.threads.alive()
    stepped.calls.step()
    assert (running, stopped, again) == (["pixels"], [None], [None])
    assert not stepped.threads.alive()
    assert len(order) == 3
    assert outcomes(stepped.pool.stop()) == [None]


@pytest.mark.parametrize("cancelled", ["the job", "the wait"])
def test_a_stop_waits_for_a_cancelled_job_that_runs(cancelled: str) -> None:
    """The thread is busy until the job ends; cancelling the wait does not cancel the stop."""
    stepped = SteppedPool()
    job = stepped.pool.run(lambda: "pixels")
    result = outcomes(job)
    stepped.threads.step()
    if cancelled == "the job":
        job.cancel()
    stop = stepped.pool.stop()
    stopped = outcomes(stop)
    if cancelled == "the wait":
        stop.cancel()
    assert kinds(stopped) == ([] if cancelled == "the job" else [CancelledError])
    assert stepped.threads.alive()
    stepped.calls.step()
    assert not stepped.threads.alive()
    if cancelled == "the job":
        assert (kinds(result), stopped) == ([CancelledError], [None])
    else:
        assert (result, kinds(stopped)) == (["pixels"], [CancelledError])


def test_an_errback_may_use_the_pool_during_a_stop() -> None:
    """To cancel another job, run a new one, or stop again."""
    stepped = SteppedPool()
    first, second = stepped.pool.run(lambda: 1), stepped.pool.run(lambda: 2)
    errors: list[object] = []
    cancelled = outcomes(second)
    retried: list[object] = []
    stops: list[list[object]] = []

    def react(failure: Failure) -> None:
        errors.append(type(failure.value))
        second.cancel()
        retried.extend(outcomes(stepped.pool.run(lambda: 3)))
        stops.append(outcomes(stepped.pool.stop()))

    first.addErrback(react)
    stops.append(outcomes(stepped.pool.stop()))
    assert errors == [PoolNotRunning]
    assert kinds(cancelled) == [CancelledError]
    assert kinds(retried) == [PoolNotRunning]
    assert stops == [[None], [None]]


EVENTS = st.sampled_from(["run", "run", "step", "answer", "cancel", "stop"])


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(EVENTS, st.integers(0, 9)), max_size=40))
def test_every_deferred_fires_exactly_once(story: list[tuple[str, int]]) -> None:
    """For any order of events; no job runs twice, and none runs after its refusal."""
    stepped = SteppedPool()
    owned: list[Deferred[None]] = []
    fired: list[list[object]] = []
    ran: list[int] = []
    for event, number in story:
        match event:
            case "run":
                owned.append(stepped.pool.run(ran.append, len(owned)))
                fired.append(outcomes(owned[-1]))
            case "step" if stepped.threads.queue:
                stepped.threads.step()
            case "answer":
                stepped.calls.drain()
            case "cancel" if owned:
                owned[number % len(owned)].cancel()
            case "stop":
                stepped.pool.stop()
    stopped = outcomes(stepped.pool.stop())
    stepped.calls.drain()
    assert stopped == [None]
    assert [len(once) for once in fired] == [1] * len(owned)
    assert (stepped.pool.waiting, stepped.pool.running) == (0, 0)
    assert len(ran) == len(set(ran))
    assert {number for number, once in enumerate(fired) if once == [None]} <= set(ran)
    refused = {number for number, once in enumerate(fired) if kinds(once) == [PoolNotRunning]}
    assert not refused & set(ran)


def test_the_report_shows_which_jobs_hold_the_pool_up() -> None:
    """A job runs until it ends; it waits until a thread begins it, or until it is cancelled."""
    clock, threads, calls = Clock(), ManualThreads(), Calls()
    pool = DecodePool(calls, 1, pool=threads, clock=clock.seconds)
    pool.start()
    seen: list[PoolReport] = []

    def look() -> None:
        clock.advance(2.0)
        seen.append(pool.report())

    assert pool.report() == PoolReport(0, 0, 0.0, 0.0, ended=0)
    pool.run(look)
    clock.advance(1.0)
    oldest = pool.run(look)
    oldest.addErrback(lambda _: None)
    clock.advance(4.0)
    pool.run(look)
    threads.step()
    assert seen == [PoolReport(busy=1, waiting=2, oldest_waiting=6.0, longest_running=2.0, ended=0)]
    assert pool.report() == PoolReport(0, 2, 6.0, 0.0, ended=1)
    oldest.cancel()
    assert pool.report() == PoolReport(0, 1, 2.0, 0.0, ended=1)
    threads.step()
    threads.step()
    assert pool.report() == PoolReport(0, 0, 0.0, 0.0, ended=2)


# --- real threads


def test_real_threads_behave_the_same() -> None:
    """Jobs run on the pool's threads, results fire on the caller's; the stop ends the threads."""
    calls = Calls()
    pool = DecodePool(calls, 2)
    pool.start()
    assert pool.alive()
    both = threading.Barrier(2)

    def meet() -> str:
        both.wait(timeout=30)
        return threading.current_thread().name

    answered: list[str] = []
    names: set[str] = set()
    for _ in range(2):
        deferred = pool.run(meet)
        deferred.addCallback(names.add)
        deferred.addCallback(lambda _: answered.append(threading.current_thread().name))
    failed = outcomes(pool.run(int, "not a number"))
    for _ in range(3):
        calls.step()
    assert len(names) == 2
    assert all("decode" in name for name in names)
    assert answered == [threading.current_thread().name] * 2
    assert kinds(failed) == [ValueError]
    stopped = outcomes(pool.stop())
    assert stopped == [None]
    assert not {thread.name for thread in threading.enumerate()} & names


def test_a_stop_of_real_threads_waits_for_the_running_job() -> None:
    """Without blocking the caller, which ends the job in this test."""
    calls = Calls()
    pool = DecodePool(calls, 1)
    pool.start()
    began, may_end = threading.Event(), threading.Event()

    def work() -> bool:
        began.set()
        return may_end.wait(timeout=30)

    running, queued = outcomes(pool.run(work)), outcomes(pool.run(lambda: "never"))
    assert began.wait(timeout=30)
    stopped = outcomes(pool.stop())
    assert kinds(queued) == [PoolNotRunning]
    assert (running, stopped) == ([], [])
    may_end.set()
    calls.step()
    assert (running, stopped) == ([True], [None])
