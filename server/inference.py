"""
Run one call: admit, prepare the feed, queue, run, finish the result.

Knows neither HTTP nor sockets: the dialects in server/api make a `Call` of a request.  Everything
here runs on the reactor thread, except for the functions that are passed to the decode pool.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from batcher.batcher import Batcher
from batcher.errors import DeadlineExceeded, Overloaded, QueueFull, RunHung, ShuttingDown
from batcher.observer import RefusalCause
from batcher.priority import Priority
from batcher.stats import Recorder
from model.errors import ModelError
from model.execution.decode_pool import DecodePool
from model.execution.queues import FeedQueue, Queues
from model.images.input import ImageInput, check_encoded_images
from model.repository.labels import top_k
from model.signature import Arrays, Feed, Signature
from server.call import NO_DEADLINE, Call, Outputs, RequestOptions, Timing
from server.deadlines import NO_DEFAULT_TIMEOUT, DefaultTimeout
from server.decode_admission import DecodeAdmission

T = TypeVar("T")

#: The recorded causes of the errors of `Batcher.admit`.
_CAUSES: dict[type[Exception], RefusalCause] = {
    Overloaded: "late",
    ShuttingDown: "closed",
    RunHung: "hung",
}

#: Outputs of more bytes are finished on a decode thread.  Writing 32 KiB of numbers as JSON takes
#: about 0.25 ms; so does the change to a decode thread and back.
MAX_BYTES_FINISHED_AT_ONCE = 1 << 15


@dataclass(frozen=True, slots=True)
class ServedModel:
    """
    A model that is ready to run, with the data that answers to tensors and images need.

    Its methods are the one place where images and tensors become feeds, and outputs become labels.
    """

    name: str
    version: str
    device: str  #: a description for users
    signatures: Mapping[str, Signature]
    default: str  #: name of the signature for requests that name no signature
    image_input: ImageInput | None  #: None if the model takes no images
    samples: Mapping[str, Feed]  #: by signature name: one row that the model has run, if any
    labels: tuple[str, ...]  #: empty for a model without labels
    top: int  #: count of labels in the answer to a request that does not set ``k``
    #: The most pixels of an encoded image in a tensor of strings; None if the model decodes no
    #: images.
    max_pixels: int | None
    queues: Queues
    batcher: Batcher[Feed, Arrays]
    recorder: Recorder  #: observes the batcher

    @property
    def full_name(self) -> str:
        """The text ``NAME/VERSION``, which clients see."""
        return f"{self.name}/{self.version}"

    @property
    def default_queue(self) -> FeedQueue:
        """The queue that images use; that of the default signature if the model takes no images."""
        image_input = self.image_input
        name = self.default if image_input is None else image_input.signature.name
        return self.queues.known[name]

    def cap(self, signature: str) -> int:
        """
        Return the cap of *signature*, in rows, as it was at the start.

        Failed runs may have lowered the cap since.
        """
        return self.queues.cap(self._run_as(signature))

    @property
    def reads_images(self) -> bool:
        """Whether a string in a tensor may be an image, which is decoded or checked."""
        return self.image_input is not None or self.max_pixels is not None

    def prepare_image(self, data: bytes) -> Feed:
        """
        Return the feed of the image file *data*; called on a decode thread.

        Raises `BadImage` if it cannot be decoded, and `ModelError` if the model takes no images.
        """
        return self._images().feed(data)

    def prepare_images(
        self, texts: Sequence[bytes], read: Callable[[bytes], bytes] = bytes
    ) -> Feed:
        """
        Return the feed of several images, a row each; called on a decode thread.

        *read* returns the image file in one of *texts*, or raises `BadImage`.  Raises the errors of
        `prepare_image`, `FeedError` for more images than rows are accepted, and `QueueFull` for
        more than the queue can ever hold.
        """
        image_input = self._images()
        self._check_rows_fit(len(texts))
        return image_input.feed_all(map(read, texts))

    def prepare_tensors(self, signature: Signature, arrays: Mapping[str, np.ndarray]) -> Feed:
        """
        Return the feed of *arrays* by the names of the inputs of *signature*, one of the model's.

        Encoded images among the strings are decoded as the model requires it, or their size is
        checked; called on a decode thread if `reads_images`.  Raises `FeedError` if the arrays do
        not fit, and the errors of `prepare_images`.
        """
        feed = signature.feed(arrays)
        image_input = self.image_input
        if image_input is not None and signature == image_input.encoded:
            self._check_rows_fit(feed.rows)
            return image_input.feed_encoded(feed)
        return feed if self.max_pixels is None else check_encoded_images(feed, self.max_pixels)

    def finish_image(self, outputs: Outputs, k: int) -> list[tuple[str, np.floating]]:
        """
        Return the *k* best labels in the *outputs* of one image, each with its score; best first.

        The model must have labels.  Called on any thread.
        """
        return top_k(self._images().scores_of(outputs.arrays), self.labels, k)

    def _images(self) -> ImageInput:
        if self.image_input is None:
            raise ModelError(f"{self.full_name} takes no images")
        return self.image_input

    def _check_rows_fit(self, rows: int) -> None:
        """
        Raise `QueueFull` if *rows* images are more than the queue can ever hold.

        Called before decoding, since pixels take far more memory than files.
        """
        limit = self.default_queue.max_queued_rows
        if rows > limit:
            raise QueueFull(rows, 0, limit)

    def _run_as(self, signature: str) -> str:
        """Return the name of the signature that runs when a request names *signature*."""
        image_input = self.image_input
        if image_input is not None and image_input.requested.name == signature:
            return image_input.signature.name
        return signature


class Inference:
    """Runs calls on one model."""

    def __init__(
        self,
        model: ServedModel,
        pool: DecodePool,
        *,
        seconds: Callable[[], float],
        default_timeout: DefaultTimeout = NO_DEFAULT_TIMEOUT,
    ) -> None:
        """
        *seconds* returns the time of the clock on which deadlines are set, in seconds.

        It is called on the reactor thread and on decode threads.
        """
        self.model = model
        self.default_timeout = default_timeout
        self.decoding = DecodeAdmission(pool.threads)
        self._pool = pool
        self._share = model.queues.share
        self._seconds = seconds
        # The queue of a request is not known before its body is read: expect the last one used.
        self._last_queue = model.default_queue
        self._finishing = 0  # results that wait for a decode thread or are finished on one

    @property
    def pending(self) -> int:
        """The count of requests that wait for a decode thread or run on one."""
        return self._pool.pending

    def admit(self, options: RequestOptions) -> None:
        """
        Raise an error if a request with these *options* would be answered too late.

        Called when the head has been received, and again when the body has arrived later.  Raises
        `Overloaded` if the wait for the decode threads (server/decode_admission.py) or the queue
        (batcher/admission.py) is too long, `DeadlineExceeded` if the deadline has passed, and the
        other errors of `Batcher.admit`.  The request is then recorded as one refused or late row.
        """
        deadline, queue, recorder = self._deadline(options), self._last_queue, self.model.recorder
        allowed = deadline - self._seconds()
        if allowed <= 0.0:
            recorder.expired(queue, 1, "decode")
            raise DeadlineExceeded(-allowed, "submit")
        try:
            self.decoding.admit(self._pool.pending_before(self._share), queue, allowed)
        except Overloaded:
            recorder.refused(queue, 1, "decode")
            raise
        try:
            self._admit(queue, deadline, options.priority)
        except (Overloaded, ShuttingDown, RunHung) as error:
            recorder.refused(queue, 1, _CAUSES[type(error)])
            raise

    def expected_wait(self) -> float:
        """
        Return the expected seconds until a request that arrives now is answered.

        The request is like the last one: its rows wait in the queue that was used last.  The value
        is the one that admission compares with the time allowed, so it has the learned margins.
        """
        queue, batcher = self._last_queue, self.model.batcher
        decoding = self.decoding.expected_wait(self._pool.pending_before(self._share), queue)
        return max(decoding, batcher.expected_wait(queue, ahead=self._rows_ahead))

    @property
    def _rows_ahead(self) -> int:
        """
        The rows that are admitted but not submitted yet.

        The rows of the requests that are decoded are not known: count one for each.
        """
        return self._pool.pending_of(self._share) - self._finishing

    def _admit(self, queue: FeedQueue, deadline: float, priority: Priority) -> None:
        ahead = self._rows_ahead
        ask = partial(self.model.batcher.admit, deadline=deadline, priority=priority, ahead=ahead)
        try:
            ask(queue)
        except Overloaded:
            if ahead or not self.model.batcher.idle:
                raise
            # Nothing waits or runs, and a request for the default queue may be quick enough.
            ask(self.model.default_queue)

    def run(self, call: Call[T], timing: Timing | None = None) -> Deferred[T]:
        """
        Return a Deferred of the result of *call*.

        *timing* is updated.  Cancelling withdraws the request while it waits for a decode thread or
        in a queue; otherwise its result is dropped.  Fails with the errors of `Call.prepare`,
        `Batcher.submit` and `Call.finish`, and with `DeadlineExceeded` if the feed could not be
        prepared before the deadline.
        """
        timing = timing or Timing()
        answer: Deferred[Outputs]
        if call.at_once:
            try:
                answer = self.submit(self._prepare_at_once(call, timing), call.options, timing)
            except Exception:  # noqa: BLE001 - any error is the result of the call
                return fail(self._not_prepared(Failure()))
        else:
            prepared = self._pool.run(
                self._prepare_before,
                call.prepare,
                self._deadline(call.options),
                share=self._share,
                on_duration=partial(self._observe_decoding, timing),
            )
            answer = prepared.addCallbacks(
                self.submit, self._not_decoded, callbackArgs=(call.options, timing)
            )
        return answer.addCallback(self._finish, call.finish, timing)

    def submit(
        self, feed: Feed, options: RequestOptions = NO_DEADLINE, timing: Timing | None = None
    ) -> Deferred[Outputs]:
        """
        Queue *feed*, which is already prepared, and return a Deferred of the model's outputs.

        *timing* is updated.  Cancelling and the errors are those of `Batcher.submit`.
        """
        timing = timing or Timing()
        queue, rows = self.model.queues.of(feed), feed.rows
        self._last_queue = queue
        timeout = options.timeout
        if timeout is None:
            # The default does not limit the time to decode the request's own image.
            timeout = self.default_timeout.of(queue, rows) + (timing.decode or 0.0)
        answer = self.model.batcher.submit(
            feed,
            rows,
            queue,
            deadline=options.since + timeout,
            priority=options.priority,
            source=options.source,
            trace=timing.trace,
        )
        return answer.addCallback(partial(Outputs, feed.signature))

    def _prepare_at_once(self, call: Call[T], timing: Timing) -> Feed:
        start = self._seconds()
        try:
            return self._prepare_before(call.prepare, self._deadline(call.options))
        finally:
            timing.decode = self._seconds() - start

    def _finish(
        self, outputs: Outputs, finish: Callable[[Outputs], T], timing: Timing
    ) -> T | Deferred[T]:
        """Return the result of *finish* for *outputs*, or its Deferred if *outputs* are large."""
        if outputs.exceed(MAX_BYTES_FINISHED_AT_ONCE):
            self._finishing += 1
            set_encode = partial(_set_encode, timing)
            finished = self._pool.run(finish, outputs, share=self._share, on_duration=set_encode)
            return finished.addBoth(self._finished)
        start = self._seconds()
        result = finish(outputs)
        timing.encode = self._seconds() - start
        return result

    def _finished(self, result: T | Failure) -> T | Failure:
        """Count a result, or its error, that a decode thread has finished; return it."""
        self._finishing -= 1
        return result

    def _not_decoded(self, failure: Failure) -> Failure:
        """
        Record a request that no decode thread has prepared; return *failure*, its error.

        If its deadline passed before a thread was free, the margin learns from that.
        """
        if failure.check(DeadlineExceeded):
            self.decoding.observe_missed(self._seconds())
        return self._not_prepared(failure)

    def _not_prepared(self, failure: Failure) -> Failure:
        """Record a request that ends before it is submitted; return *failure*, its error."""
        recorder = self.model.recorder
        if failure.check(DeadlineExceeded):
            recorder.expired(self._last_queue, 1, "decode")
        elif failure.check(CancelledError):
            recorder.cancelled(self._last_queue, 1, "decode")
        return failure

    def _prepare_before(self, prepare: Callable[[], Feed], deadline: float) -> Feed:
        """
        Return the feed that *prepare* returns; called on the thread on which it is prepared.

        If *deadline* has passed, raises `DeadlineExceeded` without a call of *prepare*.
        """
        late = self._seconds() - deadline
        if late > 0:
            raise DeadlineExceeded(late, "queue")
        return prepare()

    def _observe_decoding(self, timing: Timing, seconds: float) -> None:
        timing.decode = seconds
        self.decoding.observe(seconds)

    def _deadline(self, options: RequestOptions) -> float:
        timeout = options.timeout
        return options.since + (self.default_timeout.seconds if timeout is None else timeout)


def _set_encode(timing: Timing, seconds: float) -> None:
    timing.encode = seconds
