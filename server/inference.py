"""
Take one picture through the house: decode, wait, run, pick the best labels.

Knows neither HTTP nor sockets: the dialects in server/api translate to and from this.  Everything
here runs on the reactor thread; the work is done in the decode pool and on the model threads.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import numpy as np
from twisted.internet.defer import Deferred

from batcher.batcher import Batcher
from batcher.errors import DeadlineExceeded
from batcher.trace import Trace
from model.decode_pool import DecodePool
from model.labels import top_k
from model.preprocess import Preprocessing, decode_image
from model.signature import Feed, Signature, shape_key


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is ready, with all it takes to answer a picture with labels."""

    name: str
    version: str
    signature: Signature
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    batcher: Batcher[Feed, Feed]

    @property
    def full_name(self) -> str:
        """The name and the version, as answers tell them."""
        return f"{self.name}/{self.version}"


@dataclass(slots=True)
class Timing:
    """Where the time of one request went, in seconds; filled in on the way, errors or not."""

    decode: float | None = None
    encode: float | None = None
    trace: Trace = field(default_factory=Trace)

    def decoded(self, seconds: float) -> None:
        """Note how long the decoding took."""
        self.decode = seconds


@dataclass(frozen=True, slots=True)
class Prediction:
    """The best labels of one picture, the best first."""

    classes: list[tuple[str, np.floating]]


class Classifier:
    """Answers pictures with the labels of one model."""

    def __init__(
        self,
        model: ServedModel,
        pool: DecodePool,
        *,
        max_pixels: int,
        seconds: Callable[[], float],
    ) -> None:
        """*seconds* is the clock of the deadlines, read on the decode threads."""
        self.model = model
        self._pool = pool
        self._max_pixels = max_pixels
        self._seconds = seconds

    def classify(
        self, data: bytes, k: int, *, deadline: float = inf, timing: Timing | None = None
    ) -> Deferred[Prediction]:
        """
        Return the *k* best labels of the encoded picture *data*.

        *deadline* is a time of the monotonic clock.  Cancelling takes the picture out of whichever
        queue it stands in.  Fails with `BadImage`, or with what `Batcher.submit` fails with.
        """
        timing = timing or Timing()
        decoded = self._pool.run(self._decode, data, deadline, took=timing.decoded)

        def submit(image: np.ndarray) -> Deferred[Feed]:
            (spec,) = self.model.signature.inputs
            feed = self.model.signature.feed({spec.name: image[np.newaxis]})
            return self.model.batcher.submit(
                feed, key=shape_key(feed), deadline=deadline, trace=timing.trace
            )

        def pick(outputs: Feed) -> Prediction:
            return Prediction(top_k(outputs[0][0], self.model.labels, k))

        return decoded.addCallback(submit).addCallback(pick)

    def _decode(self, data: bytes, deadline: float) -> np.ndarray:
        """Decode *data*, on a thread of the pool, unless the queue for it took too long."""
        late = self._seconds() - deadline
        if late > 0:
            raise DeadlineExceeded(late, "queue")
        return decode_image(data, self.model.preprocessing, max_pixels=self._max_pixels)
