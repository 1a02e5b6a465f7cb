"""
Decode images on dedicated threads.

Decides which job begins next, how its result reaches the reactor thread, and what a stop does with
the jobs that wait.  The models take turns by the time that their jobs take.  The reactor's own pool
is not used: it resolves names and reads files, which must not wait behind images.  A job may be any
function; this module may not import Pillow, numpy or the reactor.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from math import ceil
from typing import Protocol, TypeVar, TypeVarTuple, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from batcher.error_kind import ErrorKind, RequestError
from batcher.share import Account, Share
from model.execution.cores import usable_cores

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


#: The share of jobs that belong to no model.
NO_SHARE = Share("")


class PoolNotRunning(RequestError):
    """The job did not begin: the pool has not started, is stopping or has stopped."""

    kind = ErrorKind.UNAVAILABLE
    retry_after = 0.0


class PoolThread(Protocol):
    """A thread of the pool, as the health check sees it."""

    def is_alive(self) -> bool:
        """Return whether the thread is running."""


class Threads(Protocol):
    """The part of Twisted's ThreadPool that is used here."""

    @property
    def threads(self) -> Sequence[PoolThread]:
        """The threads that were started."""

    def start(self) -> None:
        """Start the threads."""

    def stop(self) -> None:
        """End the threads; block until they have ended."""

    def callInThread(self, func: Callable[[], object]) -> None:
        """Call *func* on the next thread that is free."""


def default_threads() -> int:
    """Return the number of decode threads: the usable cores minus 1, but at least 1."""
    return max(1, usable_cores() - 1)


class _State(Enum):
    """The states of the pool, in this order; a stop before the start leads from NEW to STOPPED."""

    NEW = "not started"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(eq=False, slots=True)
class _Line:
    """The jobs of one share."""

    share: Share
    waiting: "dict[_Job, None]" = field(default_factory=dict)  #: the oldest first
    running: int = 0  #: jobs that run, or whose result has not reached the reactor thread yet
    turn: int = 0  #: the number of its last turn


@dataclass(eq=False, slots=True)
class _Job:
    line: _Line
    call: Callable[[], object]
    deferred: Deferred[object]
    on_duration: Callable[[float], object] | None
    queued: float  #: when it began to wait
    began: float = 0.0  #: when a thread began it


@dataclass(frozen=True, slots=True)
class PoolReport:
    """The state of a decode pool at one time; ages are seconds, and 0.0 if there is no such job."""

    busy: int  #: threads that run a job
    waiting: int  #: jobs
    oldest_waiting: float  #: the age of the job that has waited longest
    longest_running: float  #: the age of the job that has run longest
    ended: int  #: jobs that have run since the start, failed or not


class DecodePool:
    """
    Threads for decoding, and a Deferred for each job.

    The constructor starts no thread.  Call all methods on the reactor thread; every Deferred fires
    there, exactly once.
    """

    def __init__(
        self,
        call_from_thread: Callable[..., object],
        threads: int | None = None,
        *,
        pool: Threads | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        *call_from_thread* is the reactor's ``callFromThread``; *threads* is the number of decode
        threads, `default_threads()` by default; *pool*, if given, must have that number of threads;
        *clock* returns seconds, and is called on any thread.
        """
        self.threads = default_threads() if threads is None else threads
        self._pool = pool or ThreadPool(self.threads, self.threads, name="decode")
        self._call_from_thread = call_from_thread
        self._clock = clock
        self._state = _State.NEW
        # Guards the lines, the charges, _least, _turn, _busy and _ended.
        self._lock = threading.Lock()
        self._busy: dict[_Job, None] = {}  # the jobs that run on a thread, in order of their begin
        self._ended = 0
        self._lines: dict[Share, _Line] = {}
        # The seconds of the jobs of each account, divided by its weight.
        self._charged: dict[Account, float] = {}
        # The charge of the account that had the last turn: no account begins a job with less.
        self._least = 0.0
        self._turn = 0  # the number of the last turn
        self._stops: list[Deferred[None]] = []

    @property
    def running(self) -> int:
        """The number of jobs that run, or whose result has not reached the reactor thread yet."""
        return sum(line.running for line in self._lines.values())

    @property
    def waiting(self) -> int:
        """The number of jobs that wait for a thread."""
        return sum(len(line.waiting) for line in self._lines.values())

    @property
    def pending(self) -> int:
        """The number of jobs that wait or run; a job cancelled in its run counts until it ends."""
        return self.waiting + self.running

    def pending_of(self, share: Share) -> int:
        """Return the number of jobs of *share* that wait or run, counted as in `pending`."""
        line = self._lines.get(share)
        return len(line.waiting) + line.running if line is not None else 0

    def pending_before(self, share: Share) -> int:
        """
        Return the expected number of pending jobs that begin before a new job of *share*.

        These are the jobs that run, the jobs of *share*, and of every other share as many as its
        turns allow, if all jobs take the same time.
        """
        line = self._lines.get(share)
        before = own = len(line.waiting) if line is not None else 0
        others: dict[Account, int] = {}  # the waiting jobs of each other account
        for each in self._lines.values():
            account, waiting = each.share.account, len(each.waiting)
            if account is not share.account:
                others[account] = others.get(account, 0) + waiting
            elif each is not line:
                before += min(waiting, own + 1)
        turns = (before + 1) / share.account.weight
        before += sum(min(jobs, ceil(turns * it.weight)) for it, jobs in others.items())
        return before + self.running

    def report(self) -> PoolReport:
        """Return the state of the pool; waits for no job."""
        with self._lock:
            now = self._clock()
            first = [next(iter(it.waiting)).queued for it in self._lines.values() if it.waiting]
            began = [job.began for job in self._busy]
            return PoolReport(
                busy=len(began),
                waiting=self.waiting,
                oldest_waiting=now - min(first, default=now),
                longest_running=now - min(began, default=now),
                ended=self._ended,
            )

    def alive(self) -> bool:
        """Return whether the pool accepts jobs, and all its threads are alive."""
        return self._state is _State.RUNNING and all(
            thread.is_alive() for thread in self._pool.threads
        )

    def start(self) -> None:
        """Start the threads.  Raises RuntimeError after an earlier start or stop."""
        if self._state is not _State.NEW:
            raise RuntimeError(f"a decode pool that is {self._state.value} cannot be started")
        self._state = _State.RUNNING
        self._pool.start()

    def run(
        self,
        function: Callable[[*Ts], T],
        *args: *Ts,
        share: Share = NO_SHARE,
        on_duration: Callable[[float], object] | None = None,
    ) -> Deferred[T]:
        """
        Call *function* with *args* on a decode thread; fire with its result or its error.

        The jobs of each *share* begin in order; the accounts of the shares take turns, and so do
        the shares of one account.  *on_duration* is called just before the Deferred fires, with the
        seconds spent in *function*.  A job that is cancelled before it has begun never runs.  A job
        that is cancelled later runs to its end; its result is dropped, and *on_duration* is not
        called.  The Deferred fails with `PoolNotRunning` before `start` and after `stop`.
        """
        if self._state is not _State.RUNNING:
            return fail(PoolNotRunning(f"the decode pool is {self._state.value}"))

        def cancel(_: Deferred[object]) -> None:
            self._withdraw(job)

        line = self._lines.get(share) or self._new_line(share)
        job = _Job(line, partial(function, *args), Deferred(cancel), on_duration, self._clock())
        with self._lock:
            line.waiting[job] = None
        self._pool.callInThread(self._run_next)
        return cast("Deferred[T]", job.deferred)

    def _new_line(self, share: Share) -> _Line:
        """Add a line for *share*; drop idle lines, and charges that make no difference."""
        with self._lock:
            self._lines = {
                each: line for each, line in self._lines.items() if line.waiting or line.running
            }
            running = {line.share.account for line in self._lines.values() if line.running}
            self._charged = {
                each: charge
                for each, charge in self._charged.items()
                if charge > self._least or each in running
            }
            self._lines[share] = line = _Line(share)
            return line

    def stop(self) -> Deferred[None]:
        """
        End the threads after the jobs that run; the jobs that wait fail with `PoolNotRunning`.

        The Deferred fires when the threads have ended; cancelling it does not cancel the stop.  The
        reactor thread is blocked only while idle threads end.  May be called at any time, and more
        than once.
        """
        if self._state is _State.NEW:
            self._state = _State.STOPPED
        if self._state is _State.STOPPED:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stops.append(stopped)
        if self._state is _State.RUNNING:
            self._state = _State.STOPPING
            for job in [job for line in self._lines.values() for job in tuple(line.waiting)]:
                if self._withdraw(job):
                    refusal = PoolNotRunning("the decode pool was stopped before the job began")
                    job.deferred.errback(refusal)
            self._stop_if_idle()
        return stopped

    def _withdraw(self, job: _Job) -> bool:
        """Withdraw *job* unless it has begun; return whether it was withdrawn."""
        with self._lock:
            if job not in job.line.waiting:
                return False
            del job.line.waiting[job]
        return True

    def _next_job(self) -> _Job | None:
        """Remove and return the job that begins next; None if no job waits any more."""
        with self._lock:
            lines = [line for line in self._lines.values() if line.waiting]
            if not lines:
                return None
            line = min(lines, key=lambda line: (self._charge_of(line.share.account), line.turn))
            account = line.share.account
            self._charged[account] = self._least = self._charge_of(account)
            line.turn = self._turn = self._turn + 1
            job = next(iter(line.waiting))
            del line.waiting[job]
            line.running += 1
            job.began = self._clock()
            self._busy[job] = None
            return job

    def _charge_of(self, account: Account) -> float:
        """
        Return the charge of *account*.

        An account without jobs at its turn does not make up for that turn later.
        """
        return max(self._charged.get(account, 0.0), self._least)

    def _run_next(self) -> None:
        """Run the job whose turn it is, if there is one.  Called on a decode thread."""
        job = self._next_job()
        if job is None:
            return
        try:
            result = job.call()
        except BaseException:  # noqa: BLE001 - the Deferred must fire after any error
            result = Failure()
        seconds = self._clock() - job.began
        with self._lock:
            del self._busy[job]
            self._ended += 1
            account = job.line.share.account
            # From where its turn began: it does not pay for the turns of others since then.
            self._charged[account] = self._charged.get(account, self._least) + (
                seconds / account.weight
            )
        self._call_from_thread(self._deliver, job, result, seconds)

    def _deliver(self, job: _Job, result: object, seconds: float) -> None:
        """Fire the Deferred of *job*, unless it was cancelled while the job ran."""
        with self._lock:
            job.line.running -= 1
        try:
            if not job.deferred.called:
                self._fire(job, result, seconds)
        finally:
            self._stop_if_idle()

    @staticmethod
    def _fire(job: _Job, result: object, seconds: float) -> None:
        try:
            if job.on_duration is not None:
                job.on_duration(seconds)
        finally:
            job.deferred.callback(result)  # a Failure starts the errbacks

    def _stop_if_idle(self) -> None:
        if self._state is _State.STOPPING and not self.pending:
            self._state = _State.STOPPED
            self._pool.stop()
            stops, self._stops = self._stops, []
            for stopped in stops:
                stopped.callback(None)
