"""
Take one request through the house: prepare, wait, run, pick the best labels.

Knows neither HTTP nor sockets: the dialects in server/api translate to and from this.  Everything
here runs on the reactor thread; the work is done in the decode pool and on the model threads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from batcher.batcher import Batcher
from batcher.errors import DeadlineExceeded, Overloaded
from batcher.trace import Trace
from model.errors import ModelError
from model.execution.decode_pool import DecodePool
from model.execution.queues import FeedQueue, Queues
from model.images.input import ImageInput
from model.repository.labels import top_k
from model.signature import Arrays, Feed, Signature
from server.admission import ANY_TIME, NO_TIMEOUT, Decoding, DefaultTimeout, Terms


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is ready, with all it takes to answer tensors and images."""

    name: str
    version: str
    device: str  #: in words
    signatures: Mapping[str, Signature]
    default: str  #: the signature of requests that name none
    image_input: ImageInput | None  #: None where no image can be its input
    samples: Mapping[str, Feed]  #: for each signature a row that it runs, where one was found
    labels: tuple[str, ...]  #: none where there are none
    top: int  #: how many labels an answer has that was not asked for another number
    #: The most pixels of an image among a request's strings; None where the model decodes none.
    max_pixels: int | None
    queues: Queues
    batcher: Batcher[Feed, Arrays]

    @property
    def full_name(self) -> str:
        """The name and the version, as answers tell them."""
        return f"{self.name}/{self.version}"

    @property
    def usual(self) -> FeedQueue:
        """The runs of images where the model takes any, else of who names no signature."""
        image_input = self.image_input
        name = self.default if image_input is None else image_input.signature.name
        return self.queues.known[name]

    def cap(self, signature: str) -> int:
        """Return the largest batch that the *signature* of this name had at the start."""
        return self.queues.cap(self._run_as(signature))

    def _run_as(self, signature: str) -> str:
        """Return the name of the signature that is run for requests for this one."""
        image_input = self.image_input
        if image_input is not None and image_input.asked.name == signature:
            return image_input.signature.name
        return signature


@dataclass(slots=True)
class Timing:
    """Where the time of one request went, in seconds; filled in on the way, errors or not."""

    decode: float | None = None
    encode: float | None = None
    trace: Trace = field(default_factory=Trace)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model gave, in the order of its signature."""

    signature: Signature
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class Prediction:
    """The best labels of one image, the best first."""

    classes: list[tuple[str, np.floating]]


class Inference:
    """Answers tensors, and images with labels, with one model."""

    def __init__(
        self,
        model: ServedModel,
        pool: DecodePool,
        *,
        seconds: Callable[[], float],
        default_timeout: DefaultTimeout = NO_TIMEOUT,
    ) -> None:
        """*seconds* is the clock of the deadlines, read on the decode threads."""
        self.model = model
        self.default_timeout = default_timeout
        self.decoding = Decoding(pool.threads)
        self._pool = pool
        self._seconds = seconds
        # What a request will run as is not known before its body: as the last one did.
        self._last = model.usual

    @property
    def pending(self) -> int:
        """How many requests wait for a decode thread, or are on one."""
        return self._pool.pending

    def admit(self, terms: Terms) -> None:
        """
        Raise where a request on these *terms* would be answered too late: it has cost nothing yet.

        `Overloaded`, which counts as refused, `DeadlineExceeded` where its time is over, and what
        `Batcher.admit` raises.
        """
        try:
            self._admit(terms)
        except Overloaded:
            self.model.batcher.count_refused()
            raise

    def _admit(self, terms: Terms) -> None:
        deadline = self._deadline(terms)
        allowed = deadline - self._seconds()
        if allowed <= 0.0:
            raise DeadlineExceeded(-allowed, "submit")
        queue, ahead = self._last, self.pending
        self.decoding.admit(ahead, queue, allowed)
        # A row each, as far as one can know.
        ask = partial(
            self.model.batcher.admit, deadline=deadline, priority=terms.priority, ahead=ahead
        )
        try:
            ask(queue)
        except Overloaded:
            if ahead or not self.model.batcher.idle:
                raise
            # One of another kind has time enough, perhaps, and keeps nobody waiting.
            ask(self.model.usual)

    def run(
        self,
        prepare: Callable[[], Feed],
        terms: Terms = ANY_TIME,
        *,
        timing: Timing | None = None,
    ) -> Deferred[Outputs]:
        """
        Return what the model makes of the feed that *prepare* returns, on a decode thread.

        Cancelling takes the request out of whichever queue it stands in.  Fails with what *prepare*
        or `Batcher.submit` fails with.
        """
        timing = timing or Timing()
        took = partial(self._decoded, timing)
        prepared = self._pool.run(self._in_time, prepare, self._deadline(terms), took=took)
        return prepared.addCallbacks(self.submit, self._not_decoded, callbackArgs=(terms, timing))

    def submit(
        self, feed: Feed, terms: Terms = ANY_TIME, timing: Timing | None = None
    ) -> Deferred[Outputs]:
        """
        Return what the model makes of *feed*, which needs no decode thread; else as `run` does.

        Fails with what `Batcher.submit` fails with.
        """
        timing = timing or Timing()
        queue, rows = self.model.queues.of(feed), feed.rows
        self._last = queue
        timeout = terms.timeout
        if timeout is None:
            # However long its own image takes: nobody named a limit that it could keep.
            timeout = self.default_timeout.of(queue, rows) + (timing.decode or 0.0)
        answer = self.model.batcher.submit(
            feed,
            rows,
            queue,
            deadline=terms.since + timeout,
            priority=terms.priority,
            source=terms.source,
            trace=timing.trace,
        )
        return answer.addCallback(partial(Outputs, feed.signature))

    def classify(
        self,
        data: bytes,
        k: int,
        terms: Terms = ANY_TIME,
        *,
        timing: Timing | None = None,
        read: Callable[[bytes], bytes] = bytes,
    ) -> Deferred[Prediction]:
        """
        Return the *k* best labels of the image file that *read* returns of *data*, as `run` does.

        Only for a model that has labels; fails with `BadImage` as well.  *read* is called on a
        decode thread, and may raise `BadImage`.
        """
        image_input = self.model.image_input
        if image_input is None:
            return fail(ModelError(f"{self.model.full_name} takes no images"))

        def pick(outputs: Outputs) -> Prediction:
            return Prediction(top_k(image_input.scores_of(outputs.arrays), self.model.labels, k))

        def prepare() -> Feed:
            return image_input.feed(read(data))

        return self.run(prepare, terms, timing=timing).addCallback(pick)

    def _not_decoded(self, failure: Failure) -> Failure:
        """Learn that a request waited too long for a decode thread, if that is why it failed."""
        if failure.check(DeadlineExceeded):
            self.decoding.late(self._seconds())
        return failure

    def _in_time(self, prepare: Callable[[], Feed], deadline: float) -> Feed:
        """Prepare a feed, on a thread of the pool, unless the queue for it took too long."""
        late = self._seconds() - deadline
        if late > 0:
            raise DeadlineExceeded(late, "queue")
        return prepare()

    def _decoded(self, timing: Timing, seconds: float) -> None:
        timing.decode = seconds
        self.decoding.observe(seconds)

    def _deadline(self, terms: Terms) -> float:
        timeout = terms.timeout
        return terms.since + (self.default_timeout.seconds if timeout is None else timeout)
