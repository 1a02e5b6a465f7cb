"""Model threads: one call after the other, stepped by hand and once for real."""

import queue
import threading
from collections.abc import Callable
from functools import partial

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from model.execution.thread import (
    Job,
    JobQueue,
    ModelThread,
    Sentinel,
    ThreadStopped,
    start_daemon_thread,
)
from tests.fakes.model import SteppedThread, SteppingQueue, started_thread
from tests.fakes.threads import Calls, kinds, outcomes

#: How long a real thread may take, in seconds; none should come near.
PATIENCE = 30.0


def test_nothing_starts_before_start_and_one_thread_then() -> None:
    """It has the name that it was given, and the thread counts as alive from there."""
    stepped = SteppedThread("model-3")
    assert (stepped.started, stepped.thread.alive) == ([], False)
    stepped.thread.start()
    assert (stepped.started, stepped.thread.alive) == (["model-3"], True)


def test_a_call_runs_on_the_model_thread_and_answers_on_the_reactor() -> None:
    """Submitting runs nothing, running answers nothing, and the reactor delivers."""
    stepped = started_thread()
    ran: list[str] = []

    def work() -> int:
        ran.append("work")
        return 42

    answer = outcomes(stepped.thread.call(work))
    assert (ran, answer) == ([], [])
    assert stepped.step()
    assert (ran, answer) == (["work"], [])
    stepped.calls.drain()
    assert (ran, answer) == (["work"], [42])


def test_a_caller_gives_way_to_the_thread_once_its_call_is_there() -> None:
    """The thread may begin at once, not when the caller next waits; one that ended never does."""
    stepped = started_thread()
    stepped.thread.call(lambda: None)
    stepped.thread.call(lambda: None)
    assert stepped.yields == [1, 2]
    stepped.thread.stop()
    stepped.thread.call(lambda: None).addErrback(lambda _: None)
    assert stepped.yields == [1, 2]


def test_calls_run_and_answer_in_the_order_they_came() -> None:
    """Several steps before a delivery change nothing."""
    stepped = started_thread()
    ran: list[int] = []
    answered: list[int] = []
    for number in range(4):
        answer = stepped.thread.call(partial(ran.append, number))
        answer.addCallback(lambda _, which: answered.append(which), number)
    for _ in range(4):
        assert stepped.step()
    assert (ran, answered) == ([0, 1, 2, 3], [])
    stepped.calls.drain()
    assert answered == [0, 1, 2, 3]


@pytest.mark.parametrize("error", [ValueError("bad row"), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_is_the_callers_and_the_thread_goes_on(error: BaseException) -> None:
    """Even one that would end a program."""
    stepped = started_thread()

    def fail() -> None:
        raise error

    failing = outcomes(stepped.thread.call(fail))
    following = outcomes(stepped.thread.call(lambda: "still here"))
    assert stepped.run_all() == 2
    assert (failing, following) == ([error], ["still here"])


def test_a_cancelled_call_fails_at_once_and_its_late_result_is_dropped() -> None:
    """The model thread cannot be stopped in a run, but nobody waits for it."""
    stepped = started_thread()
    ran: list[str] = []
    answer = stepped.thread.call(lambda: ran.append("work"))
    fired = outcomes(answer)
    answer.cancel()
    assert kinds(fired) == [CancelledError]
    assert stepped.run_all() == 1
    assert (ran, kinds(fired)) == (["work"], [CancelledError])


def test_stop_lets_earlier_calls_finish_and_refuses_later_ones() -> None:
    """It fires when the thread has left its loop, not before."""
    stepped = started_thread("model-7")
    earlier = outcomes(stepped.thread.call(lambda: "done"))
    stopped = outcomes(stepped.thread.stop())
    (refusal,) = outcomes(stepped.thread.call(lambda: "never"))
    assert isinstance(refusal, ThreadStopped)
    assert str(refusal) == "the model thread model-7 has stopped"
    assert stepped.step()
    stepped.calls.drain()
    assert (earlier, stopped) == (["done"], [])
    assert not stepped.step()
    assert (stopped, stepped.thread.alive) == ([], True)
    stepped.calls.drain()
    assert (stopped, stepped.thread.alive) == ([None], False)


def test_stopping_twice_is_stopping_once() -> None:
    """Both callers hear of it, and the queue gets one end."""
    stepped = started_thread()
    first, second = outcomes(stepped.thread.stop()), outcomes(stepped.thread.stop())
    assert list(stepped.queue.jobs) == [Sentinel.STOP]
    assert stepped.run_all() == 1
    assert (first, second) == ([None], [None])


def test_a_thread_that_was_never_started_refuses_calls_and_stops_at_once() -> None:
    """Nothing would ever take them from the queue."""
    stepped = SteppedThread()
    assert kinds(outcomes(stepped.thread.call(lambda: None))) == [ThreadStopped]
    assert outcomes(stepped.thread.stop()) == [None]
    assert not stepped.queue.jobs


def test_the_heart_beats_when_a_call_is_taken_and_when_it_is_done() -> None:
    """So a run that hangs shows as a heart that stopped when it was taken."""
    clock = Clock()
    stepped = started_thread(seconds=clock.seconds)
    during: list[float] = []

    def work() -> None:
        during.append(stepped.thread.last_heartbeat)
        clock.advance(4)

    assert stepped.thread.last_heartbeat == 0
    stepped.thread.call(work)
    clock.advance(2)
    assert stepped.thread.last_heartbeat == 0
    stepped.run_all()
    assert during == [2]
    assert stepped.thread.last_heartbeat == 6


def test_a_ping_makes_an_idle_heart_beat() -> None:
    """And is nothing to a thread that is not there, or about to go."""
    clock = Clock()
    stepped = SteppedThread(seconds=clock.seconds)
    stepped.thread.ping()
    assert not stepped.queue.jobs
    stepped.thread.start()
    clock.advance(8)
    stepped.thread.ping()
    stepped.run_all()
    assert stepped.thread.last_heartbeat == 8
    stepped.thread.stop()
    stepped.thread.ping()
    assert list(stepped.queue.jobs) == [Sentinel.STOP]


@pytest.mark.parametrize("make", [SteppingQueue, queue.SimpleQueue])
def test_jobs_leave_a_queue_in_the_order_they_came(make: Callable[[], JobQueue]) -> None:
    """The fake queue and the real one alike."""
    jobs = make()
    first, second = Job(lambda: 1, Deferred()), Job(lambda: 2, Deferred())
    for job in (first, Sentinel.STOP, second):
        jobs.put(job)
    assert [jobs.get() for _ in range(3)] == [first, Sentinel.STOP, second]


def test_a_real_thread_works_off_its_calls_and_ends() -> None:
    """Under its own name, as a daemon, and every answer waits for the thread of the test."""
    calls = Calls()
    threads: list[threading.Thread] = []

    def start(target: Callable[[], None], name: str) -> None:
        threads.append(start_daemon_thread(target, name))

    model_thread = ModelThread(
        "model-0",
        queue.SimpleQueue(),
        call_from_thread=calls,
        seconds=lambda: 0.0,
        start_thread=start,
    )
    model_thread.start()
    name = outcomes(model_thread.call(lambda: threading.current_thread().name))
    failed = outcomes(model_thread.call(lambda: 1 // 0))
    stopped = outcomes(model_thread.stop())
    for _ in range(3):
        calls.step()
    assert (name, kinds(failed), stopped) == (["model-0"], [ZeroDivisionError], [None])
    (thread,) = threads
    assert thread.daemon
    thread.join(PATIENCE)
    assert not thread.is_alive()
