"""
The shell around the decisions: takes requests, runs batches on lanes, answers.

The one module here that acts by itself: the parts that it is made of keep count of who waits, what
runs and who is to be told, and are told the time.  Everything happens on the reactor thread; the
clock is given.  Whatever happens is first noted (a ticket pushed, closed, answered), then a turn is
taken: expire, decide, launch, set the one timer, then fire the Deferreds, and last learn, so that
the lanes never stand idle while callbacks run or averages are fitted.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Generic, cast

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from batcher.admission import Door
from batcher.batch import Batch, Retries
from batcher.completions import Outbox
from batcher.errors import (
    BatcherError,
    DeadlineExceeded,
    OutOfMemory,
    ResultCountMismatch,
    RunFailed,
    RunHung,
    ShuttingDown,
    Stage,
)
from batcher.executor import Executor, Item, Result
from batcher.lanes import Departure, Flight, Flights
from batcher.pending import Pending, ProfileQueue, Ticket
from batcher.policy import IDLE, Decision, LaneView, Launch, Policy, WaitUntil
from batcher.priority import Priority
from batcher.profile import Profile
from batcher.report import Logbook
from batcher.stats import BatcherReport, BatcherStats, State, Totals
from batcher.timer import Wake
from batcher.trace import Reason, Run, Trace
from batcher.waits import Waits


class Batcher(Generic[Item, Result]):
    """
    Rides many requests together through few runs, and hands each its own answer.

    *executors* are the lanes, one run at a time each; *policy* decides when and how many.  *join*
    makes one result of the parts of a request that was split, in the order of its rows.  A run that
    takes longer than *run_timeout* seconds, and 10 times as long as expected, is given up, and its
    lane until it ends after all; by default none is.

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
        run_timeout: float = inf,
    ) -> None:
        if not executors:
            raise ValueError("a batcher without executors would never answer")
        self._clock = clock
        self._policy = policy
        self._flights: Flights[Item, Result] = Flights(executors, run_timeout, clock.seconds())
        self._pending: Pending[Item, Result] = Pending()
        self._retries: Retries[Item, Result] = Retries()
        self._totals = Totals()
        self._door = Door(self._pending, self._retries, self._flights, self._totals)
        self._logbook = Logbook()
        self._outbox: Outbox[Item, Result] = Outbox(join, self._totals)
        self._drains: list[Deferred[None]] = []
        self._state = State.RUNNING
        self._number = 0
        self._turning = False
        self._waits = Waits()
        self._wake = Wake(clock, self._turn)

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

        Fails with `QueueFull`, `DeadlineExceeded`, `ShuttingDown`, `RunFailed`, `RunHung`,
        `ResultCountMismatch` or, cancelled, CancelledError.  Raises ValueError for rows < 1.
        """
        if rows < 1:
            raise ValueError(f"{rows} rows cannot be run")
        now = self._clock.seconds()
        refusal = self._door.refusal(now, rows, profile, deadline)
        if refusal is not None:
            return fail(refusal)
        self._number += 1
        ticket: Ticket[Item, Result] = Ticket(
            self._number, item, rows, profile, now, deadline, priority, source, trace
        )
        answer = ticket.answer = Deferred(partial(self._cancel, ticket))
        self._pending.push(ticket)
        profile.arrivals.came(rows, now)
        foreseen = source is not None and profile.returns.came(source, rows, now)
        if foreseen and self._waits.goes_on(profile, deadline, self._pending.deadline_of(profile)):
            return answer
        if self._flights.idle:
            self._turn()
        elif deadline < self._wake.at:
            self._wake.set(deadline)
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
        not been submitted yet.  Raises `ShuttingDown` and `RunHung`, too.
        """
        self._door.admit(self._clock.seconds(), profile, deadline, priority, ahead)

    def turned_away(self) -> None:
        """Count a row that was refused before it was submitted."""
        self._totals.refused += 1

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return self._door.quiet

    @property
    def hung(self) -> bool:
        """Whether a run has taken so long that its lane is given up."""
        return self._flights.hung > 0

    def report(self) -> BatcherReport:
        """Return what there is to know of why batches leave as they do."""
        now = self._clock.seconds()
        queues = self._logbook.queues(self._pending, now)
        return BatcherReport(self.stats(), str(self._policy), queues, self._logbook.flushes(now))

    def drain(self) -> Deferred[None]:
        """
        Refuse new requests, flush those that wait, and fire when all are answered and lanes idle.

        May be called again, even when stopped: each Deferred fires once, and may be cancelled.
        """
        self._door.shut()
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
        self._door.shut()
        self._state = State.STOPPED
        tickets = [part.ticket for flight in self._flights for part in flight.batch.wanted]
        tickets += [*self._retries.tickets, *self._pending.tickets]
        for ticket in sorted(tickets, key=lambda ticket: ticket.number):
            self._close(ticket, ShuttingDown())
        self._turn()

    def stats(self) -> BatcherStats:
        """Return this moment's numbers."""
        return BatcherStats(
            state=self._state,
            waiting=self._pending.rows,
            retrying=self._retries.rows,
            lanes=self._flights.lanes,
            running=len(self._flights),
            hung=self._flights.hung,
            totals=replace(self._totals),
        )

    # A request comes, and goes.

    def _cancel(self, ticket: Ticket[Item, Result], answer: Deferred[Result]) -> None:
        """Forget *ticket*, whose *answer* its owner no longer wants; called by that Deferred."""
        self._leave(ticket)
        ticket.answer = None
        self._totals.cancelled += ticket.rows
        # Here rather than in Deferred.cancel, so that a drain fires after its last request.
        answer.errback(CancelledError())
        self._turn()

    def _close(self, ticket: Ticket[Item, Result], error: BatcherError) -> None:
        """End *ticket* with *error*; it is told at the end of the turn."""
        if ticket.open:
            self._leave(ticket)
            ticket.error = error
            self._outbox.put(ticket)

    def _expire(self, tickets: Iterable[Ticket[Item, Result]], now: float, stage: Stage) -> None:
        for ticket in tickets:
            if ticket.open:
                self._door.late(ticket.profile, ticket.rows, ticket.deadline, now)
                self._close(ticket, DeadlineExceeded(now - ticket.deadline, stage))

    def _leave(self, ticket: Ticket[Item, Result]) -> None:
        """Let nothing more of *ticket* be launched."""
        ticket.open = False
        if ticket.taken < ticket.rows:
            self._pending.remove(ticket)
        if ticket.trace is not None:
            ticket.trace.left(self._clock.seconds() - ticket.arrived)

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
            self._wake.set(self._due())
        finally:
            self._turning = False
        if self._answer():
            # While a run takes its time: neither an answer nor the next run waits for this.
            for flight in self._flights:
                flight.batch.profile.learn()

    def _launch_next(self) -> bool:
        """Launch one batch if there is a lane for it and a reason; return whether it was."""
        now = self._clock.seconds()
        self._expire(self._pending.expired(now), now, "queue")
        self._expire(self._retries.expired(now), now, "queue")
        self._give_up(now)
        self._waits.forget()
        if not self._flights.idle:
            return False
        retry = self._retries.pop()
        if retry is not None:
            self._launch(retry, "retry", now)
            return True
        return any(self._launch_from(queue, now) for queue in self._pending.by_turn())

    def _launch_from(self, queue: ProfileQueue[Item, Result], now: float) -> bool:
        """Launch from *queue*, or drop who would be late; return whether anything has changed."""
        profile, decision = queue.profile, self._decide(queue, now)
        if isinstance(decision, Launch):
            rows = min(max(1, decision.rows), profile.cap)
            parts, late = self._pending.take(profile, rows, decision.finish)
            self._expire(late, now, "queue")
            if parts:
                profile.returns.left()
                self._launch(Batch(parts), decision.reason, now)
            return True
        if isinstance(decision, WaitUntil):
            self._waits.note(profile, decision)
        return False

    def _give_up(self, now: float) -> None:
        """Tell the riders of runs that hang; and, where no lane is left, who waits for one."""
        for flight in self._flights.give_up(now):
            self._fail(flight.batch, RunHung(flight.hangs_at - flight.departure.started))
            if self._flights.all_hung:
                for ticket in (*self._retries.tickets, *self._pending.tickets):
                    self._close(ticket, RunHung(self._flights.run_timeout))

    def _decide(self, queue: ProfileQueue[Item, Result], now: float) -> Decision:
        """Ask the policy; if it raises, whoever it was to decide about is told."""
        view = queue.view(now, draining=self._state is not State.RUNNING)
        lanes = LaneView(len(self._flights.idle), self._flights.lanes, queue.profile.cap)
        try:
            return self._policy.decide(now, view, lanes)
        except Exception as error:  # noqa: BLE001 - a faulty policy must leave nobody waiting
            for ticket in queue.tickets:
                self._close(ticket, RunFailed(error))
            return IDLE

    def _launch(self, batch: Batch[Item, Result], reason: Reason, now: float) -> None:
        """Run *batch* on an idle lane; everything is noted before the executor can call back."""
        profile = batch.profile
        run = Run(batch.rows, profile.cap, reason)
        expected = profile.latency.predict(batch.rows)
        departure = Departure(run, now, expected, self._pending.rows_of(profile))
        flight = self._flights.launch(batch, departure)
        self._logbook.left(profile, departure)
        self._totals.runs += 1
        self._totals.run_rows += batch.rows
        batch.launched(run, now)
        running = maybeDeferred(flight.executor.run, batch.parts)
        running.addCallbacks(
            self._succeeded, self._failed, callbackArgs=(flight,), errbackArgs=(flight,)
        )

    def _due(self) -> float:
        """Return when something is to be looked at again, even if nothing happens."""
        return min(
            self._waits.until(),
            self._pending.deadline(),
            self._retries.deadline(),
            self._flights.hangs_at() if self._state is not State.STOPPED else inf,
        )

    def _answer(self) -> bool:
        """Fire what has ended, in order, and the drains at the end; return whether all is told."""
        if not self._outbox.deliver():
            return False
        # What is to be run again keeps a lane busy, or was dropped by this turn.
        flying = len(self._flights) - self._flights.hung
        if self._state is State.DRAINING and not (self._pending.rows or flying):
            self._state = State.STOPPED
        while self._state is State.STOPPED and self._drains:
            self._drains.pop(0).callback(None)
        return True

    # A run ends.

    def _succeeded(self, results: Sequence[Result], flight: Flight[Item, Result]) -> None:
        """Scatter; the turn launches the next run before anyone is answered."""
        batch, now = flight.batch, self._clock.seconds()
        taken = self._flights.land(flight, now)
        try:
            tickets = batch.scatter(results)
        except ResultCountMismatch as error:
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 - an executor may return anything
            self._fail(batch, RunFailed(error))
        else:
            batch.profile.ran(batch.rows, *flight.parted(taken))
            batch.profile.returns.answered(batch.riders, now)
            late = False
            for ticket in tickets:
                if ticket.deadline < now:
                    late = True
                    self._expire((ticket,), now, "answer")
                elif ticket.done == ticket.rows:
                    ticket.open = False
                    self._outbox.put(ticket)
            if tickets and not late:
                self._door.in_time(tickets[0], now)
        self._turn()

    def _failed(self, failure: Failure, flight: Flight[Item, Result]) -> None:
        """Run again in smaller batches, or fail those who cannot be helped."""
        self._flights.land(flight, self._clock.seconds())
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

    def _fail(self, batch: Batch[Item, Result], error: BatcherError) -> None:
        for part in batch.parts:
            self._close(part.ticket, error)
