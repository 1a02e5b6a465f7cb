"""
Run the calls of a request on a model: prepare the feed, queue, run, finish the result.

Knows neither HTTP nor sockets: the dialects in server/api make a `Call` of a request.  Everything
here runs on the reactor thread, except for the functions that are passed to the decode pool.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from batcher.error_kind import ErrorKind, RequestError
from batcher.errors import DeadlineExceeded
from batcher.priority import Priority
from batcher.share import Account, Share
from model.execution.decode_pool import DecodePool
from model.signature import Feed
from server.admission import Admission
from server.call import NO_DEADLINE, Call, Calls, Outputs, RequestOptions, Timing
from server.deadlines import NO_DEFAULT_TIMEOUT, DefaultTimeout
from server.metrics.histogram import DURATION_BOUNDS, HistogramBuffer
from server.request_counts import RequestCounts
from server.served_model import ServedModel
from server.statistics import Statistics, run_span

T = TypeVar("T")
R = TypeVar("R")


#: The phases of an answered request.  ``decode``: to prepare its feed; ``queue``: until its first
#: launch; ``run``: from there to the end of its last run; ``encode``: to write the answer;
#: ``whole``: from its head to its answer.
PHASES = ("decode", "queue", "run", "encode", "whole")

#: The rows of a request that fill more batches than this are launched with low priority: a request
#: of one row, which arrives later, then need not wait for all of them.
MAX_BATCHES_IN_TURN = 4


class TooManyStringBytes(RequestError):
    """The strings of a request, and of those that wait or run, have too many bytes together."""

    kind = ErrorKind.OVERLOADED
    retry_after = 0.0

    def __init__(self, more: int, held: int, limit: int) -> None:
        super().__init__(
            f"the strings of the request have {more} bytes; {held} bytes of strings are waiting or "
            f"running, and the limit is {limit}"
        )


class Inference:
    """Runs calls on one model; `admission` decides before whether a request is accepted."""

    def __init__(
        self,
        model: ServedModel,
        pool: DecodePool,
        *,
        clock: IReactorTime,
        default_timeout: DefaultTimeout = NO_DEFAULT_TIMEOUT,
    ) -> None:
        """
        Deadlines are times of *clock*, whose time is also read on decode threads.
        """
        self.model = model
        self.statistics = Statistics()
        #: The requests for this model, all versions together: `server.models.Models` sets it.
        self.requests = RequestCounts()
        #: The durations of the answered requests for this version, in seconds.
        self.phases = HistogramBuffer(DURATION_BOUNDS, PHASES)
        self.admission = Admission(
            model, pool, seconds=clock.seconds, default_timeout=default_timeout
        )
        self._pool = pool
        self._share = model.queues.share
        # Answers do not wait behind all images of the model that wait to be decoded.
        self._answers = Share(self._share.name, self._share.account)
        self._clock = clock
        self._seconds = clock.seconds
        self._calls = 0  #: calls that have not ended
        self._string_bytes = 0  #: of the submitted feeds that have not ended
        #: Whether it takes no new calls; set by `retire`.
        self.retired = False
        self._waiting: list[Deferred[None]] = []  # fire when it is retired and no call is left

    def use_account(self, account: Account) -> None:
        """Take turns on the lanes and the decode threads by *account*; while no call is running."""
        self._share.account = self._answers.account = self.admission.several.account = account

    def retire(self) -> Deferred[None]:
        """
        Take no new calls from now on; return a Deferred that fires when all calls have ended.

        Its callers look at `retired` before they make a call.  May be called again.
        """
        self.retired = True
        ended: Deferred[None] = Deferred()
        self._waiting.append(ended)
        self._fire_if_ended()
        return ended

    def _fire_if_ended(self) -> None:
        if self.retired and not self._calls:
            waiting, self._waiting = self._waiting, []
            for ended in waiting:
                ended.callback(None)

    def run(self, call: Call[T] | Calls[T], timing: Timing | None = None) -> Deferred[T]:
        """
        Return a Deferred of the result of *call*.

        *timing* is updated.  Cancelling withdraws the request while it waits for a decode thread or
        in a queue; otherwise its result is dropped.  Fails with the errors of `Call.prepare`,
        `Batcher.submit` and `Call.finish`, and with `DeadlineExceeded` if the feed could not be
        prepared before the deadline.

        The calls of `Calls` run at once, each by itself: its error is the error of no other.  The
        request was admitted with its first call; each of the others is admitted or refused by
        itself, except that the default timeout allows time for all of them.  The Deferred then
        fails with `CancelledError` and the errors of `Calls.join` only.
        """
        timing = timing or Timing()
        if isinstance(call, Calls):
            return self._run_each(call, timing)
        began = self._seconds()
        self._calls += 1
        return self._run(call, timing, began).addBoth(self._call_ended, timing, began)

    def _call_ended(self, result: R, timing: Timing, began: float) -> R:
        now = self._seconds()
        if isinstance(result, Failure):
            self.statistics.failed(now - began)
        else:
            self.statistics.answered(timing, now - began, now)
        self._calls -= 1
        self._fire_if_ended()
        return result

    def _run_each(self, calls: Calls[T], timing: Timing) -> Deferred[T]:
        timings = [Timing() for _ in calls.each]
        answers = []
        for number, (call, own) in enumerate(zip(calls.each, timings, strict=True)):
            try:
                if number and call.options.timeout is not None:
                    self.admission.admit(call.options)
                answers.append(self.run(call, own))
            except Exception:  # noqa: BLE001 - any error is the result of the call
                self.statistics.failed()
                answers.append(fail(Failure()))
        ended = DeferredList(answers, consumeErrors=True)
        return ended.addCallback(_join, calls.join, timing, timings)

    def _run(self, call: Call[T], timing: Timing, began: float) -> Deferred[T]:
        answer: Deferred[Outputs]
        if call.at_once:
            try:
                answer = self.submit(self._prepare_at_once(call, timing), call.options, timing)
            except Exception:  # noqa: BLE001 - any error is the result of the call
                return fail(self._not_prepared(Failure()))
        else:
            timeout = self.admission.timeout(call.options)
            prepared = self._pool.run(
                self._prepare_in_time,
                call,
                timeout,
                timing,
                began,
                share=self.admission.share_of(call.options),
                on_duration=partial(self._observe_decoding, call.options, timing),
            )
            self._end_at_deadline(prepared, call.options, timeout, timing)
            answer = prepared.addCallbacks(
                self.submit,
                self._not_decoded,
                callbackArgs=(call.options, timing),
                errbackArgs=(timing,),
            )
        return answer.addCallback(self._finish, call, timing)

    def run_before(self, work: Callable[[], T], options: RequestOptions) -> Deferred[T]:
        """
        Call *work*, which a request needs before its call is known, on a decode thread.

        Fails with the error of *work*, and with `DeadlineExceeded` as `run` does.  Cancelling is as
        in `DecodePool.run`.
        """
        timing = Timing()
        if options.timeout is None:
            options.since = self._seconds()  # as for the call

        def begin() -> T:
            timing.decode_wait = 0.0
            return work()

        done = self._pool.run(
            begin,
            share=self.admission.share_of(options),
            on_duration=self.admission.decoding.observe,
        )
        self._end_at_deadline(done, options, self.admission.timeout(options), timing)
        return done.addErrback(self._not_decoded, timing)

    def _end_at_deadline(
        self, prepared: Deferred[T], options: RequestOptions, timeout: float, timing: Timing
    ) -> None:
        """
        Let *prepared* fail with `DeadlineExceeded` after *timeout* seconds, if it has not fired.

        So a request is answered in time even if no decode thread is free.  A default timeout limits
        the wait for a thread, and not the time in which it prepares the feed.
        """
        if timeout == inf:
            return
        error: DeadlineExceeded | None = None
        timer: IDelayedCall

        def check() -> None:
            nonlocal error, timer
            late = self._seconds() - (options.since + timeout)
            if late < 0:  # other images of the request were decoded, and their time does not count
                timer = self._clock.callLater(-late, check)
            elif options.timeout is not None or timing.decode_wait is None:
                error = DeadlineExceeded(late, "queue")
                prepared.cancel()

        def ended(result: R) -> R | Failure:
            if timer.active():
                timer.cancel()
            return result if error is None else Failure(error)

        left = options.since + timeout - self._seconds()
        timer = self._clock.callLater(max(0.0, left), check)
        prepared.addBoth(ended)

    def observe(self, timing: Timing, received: float) -> None:
        """
        Observe the phases of a request, which is answered now.

        *timing* is that of its calls; its head was *received* then, in seconds of the clock.
        """
        trace = timing.trace
        self.phases.observe(
            (
                timing.decode or 0.0,
                trace.queued or 0.0,
                run_span(trace.runs),
                timing.encode or 0.0,
                self._seconds() - received,
            )
        )

    def submit(
        self, feed: Feed, options: RequestOptions = NO_DEADLINE, timing: Timing | None = None
    ) -> Deferred[Outputs]:
        """
        Queue *feed*, which is already prepared, and return a Deferred of the model's outputs.

        *timing* is updated.  Cancelling and the errors are those of `Batcher.submit`.  Raises
        `TooManyStringBytes`, since a queue counts rows of strings, and not their bytes.
        """
        timing = timing or Timing()
        queue, rows = self.model.queues.of(feed), feed.rows
        timing.rows, timing.rows_before = rows, queue.rows
        self.admission.last_queue = queue
        strings = feed.string_bytes
        if strings and self._string_bytes + strings > self.model.queues.max_queue_bytes:
            self.model.recorder.refused(queue, rows, "full")
            raise TooManyStringBytes(strings, self._string_bytes, self.model.queues.max_queue_bytes)
        timeout, all_rows = options.timeout, rows * options.calls
        if timeout is None:
            timeout = self.admission.default_timeout.of(queue, all_rows)
        priority = options.priority
        if all_rows > MAX_BATCHES_IN_TURN * queue.cap:
            priority = Priority.LOW
        answer = self.model.batcher.submit(
            feed,
            rows,
            queue,
            deadline=options.since + timeout,
            priority=priority,
            source=options.source,
            trace=timing.trace,
        )
        if strings:
            self._string_bytes += strings
            answer.addBoth(self._drop_strings, strings)
        return answer.addCallback(partial(Outputs, feed.signature))

    def _drop_strings(self, result: R, count: int) -> R:
        self._string_bytes -= count
        return result

    def _prepare_at_once(self, call: Call[T], timing: Timing) -> Feed:
        start = self._seconds()
        try:
            return self._prepare_in_time(call, self.admission.timeout(call.options), timing, start)
        finally:
            _set_decode(call.options, timing, self._seconds() - start)

    def _prepare_in_time(self, call: Call[T], timeout: float, timing: Timing, asked: float) -> Feed:
        """
        Return the feed of *call*; called on the thread on which it is prepared.

        If the *timeout* of the call, in seconds, has passed, raises `DeadlineExceeded` and prepares
        nothing; else sets the time since *asked*, when the thread was asked for.
        """
        now = self._seconds()
        late = now - (call.options.since + timeout)
        if late > 0:
            raise DeadlineExceeded(late, "queue")
        timing.decode_wait = now - asked
        return call.prepare()

    def _not_decoded(self, failure: Failure, timing: Timing) -> Failure:
        """
        Record a request that no decode thread has prepared; return *failure*, its error.

        If its deadline passed before a thread was free, the margin learns from that.
        """
        if failure.check(DeadlineExceeded) and timing.decode_wait is None:
            self.admission.decoding.observe_missed(self._seconds())
        return self._not_prepared(failure)

    def _not_prepared(self, failure: Failure) -> Failure:
        """Record a request that ends before it is submitted; return *failure*, its error."""
        recorder, queue = self.model.recorder, self.admission.last_queue
        if failure.check(DeadlineExceeded):
            recorder.expired(queue, 1, "decode")
        elif failure.check(CancelledError):
            recorder.cancelled(queue, 1, "decode")
        return failure

    def _observe_decoding(self, options: RequestOptions, timing: Timing, seconds: float) -> None:
        _set_decode(options, timing, seconds)
        self.admission.decoding.observe(seconds)

    def _finish(self, outputs: Outputs, call: Call[T], timing: Timing) -> T | Deferred[T]:
        """Return the result of *call* for *outputs*, or its Deferred if that takes long."""
        if call.takes_long(outputs):
            timing.finishing = True
            set_encode = partial(_set_encode, timing)
            return self._pool.run(call.finish, outputs, share=self._answers, on_duration=set_encode)
        start = self._seconds()
        result = call.finish(outputs)
        timing.encode = self._seconds() - start
        return result


def _join(
    ended: Sequence[tuple[bool, T | Failure]],
    join: Callable[[Sequence[T | Failure]], T],
    timing: Timing,
    timings: Sequence[Timing],
) -> T:
    """
    Return the result of *join* for the results and Failures in *ended*; set *timing*.

    Raises `CancelledError` if a call was cancelled.
    """
    timing.add(timings)
    results = [result for _, result in ended]
    if any(isinstance(result, Failure) and result.check(CancelledError) for result in results):
        raise CancelledError
    return join(results)


def _set_decode(options: RequestOptions, timing: Timing, seconds: float) -> None:
    """Set the time to prepare a feed; the default timeout does not limit that time."""
    timing.decode = seconds
    if options.timeout is None:
        options.since += seconds


def _set_encode(timing: Timing, seconds: float) -> None:
    timing.encode = seconds
