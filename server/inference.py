"""
Run one request: admit, prepare on a decode thread, queue, run, select the best labels.

Knows neither HTTP nor sockets: the dialects in server/api convert requests to calls of this module,
and its results to answers.  Everything here runs on the reactor thread, except for the functions
that are passed to the decode pool.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from batcher.batcher import Batcher
from batcher.errors import DeadlineExceeded, Overloaded
from batcher.priority import Priority
from batcher.stats import Recorder
from batcher.trace import Trace
from model.errors import ModelError
from model.execution.decode_pool import DecodePool
from model.execution.queues import FeedQueue, Queues
from model.images.input import ImageInput
from model.repository.labels import top_k
from model.signature import Arrays, Feed, Signature
from server.deadlines import NO_DEADLINE, NO_DEFAULT_TIMEOUT, DefaultTimeout, RequestOptions
from server.decode_admission import DecodeAdmission


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is ready to run, with the data that answers to tensors and images need."""

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

    def _run_as(self, signature: str) -> str:
        """Return the name of the signature that runs when a request names *signature*."""
        image_input = self.image_input
        if image_input is not None and image_input.requested.name == signature:
            return image_input.signature.name
        return signature


@dataclass(slots=True)
class Timing:
    """
    How long the stages of one request took.

    The time of a stage is set when the stage ends, and stays set if a later stage fails.
    """

    decode: float | None = None  #: seconds on a decode thread; None if that has not ended
    encode: float | None = None  #: seconds to write the answer's body; None if that has not ended
    trace: Trace = field(default_factory=Trace)  #: the time in the queue, and the runs


@dataclass(frozen=True, slots=True)
class Outputs:
    """The output arrays of one request, in the order of the outputs of *signature*."""

    signature: Signature
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class Prediction:
    """The best labels of one image, each with its score, the best first."""

    classes: list[tuple[str, np.floating]]


class Inference:
    """Runs requests for tensors, and for the labels of images, on one model."""

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
        self._seconds = seconds
        # The queue of a request is not known before its body is read: expect the last one used.
        self._last_queue = model.default_queue

    @property
    def pending(self) -> int:
        """The count of requests that wait for a decode thread or run on one."""
        return self._pool.pending

    def admit(self, options: RequestOptions) -> None:
        """
        Raise an error if a request with these *options* would be answered too late.

        Called when the head has been received, and again when the body has arrived later.  Raises
        `Overloaded` if the wait for the decode threads (server/decode_admission.py) or the queue
        (batcher/admission.py) is too long; the request is then counted in `Totals.refused`.  Raises
        `DeadlineExceeded` if the deadline has passed, and the other errors of `Batcher.admit`.
        """
        deadline = self._deadline(options)
        allowed = deadline - self._seconds()
        if allowed <= 0.0:
            raise DeadlineExceeded(-allowed, "submit")
        queue, ahead = self._last_queue, self.pending
        try:
            self.decoding.admit(ahead, queue, allowed)
        except Overloaded:
            self.model.recorder.refused(queue, 1, "decode")
            raise
        try:
            self._admit(queue, deadline, options.priority, ahead)
        except Overloaded:
            self.model.recorder.refused(queue, 1, "late")
            raise

    def _admit(self, queue: FeedQueue, deadline: float, priority: Priority, ahead: int) -> None:
        # The rows of the requests that are pending are not known yet: count one for each.
        ask = partial(self.model.batcher.admit, deadline=deadline, priority=priority, ahead=ahead)
        try:
            ask(queue)
        except Overloaded:
            if ahead or not self.model.batcher.idle:
                raise
            # Nothing waits or runs, and a request for the default queue may be quick enough.
            ask(self.model.default_queue)

    def run(
        self,
        prepare: Callable[[], Feed],
        options: RequestOptions = NO_DEADLINE,
        *,
        timing: Timing | None = None,
    ) -> Deferred[Outputs]:
        """
        Return a Deferred of the model's outputs for the feed that *prepare* returns.

        *prepare* is called on a decode thread.  *timing* is updated.  Cancelling withdraws the
        request while it waits for a decode thread or in a queue; otherwise its result is dropped.
        Fails with the errors of *prepare* and `Batcher.submit`, and with `DeadlineExceeded` if no
        decode thread was free before the deadline.
        """
        timing = timing or Timing()
        observe = partial(self._observe_decoding, timing)
        deadline = self._deadline(options)
        prepared = self._pool.run(self._prepare_before, prepare, deadline, on_duration=observe)
        return prepared.addCallbacks(
            self.submit, self._observe_missed_deadline, callbackArgs=(options, timing)
        )

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

    def classify(
        self,
        data: bytes,
        k: int,
        options: RequestOptions = NO_DEADLINE,
        *,
        timing: Timing | None = None,
        read: Callable[[bytes], bytes] = bytes,
    ) -> Deferred[Prediction]:
        """
        Return a Deferred of the *k* best labels of the image in *data*; the model must have labels.

        *read* is called with *data* on a decode thread; it returns the image file in *data*, or
        raises `BadImage`.  The Deferred fails with the errors of `run`, with `BadImage` if the
        image cannot be decoded, and with `ModelError` if the model takes no images.
        """
        image_input = self.model.image_input
        if image_input is None:
            return fail(ModelError(f"{self.model.full_name} takes no images"))

        def pick_labels(outputs: Outputs) -> Prediction:
            return Prediction(top_k(image_input.scores_of(outputs.arrays), self.model.labels, k))

        def prepare() -> Feed:
            return image_input.feed(read(data))

        return self.run(prepare, options, timing=timing).addCallback(pick_labels)

    def _observe_missed_deadline(self, failure: Failure) -> Failure:
        """
        Update the margin if *failure* is a `DeadlineExceeded`; return *failure*.

        The deadline then passed before a decode thread was free.
        """
        if failure.check(DeadlineExceeded):
            self.decoding.observe_missed(self._seconds())
        return failure

    def _prepare_before(self, prepare: Callable[[], Feed], deadline: float) -> Feed:
        """
        Return the feed that *prepare* returns; called on a decode thread.

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
