"""
The batcher: accepts requests, runs batches of their rows on lanes, fires their Deferreds.

The parts (queues, lanes, completions, admission) keep state and read no clock; only this module
starts runs and sets a timer.  Everything runs on the reactor thread; the clock is given.  Each
event is first recorded (a request is queued, closed or completed), then a turn is taken: expire,
decide, launch, set the one timer, fire the Deferreds, and last learn, so that no lane is idle while
callbacks run or l(b) is fitted.
"""

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from functools import partial
from math import inf
from typing import Generic, cast

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from batcher.admission import AdmissionControl
from batcher.batch import Batch
from batcher.closing import Closing
from batcher.completions import Completions
from batcher.errors import (
    BatcherError,
    DeadlineExceeded,
    RefusalError,
    ResultCountMismatch,
    RunFailed,
    RunHung,
    ShuttingDown,
    Stage,
)
from batcher.executor import Executor, Item, Result
from batcher.lanes import Lanes
from batcher.observer import Observer
from batcher.pending import Pending
from batcher.policy import IDLE, Decision, LaneView, Launch, Policy, WaitUntil
from batcher.priority import Priority
from batcher.queue import Queue
from batcher.request import Request
from batcher.retries import Retries
from batcher.share import Share, ShareTurns
from batcher.stats import BatcherStats, State
from batcher.timer import DeadlineTimer
from batcher.trace import Reason, Run, Trace


class Batcher(Generic[Item, Result]):
    """
    Runs many requests in few batches, and gives each request its own result.

    *executors* are the lanes, with one run at a time each; *policy* decides when to launch and how
    many rows.  *join* combines the results of a split request, in the order of its rows, into one.
    *observer* is called at each launch and outcome.  A run that takes longer than both
    *run_timeout* seconds and 10 times its expected time is given up; its lane is not used until the
    run ends.  By default no run is given up.

    The clock may be set back, as a reactor's may: a negative duration counts as 0 seconds.

    `admission` decides before a request causes any work; `submit` refuses only what cannot be
    queued.  Every method is called on the reactor thread; every Deferred fires there, exactly once.
    Callbacks may call any method.  Raises ValueError if *executors* is empty.
    """

    def __init__(
        self,
        clock: IReactorTime,
        executors: Sequence[Executor[Item, Result]],
        policy: Policy,
        *,
        join: Callable[[Sequence[Result]], Result],
        observer: Observer,
        run_timeout: float = inf,
    ) -> None:
        if not executors:
            raise ValueError("a batcher without executors would never answer")
        self._clock = clock
        self._policy = policy
        turns = ShareTurns()
        self._lanes: Lanes[Item, Result] = Lanes(executors, turns, run_timeout)
        self._pending: Pending[Item, Result] = Pending(turns)
        self._retries: Retries[Item, Result] = Retries()
        self._observer = observer
        self._closing = Closing(self._pending, self._retries, self._lanes)
        self.admission = AdmissionControl(
            self._pending, self._retries, self._lanes, turns, self._closing
        )
        self._completions: Completions[Item, Result] = Completions(join, observer)
        # Succeeded, with the seconds of the run itself and of the dispatch overhead.
        self._to_learn: deque[tuple[Batch[Item, Result], float, float]] = deque()
        self._number = 0
        self._turning = False
        self._decide_at = inf  # the earliest time at which a policy is asked again
        self._timer = DeadlineTimer(clock, self._turn)

    # Public methods.

    def submit(
        self,
        item: Item,
        rows: int,
        queue: Queue[Item, Result],
        *,
        deadline: float = inf,
        priority: Priority = Priority.NORMAL,
        source: Hashable | None = None,
        trace: Trace | None = None,
    ) -> Deferred[Result]:
        """
        Queue the *rows* rows of *item* and return a Deferred of their result.

        Only items of the same *queue* share a run.  *deadline* is the latest time of the answer, by
        the clock; the launch must be earlier.  *source* identifies a sender of one request after
        the other, such as a connection.  *trace* must be new; the batcher records the runs in it.
        Cancelling the Deferred drops rows that are not launched, and the results of the others.

        The Deferred fails with `QueueFull`, `DeadlineExceeded`, `ShuttingDown`, `RunFailed`,
        `RunHung`, `ResultCountMismatch` or CancelledError.  Raises ValueError if *rows* < 1.
        """
        if rows < 1:
            raise ValueError(f"{rows} rows cannot be run")
        now = self._clock.seconds()
        refusal = self._closing.refusal(queue) or queue.refusal(rows, deadline, now)
        if refusal is not None:
            self._refused(refusal, rows, queue)
            return fail(refusal)
        self._number += 1
        had_to_wait = not self._lanes.idle
        request: Request[Item, Result] = Request(
            self._number, item, rows, queue, now, deadline, priority, source, trace, had_to_wait
        )
        answer = request.answer = Deferred(partial(self._cancel, request))
        self._pending.push(request)
        queue.arrivals.observe(rows, now)
        if source is not None:
            queue.returns.observe(source, now)
        if not had_to_wait:
            self._turn()
        elif deadline < self._timer.at:
            self._timer.set(deadline)
        return answer

    @property
    def hung(self) -> list[str]:
        """
        The names of the shares, or of the queues without one, whose runs hang: one for each run.

        Such a run was given up and has not ended.
        """
        queues = [batch.queue for batch in self._lanes if batch.hung]
        return [it.name if it.share is None else it.share.name for it in queues]

    @property
    def waiting(self) -> Collection[Queue[Item, Result]]:
        """The queues in which requests wait."""
        return self._pending.queues.keys()

    def drain(self, share: Share | None = None) -> Deferred[None]:
        """
        Refuse new requests of the queues of *share*, or all, and launch those that wait.

        The Deferred fires when no such request waits and no such run is under way, except runs
        given up.  May be called again, even when stopped; each Deferred fires once, and may be
        cancelled.
        """
        drained = self._closing.close(share)
        self._turn()
        return drained

    def abort(self) -> None:
        """
        Stop at once: fail every request, waiting or running, with `ShuttingDown`.

        Runs under way are not stopped; their results are dropped.  The Deferreds of `drain` fire.
        """
        self._closing.stop()
        requests = [part.request for batch in self._lanes for part in batch.open_parts]
        requests += [*self._retries.requests, *self._pending.requests]
        for request in sorted(requests, key=lambda request: request.number):
            self._close(request, ShuttingDown())
        self._turn()

    def stats(self) -> BatcherStats:
        """Return the current state, and the current numbers of rows and lanes."""
        return BatcherStats(
            state=self._closing.state,
            waiting=self._pending.rows,
            retrying=self._retries.rows,
            lanes=self._lanes.count,
            running=len(self._lanes),
            hung=self._lanes.hung,
            policy=str(self._policy),
            now=self._clock.seconds(),
        )

    # The end of a request.

    def _refused(self, error: BatcherError, rows: int, queue: Queue[Item, Result]) -> None:
        """Record that a submitted request of *rows* rows is not accepted."""
        if isinstance(error, RefusalError):
            self._observer.refused(queue, rows, error.cause)
        else:
            self._observer.expired(queue, rows, "submit")

    def _cancel(self, request: Request[Item, Result], answer: Deferred[Result]) -> None:
        """Called when *answer*, the Deferred of *request*, is cancelled."""
        self._stop_launches(request)
        request.answer = None
        self._observer.cancelled(request.queue, request.rows, "run" if request.taken else "queue")
        # Here rather than in Deferred.cancel, so that a drain fires after its last request.
        answer.errback(CancelledError())
        self._turn()

    def _close(self, request: Request[Item, Result], error: BatcherError) -> None:
        """End *request* with *error*; its Deferred fires at the end of the turn."""
        if request.open:
            self._stop_launches(request)
            request.error = error
            self._completions.put(request)

    def _expire(self, requests: Iterable[Request[Item, Result]], now: float, stage: Stage) -> None:
        for request in requests:
            if request.open:
                self.admission.missed(request, now)
                self._close(request, DeadlineExceeded(now - request.deadline, stage))

    def _stop_launches(self, request: Request[Item, Result]) -> None:
        """Ensure that no further row of *request* is launched."""
        request.open = False
        if request.taken < request.rows:
            self._pending.remove(request)
        if request.trace is not None:
            request.trace.set_queued(self._clock.seconds() - request.arrived)

    # A turn: decide and launch, set the timer, fire the Deferreds.

    def _turn(self) -> None:
        """
        Take a turn: expire requests, decide, launch, set the timer, fire Deferreds, learn.

        A call from within an executor does nothing: the turn under way handles the change.  A call
        from a callback of a Deferred takes a turn that fires no Deferred: only the outermost turn
        fires them, so that the answers stay in order.
        """
        if self._turning:
            return
        self._turning = True
        try:
            while self._launch_next():
                pass
            self._timer.set(self._next_turn_at())
        finally:
            self._turning = False
        if self._completions.deliver():
            self._closing.fire()
            # Neither an answer nor the next run waits for it.
            while self._to_learn:
                batch, seconds, overhead = self._to_learn.popleft()
                batch.queue.latency.observe(batch.rows, seconds, overhead)

    def _launch_next(self) -> bool:
        """Expire requests; launch a retry or what the policy decides; return whether to repeat."""
        now = self._clock.seconds()
        self._expire(self._pending.expired(now), now, "queue")
        self._expire(self._retries.expired(now), now, "queue")
        self._give_up(now)
        self._decide_at = inf
        if not self._lanes.idle:
            return False
        if (retry := self._retries.pop()) is not None:
            self._launch(retry, "retry", now)
            return True
        return any(self._launch_from(queue, now) for queue in self._pending.by_turn())

    def _launch_from(self, queue: Queue[Item, Result], now: float) -> bool:
        """Do what the policy decides about *queue*; return whether it decided to launch."""
        decision = self._decide(queue, now)
        if isinstance(decision, Launch):
            rows = min(max(1, decision.rows), queue.cap)
            parts, late = self._pending.take(queue, rows, decision.finish)
            self._expire(late, now, "queue")
            if parts:
                queue.returns.launched()
                self._launch(Batch(parts), decision.reason, now)
            return True
        if isinstance(decision, WaitUntil):
            self._decide_at = min(self._decide_at, decision.time)
            if decision.reason == "return-hold":
                queue.returns.hold()
        return False

    def _give_up(self, now: float) -> None:
        """Fail the requests of runs past their time limit; if all lanes hang, waiting ones, too."""
        for batch in self._lanes.give_up(now):
            self._fail(batch, RunHung(batch.hangs_at - batch.run.started))
            if self._lanes.all_hung:
                for request in (*self._retries.requests, *self._pending.requests):
                    self._close(request, RunHung(self._lanes.run_timeout))

    def _decide(self, queue: Queue[Item, Result], now: float) -> Decision:
        """Return the policy's decision; if it raises, fail the requests waiting in *queue*."""
        queue.update_arrivals(now)
        view = self._pending.view(queue, draining=self._closing.is_closed(queue))
        lanes = LaneView(len(self._lanes.idle), self._lanes.count, queue.cap)
        try:
            return (queue.policy or self._policy).decide(now, view, lanes)
        except Exception as error:  # noqa: BLE001 - a faulty policy must not leave requests waiting
            for request in queue.requests:
                self._close(request, RunFailed(error))
            return IDLE

    def _launch(self, batch: Batch[Item, Result], reason: Reason, now: float) -> None:
        """Run *batch* on an idle lane; record it first, because the run may end at once."""
        queue = batch.queue
        seconds = queue.latency.predict(batch.rows)
        run = Run(batch.rows, queue.cap, reason, None, now, seconds, queue.rows)
        queue.latency.launched(batch.rows, explored=reason == "explore")
        self._lanes.launch(batch, run)
        self._observer.launched(queue, run)
        batch.launched()
        running = maybeDeferred(batch.executor.run, batch.parts)
        running.addCallbacks(
            self._succeeded, self._failed, callbackArgs=(batch,), errbackArgs=(batch,)
        )

    def _next_turn_at(self) -> float:
        """Return the time of the next turn if no event is earlier; inf if none is needed."""
        return min(
            self._decide_at,
            self._pending.deadline(),
            self._retries.deadline(),
            self._lanes.hangs_at() if self._closing.state is not State.STOPPED else inf,
        )

    # The end of a run.

    def _succeeded(self, results: Sequence[Result], batch: Batch[Item, Result]) -> None:
        """Called with the results of a run; the next run is launched before any Deferred fires."""
        queue, now = batch.queue, self._clock.seconds()
        self._lanes.complete(batch, now)
        try:
            requests = batch.scatter(results)
        except Exception as error:  # noqa: BLE001 - an executor may return anything
            self._observer.ended(queue, batch.run, error)
            self._fail(batch, error if isinstance(error, ResultCountMismatch) else RunFailed(error))
        else:
            if batch.run.seconds:  # else the clock was set back
                self._to_learn.append((batch, *batch.split_overhead()))
            self._observer.ended(queue, batch.run, None)
            done = [request for request in requests if request.done == request.rows]
            queue.returns.answered(
                [(it.source, it.rows) for it in done if it.source is not None], now
            )
            late = False
            for request in requests:
                if request.deadline < now:
                    late = True
                    self._expire((request,), now, "answer")
                elif request.done == request.rows:
                    request.open = False
                    self._completions.put(request)
            if requests and not late:
                self.admission.met(requests[0], now)
        self._turn()

    def _failed(self, failure: Failure, batch: Batch[Item, Result]) -> None:
        """Called when a run has failed: retry its requests in smaller batches, or fail them."""
        self._lanes.complete(batch, self._clock.seconds())
        error = cast("BaseException", failure.value)
        self._observer.ended(batch.queue, batch.run, error)
        if (final := self._retries.push_failed(batch, error)) is not None:
            self._fail(batch, final)
        self._turn()

    def _fail(self, batch: Batch[Item, Result], error: BatcherError) -> None:
        for part in batch.parts:
            self._close(part.request, error)
