"""
Admission of a request to a model: whether the decode threads, the queue and the lanes are in time.

Decides by the head of a request, before its body is read; server/decode_admission.py has the part
of the decode threads, batcher/admission.py that of the queue and the lanes.  Everything here runs
on the reactor thread.
"""

from collections.abc import Callable

from batcher.errors import DeadlineExceeded, Overloaded, RefusalError
from batcher.share import Share
from model.execution.decode_pool import DecodePool
from server.call import RequestOptions
from server.deadlines import NO_DEFAULT_TIMEOUT, DefaultTimeout
from server.decode_admission import DecodeAdmission
from server.served_model import ServedModel


class Admission:
    """Admits or refuses the requests to one model, and records each refusal."""

    def __init__(
        self,
        model: ServedModel,
        pool: DecodePool,
        *,
        seconds: Callable[[], float],
        default_timeout: DefaultTimeout = NO_DEFAULT_TIMEOUT,
    ) -> None:
        """*seconds* returns the time of the clock on which deadlines are set, in seconds."""
        self.default_timeout = default_timeout
        self.decoding = DecodeAdmission(pool.threads)
        #: The queue that was used last: that of a request is not known before its body is read.
        self.last_queue = model.default_queue
        self._model = model
        self._share = share = model.queues.share
        #: The share of the decode threads for requests of several calls.  It takes turns with the
        #: share of all others, so that one such request does not delay these by all its images.
        self.several = Share(share.name, share.account)
        self._pool = pool
        self._seconds = seconds

    def deadline(self, options: RequestOptions) -> float:
        """Return the deadline of a request with *options*; inf if it has none."""
        return options.since + self.timeout(options)

    def timeout(self, options: RequestOptions) -> float:
        """
        Return the timeout of a request with *options*, in seconds; inf if it has none.

        Each of its calls counts as one row.
        """
        if options.timeout is not None:
            return options.timeout
        default = self.default_timeout
        if options.calls == 1:
            return default.seconds
        return default.of(self._model.default_queue, options.calls)

    def admit(self, options: RequestOptions) -> None:
        """
        Raise an error if a call with these *options* would be answered too late.

        Called when the head has been received, again when the body has arrived later, and for each
        further call of a request of several.  Raises `Overloaded` if the wait for the decode
        threads or the queue is too long, `DeadlineExceeded` if the deadline has passed, and
        `ShuttingDown` and `RunHung` as a batcher does.  The call is then recorded as one row that
        is late or refused.
        """
        recorder, queue, share = self._model.recorder, self.last_queue, self.share_of(options)
        deadline, now = self.deadline(options), self._seconds()
        if deadline <= now:
            recorder.expired(queue, 1, "decode")
            raise DeadlineExceeded(now - deadline, "submit")
        try:
            self.decoding.admit(self._pool.pending_before(share), queue, deadline - now)
        except Overloaded:
            recorder.refused(queue, 1, "decode")
            raise
        try:
            self._model.batcher.admission.admit(
                now, queue, deadline, options.priority, self.rows_ahead(share)
            )
        except RefusalError as error:
            recorder.refused(queue, 1, error.cause)
            raise

    def expected_wait(self) -> float:
        """
        Return the expected seconds until a request that arrives now is answered.

        The request is like the last one: its rows wait in the queue that was used last.  The value
        is the one that admission compares with the time allowed, so it has the learned margins.
        """
        queue, now = self.last_queue, self._seconds()
        decoding = self.decoding.expected_wait(self._pool.pending_before(self._share), queue)
        admission = self._model.batcher.admission
        ahead = self.rows_ahead(self._share)
        return max(decoding, admission.expected_wait(now, queue, ahead=ahead))

    def expected_delay(self) -> float:
        """
        Return the expected seconds until the answer beyond one run, for a request of one row now.

        A request is refused if this and the time of a run exceed the time allowed.  At least the
        time for which an image waits for a decode thread, if the model takes images: the estimates
        may be too low.
        """
        delay = self.expected_wait() - self.last_queue.latency.predict(1)
        if self._model.image_input is None:
            return max(0.0, delay)
        return max(0.0, delay, self._pool.report().oldest_waiting)

    def added_wait(self) -> float:
        """
        Return the seconds by which each further request makes `expected_wait` longer.

        The request has one row, and others of the model wait.  The decode threads or the lanes
        limit it, whichever take longer for a request.
        """
        lanes = self._model.batcher.admission.added_wait(self.last_queue)
        return max(self.decoding.added_wait, lanes)

    def share_of(self, options: RequestOptions) -> Share:
        """Return the share of the decode threads for a call with *options*."""
        return self._share if options.calls == 1 else self.several

    @property
    def pending(self) -> int:
        """The count of requests of all models that wait for a decode thread or run on one."""
        return self._pool.pending

    def rows_ahead(self, share: Share) -> int:
        """
        Return the rows that are admitted and will be submitted before those of a new call.

        These are the rows of *share*, that of the call, and as many of the other share as its turns
        allow.  The rows of the calls that are decoded are not known: count one for each.
        """
        other = self.several if share is self._share else self._share
        own = self._pool.pending_of(share)
        return own + min(own + 1, self._pool.pending_of(other))
