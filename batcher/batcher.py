"""
The shell around the decisions: takes requests, runs batches on lanes, answers.

The one module here with state and time.  Everything happens on the reactor thread; the clock is
given.  Whatever happens is first noted (a ticket pushed, closed, answered), then a turn is taken:
expire, decide, launch, set the one timer, and only then fire the Deferreds, so that the lanes
never stand idle while callbacks run.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Generic, cast

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from batcher.batch import Batch, Retries
from batcher.errors import (
    BatcherError,
    DeadlineExceeded,
    OutOfMemory,
    QueueFull,
    ResultCountMismatch,
    RunFailed,
    ShuttingDown,
    Stage,
)
from batcher.executor import Executor, Item, Result
from batcher.pending import Pending, ProfileQueue, Ticket
from batcher.policy import IDLE, Decision, LaneView, Launch, Policy, WaitUntil
from batcher.priority import Priority
from batcher.profile import Profile
from batcher.stats import BatcherReport, BatcherStats, State, Totals
from batcher.trace import Reason, Run, Trace


@dataclass(slots=True, eq=False)
class _Flight(Generic[Item, Result]):
    """A batch on its lane."""

    executor: Executor[Item, Result]
    batch: Batch[Item, Result]
    run: Run
    started: float


class Batcher(Generic[Item, Result]):
    """
    Rides many requests together through few runs, and hands each its own answer.

    *executors* are the lanes, one run at a time each; *policy* decides when and how many.  *join*
    makes one result of the parts of a request that was split, in the order of its rows.

    The clock may be set back, as a reactor's may: no duration is ever negative.

    Every method is called on the reactor thread; every Deferred fires there, exactly once.
    Callbacks may call any method.  Raises ValueError without executors.
    """

    def __init__(
        self,
        clock: IReactorTime,
        executors: Sequence[Executor[Item, Result]],
        policy: Policy,
        *,
        join: Callable[[Sequence[Result]], Result],
    ) -> None:
        if not executors:
            raise ValueError("a batcher without executors would never answer")
        self._clock = clock
        self._policy = policy
        self._join = join
        self._lanes = len(executors)
        # A stack: the lane that ran last has the warmest caches, and the first goes first.
        self._idle = list(reversed(executors))
        # In order of launch, which a set would not keep.
        self._flights: dict[_Flight[Item, Result], None] = {}
        self._pending: Pending[Item, Result] = Pending()
        self._retries: Retries[Item, Result] = Retries()
        self._outbox: deque[Ticket[Item, Result]] = deque()
        self._drains: list[Deferred[None]] = []
        self._totals = Totals()
        self._state = State.RUNNING
        self._number = 0
        self._turning = False
        self._answering = False
        self._decided_wake = inf  #: when the policy wants to be asked again
        self._timer: IDelayedCall | None = None
        self._timer_at = inf

    # What callers ask.

    def submit(
        self,
        item: Item,
        rows: int,
        profile: Profile,
        *,
        deadline: float = inf,
        priority: Priority = Priority.NORMAL,
        source: Hashable | None = None,
        trace: Trace | None = None,
    ) -> Deferred[Result]:
        """
        Queue the *rows* rows of *item* and return a Deferred of their result.

        Only items of the same *profile* share a run.  *deadline* is a time of the clock: the last
        moment for the answer, and too late for a launch.  *source* tells who sends one request
        after the other, such as a connection.  *trace*, a new one, is kept up to date.
        Cancelling drops the item if it has not been launched, else its result.

        The Deferred errbacks with `QueueFull`, `DeadlineExceeded`, `ShuttingDown`, `RunFailed`,
        `ResultCountMismatch` or, when cancelled, CancelledError.  Raises ValueError for rows < 1.
        """
        if rows < 1:
            raise ValueError(f"{rows} rows cannot be run")
        now = self._clock.seconds()
        refusal = self._refusal(now, rows, profile, deadline)
        if refusal is not None:
            return fail(refusal)
        self._number += 1
        ticket: Ticket[Item, Result] = Ticket(
            self._number, item, rows, profile, now, deadline, trace
        )
        answer = ticket.answer = Deferred(partial(self._cancel, ticket))
        self._pending.push(ticket)
        self._turn()
        return answer

    def admit(
        self,
        profile: Profile,
        *,
        deadline: float,
        priority: Priority = Priority.NORMAL,
        ahead: int = 0,
    ) -> None:
        """
        Raise `Overloaded` where a row of *profile* that came now would miss its *deadline*.

        Asked before a request costs anything.  *ahead* are the rows that were admitted and have
        not been submitted yet.
        """

    @property
    def hung(self) -> bool:
        """Whether a run has taken so long that its lane is given up."""
        return False

    def report(self) -> BatcherReport:
        """Return what there is to know of why batches leave as they do."""
        return BatcherReport(self.stats(), "", (), ())

    def drain(self) -> Deferred[None]:
        """
        Refuse new requests, flush those that wait, and fire when all are answered and lanes idle.

        May be called again, even when stopped: each Deferred fires once, and may be cancelled.
        """
        drained: Deferred[None] = Deferred(self._drains.remove)
        self._drains.append(drained)
        if self._state is State.RUNNING:
            self._state = State.DRAINING
        self._turn()
        return drained

    def abort(self) -> None:
        """
        Stop at once: every request, waiting or running, fails with `ShuttingDown`.

        Runs are left to end by themselves and their results are dropped; drains fire at once.
        """
        self._state = State.STOPPED
        tickets = [part.ticket for flight in self._flights for part in flight.batch.wanted]
        tickets += self._retries.tickets
        tickets += [ticket for queue in self._pending.by_age() for ticket in queue.tickets]
        for ticket in sorted(tickets, key=lambda ticket: ticket.number):
            self._close(ticket, ShuttingDown())
        self._turn()

    def stats(self) -> BatcherStats:
        """Return this moment's numbers."""
        return BatcherStats(
            state=self._state,
            waiting=self._pending.rows,
            retrying=self._retries.rows,
            lanes=self._lanes,
            running=len(self._flights),
            totals=replace(self._totals),
        )

    # A request comes, and goes.

    def _refusal(
        self, now: float, rows: int, profile: Profile, deadline: float
    ) -> BatcherError | None:
        """Return why a request cannot be taken in, and count it."""
        if self._state is not State.RUNNING:
            self._totals.refused += rows
            return ShuttingDown()
        if deadline <= now:
            self._totals.expired += rows
            return DeadlineExceeded(now - deadline, "submit")
        waiting = self._pending.rows_of(profile)
        if waiting + rows > profile.max_queued_rows:
            self._totals.refused += rows
            return QueueFull(rows, waiting, profile.max_queued_rows)
        return None

    def _cancel(self, ticket: Ticket[Item, Result], answer: Deferred[Result]) -> None:
        """Forget *ticket*, whose *answer* its owner no longer wants; called by that Deferred."""
        self._leave(ticket)
        ticket.answer = None
        self._totals.cancelled += ticket.rows
        # Here rather than in Deferred.cancel, so that a drain fires after its last request.
        answer.errback(CancelledError())
        self._turn()

    def _close(self, ticket: Ticket[Item, Result], error: BatcherError | None = None) -> None:
        """End *ticket*, with its results or *error*; it is told at the end of the turn."""
        if ticket.open:
            self._leave(ticket)
            ticket.error = error
            self._outbox.append(ticket)

    def _expire(self, tickets: Iterable[Ticket[Item, Result]], now: float, stage: Stage) -> None:
        for ticket in tickets:
            self._close(ticket, DeadlineExceeded(now - ticket.deadline, stage))

    def _leave(self, ticket: Ticket[Item, Result]) -> None:
        """Let nothing more of *ticket* be launched."""
        ticket.open = False
        self._pending.remove(ticket)
        ticket.note_wait(self._clock.seconds())

    # A turn: decide and launch, set the timer, answer.

    def _turn(self) -> None:
        """
        Bring everything up to date after a change.

        An executor may call back while a turn launches, and an owner while a turn answers: the
        former is seen by the turn under way, the latter gets a turn, and the answers stay in order
        because only the outermost one delivers them.
        """
        if self._turning:
            return
        self._turning = True
        try:
            while self._launch_next():
                pass
            self._set_timer()
        finally:
            self._turning = False
        if not self._answering:
            self._answering = True
            try:
                self._answer()
            finally:
                self._answering = False

    def _launch_next(self) -> bool:
        """Launch one batch if there is a lane for it and a reason; return whether it was."""
        now = self._clock.seconds()
        self._expire(self._pending.expired(now), now, "queue")
        if self._retries:
            late = [ticket for ticket in self._retries.tickets if ticket.deadline <= now]
            self._expire(late, now, "queue")
        self._decided_wake = inf
        if not self._idle:
            return False
        retry = self._retries.pop()
        if retry is not None:
            self._launch(retry, "retry", now)
            return True
        for queue in self._pending.by_age():
            decision = self._decide(queue, now)
            if isinstance(decision, Launch):
                profile = queue.profile
                rows = min(max(1, decision.rows), profile.cap)
                parts = self._pending.take(profile, rows)
                self._launch(Batch(parts), decision.reason, now)
                return True
            if isinstance(decision, WaitUntil):
                self._decided_wake = min(self._decided_wake, decision.time)
        return False

    def _decide(self, queue: ProfileQueue[Item, Result], now: float) -> Decision:
        """Ask the policy; if it raises, whoever it was to decide about is told."""
        view = queue.view(draining=self._state is not State.RUNNING)
        lanes = LaneView(len(self._idle), self._lanes, queue.profile.cap)
        try:
            return self._policy.decide(now, view, lanes)
        except Exception as error:  # noqa: BLE001 - a faulty policy must leave nobody waiting
            for ticket in queue.tickets:
                self._close(ticket, RunFailed(error))
            return IDLE

    def _launch(self, batch: Batch[Item, Result], reason: Reason, now: float) -> None:
        """Run *batch* on an idle lane; everything is noted before the executor can call back."""
        executor = self._idle.pop()
        run = Run(batch.rows, batch.profile.cap, reason)
        flight = _Flight(executor, batch, run, now)
        self._flights[flight] = None
        self._totals.runs += 1
        self._totals.run_rows += batch.rows
        for part in batch.parts:
            part.ticket.note_wait(now)
            if part.ticket.trace is not None:
                part.ticket.trace.runs.append(run)
        running = maybeDeferred(executor.run, batch.parts)
        running.addCallbacks(
            self._succeeded, self._failed, callbackArgs=(flight,), errbackArgs=(flight,)
        )

    def _set_timer(self) -> None:
        """See that the one timer rings no later than something is due."""
        due = min(self._decided_wake, self._pending.deadline(), self._retries.deadline())
        if due == inf:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_at = None, inf
        elif due < self._timer_at:
            delay = max(0.0, due - self._clock.seconds())
            if self._timer is None:
                self._timer = self._clock.callLater(delay, self._ring)
            else:
                self._timer.reset(delay)
            self._timer_at = due
        # Else it rings too early and is set again then: cheaper than setting it at every submit.

    def _ring(self) -> None:
        self._timer, self._timer_at = None, inf
        self._turn()

    def _answer(self) -> None:
        """Fire what has ended, in order, and then the drains if nothing is left to wait for."""
        while self._outbox:
            self._deliver(self._outbox.popleft())
        # What is to be run again keeps a lane busy, or was dropped by this turn.
        if self._state is State.DRAINING and not (self._pending.rows or self._flights):
            self._state = State.STOPPED
        while self._state is State.STOPPED and self._drains:
            self._drains.pop(0).callback(None)

    def _deliver(self, ticket: Ticket[Item, Result]) -> None:
        answer, ticket.answer = ticket.answer, None
        if answer is None:
            return  # cancelled by a callback of this very turn
        if ticket.error is None:
            try:
                result = ticket.joined(self._join)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's
                ticket.error = RunFailed(error)
            else:
                self._totals.answered += ticket.rows
                answer.callback(result)
                return
        if isinstance(ticket.error, DeadlineExceeded):
            self._totals.expired += ticket.rows
        else:
            self._totals.failed += ticket.rows
        answer.errback(ticket.error)

    # A run ends.

    def _succeeded(self, results: Sequence[Result], flight: _Flight[Item, Result]) -> None:
        """Learn and scatter; the turn launches the next run before anyone is answered."""
        batch = flight.batch
        now, taken = self._land(flight)
        try:
            tickets = batch.scatter(results)
        except ResultCountMismatch as error:
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 - an executor may return anything
            self._fail(batch, RunFailed(error))
        else:
            batch.profile.latency.observe(batch.rows, taken)
            self._expire([ticket for ticket in tickets if ticket.deadline < now], now, "answer")
            for ticket in tickets:
                if not ticket.missing:
                    self._close(ticket)
        self._turn()

    def _failed(self, failure: Failure, flight: _Flight[Item, Result]) -> None:
        """Run again in smaller batches, or fail those who cannot be helped."""
        self._land(flight)
        batch, error = flight.batch, cast("BaseException", failure.value)
        if isinstance(error, (ResultCountMismatch, ShuttingDown)):
            self._fail(batch, error)
        elif isinstance(error, OutOfMemory) and batch.rows > 1:
            # Halved by rows: what is run again is cut to the cap when it is launched.
            profile = batch.profile
            profile.cap = min(profile.cap, (batch.rows + 1) // 2)
            self._retries.push(batch)
        elif len(batch.parts) == 1:
            self._fail(batch, RunFailed(error))
        else:
            for half in batch.halves():
                self._retries.push(half)
        self._turn()

    def _land(self, flight: _Flight[Item, Result]) -> tuple[float, float]:
        """Free the lane of *flight*; return the time, and how long the run took."""
        now = self._clock.seconds()
        del self._flights[flight]
        self._idle.append(flight.executor)
        taken = flight.run.seconds = max(0.0, now - flight.started)
        return now, taken

    def _fail(self, batch: Batch[Item, Result], error: BatcherError) -> None:
        for part in batch.parts:
            self._close(part.ticket, error)
