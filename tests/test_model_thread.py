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

#: Seconds within which a real thread must end.
MAX_SECONDS = 30.0


def test_nothing_starts_before_start_and_one_thread_then() -> None:
    """The thread has the given name, and counts as alive from the start."""
    stepped = SteppedThread("model-3")
    assert (stepped.started, stepped.thread.alive) == ([], False)
    stepped.thread.start()
    assert (stepped.started, stepped.thread.alive) == (["model-3"], True)


def test_a_call_runs_on_the_model_thread_and_fires_on_the_reactor() -> None:
    """`call` runs nothing, the run fires nothing, and the reactor delivers the result."""
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


def test_a_call_yields_the_cpu_to_the_model_thread() -> None:
    """The thread may begin before the caller waits; a call after the stop does not yield."""
    stepped = started_thread()
    stepped.thread.call(lambda: None)
    stepped.thread.call(lambda: None)
    assert stepped.yields == [1, 2]
    stepped.thread.stop()
    stepped.thread.call(lambda: None).addErrback(lambda _: None)
    assert stepped.yields == [1, 2]


def test_calls_run_and_fire_in_their_order() -> None:
    """Also with several steps before a delivery."""
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
def test_an_exception_fails_its_call_and_the_thread_continues(error: BaseException) -> None:
    """Even one that would end a program."""
    stepped = started_thread()

    def fail() -> None:
        raise error

    failing = outcomes(stepped.thread.call(fail))
    following = outcomes(stepped.thread.call(lambda: "still here"))
    assert stepped.run_all() == 2
    assert (failing, following) == ([error], ["still here"])


def test_a_cancelled_call_fails_at_once_and_its_late_result_is_dropped() -> None:
    """The model thread finishes the run, and its result is dropped."""
    stepped = started_thread()
    ran: list[str] = []
    answer = stepped.thread.call(lambda: ran.append("work"))
    fired = outcomes(answer)
    answer.cancel()
    assert kinds(fired) == [CancelledError]
    assert stepped.run_all() == 1
    assert (ran, kinds(fired)) == (["work"], [CancelledError])


def test_stop_lets_earlier_calls_finish_and_refuses_later_ones() -> None:
    """The stop fires when the loop of the thread has ended, not before."""
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
    """Both Deferreds fire, and the queue gets one sentinel."""
    stepped = started_thread()
    first, second = outcomes(stepped.thread.stop()), outcomes(stepped.thread.stop())
    assert list(stepped.queue.jobs) == [Sentinel.STOP]
    assert stepped.run_all() == 1
    assert (first, second) == ([None], [None])


def test_a_thread_that_was_never_started_refuses_calls_and_stops_at_once() -> None:
    """No thread would ever take calls from the queue."""
    stepped = SteppedThread()
    assert kinds(outcomes(stepped.thread.call(lambda: None))) == [ThreadStopped]
    assert outcomes(stepped.thread.stop()) == [None]
    assert not stepped.queue.jobs


def test_the_heartbeat_is_renewed_when_a_call_begins_and_when_it_ends() -> None:
    """So a run that hangs shows as a heartbeat from the begin of its call."""
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


def test_a_ping_renews_the_heartbeat_of_an_idle_thread() -> None:
    """A ping before the start or after the stop does nothing."""
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
def test_a_queue_returns_jobs_in_their_order(make: Callable[[], JobQueue]) -> None:
    """The fake queue and the real one behave alike."""
    jobs = make()
    first, second = Job(lambda: 1, Deferred()), Job(lambda: 2, Deferred())
    for job in (first, Sentinel.STOP, second):
        jobs.put(job)
    assert [jobs.get() for _ in range(3)] == [first, Sentinel.STOP, second]


def test_a_real_thread_runs_its_calls_and_ends() -> None:
    """As a daemon with its own name; the results are delivered on the thread of the test."""
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
    thread.join(MAX_SECONDS)
    assert not thread.is_alive()
