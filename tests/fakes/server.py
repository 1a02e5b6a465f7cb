"""An observed log, and models and threads that tests step by hand."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from batcher.batcher import Batcher
from batcher.executor import Executor, Piece
from batcher.policy import LotPolicy, Policy
from model.backend import LoadedModel, OnProgress
from model.execution.decode_pool import DecodePool
from model.execution.lane_pool import join_rows
from model.execution.recorder import Recorder
from model.execution.thread import CallFromThread, JobQueue, ModelThread
from model.images.decode import decode_image
from model.images.input import ImageInput
from model.images.preprocessing import Preprocessing, Resample
from model.signature import Arrays, Feed, Signature, TensorSpec, blank_feed
from server.admission import Admission
from server.call import NO_DEADLINE, Call, Calls, Outputs, RequestOptions, Timing
from server.inference import Inference
from server.served_model import ServedModel
from server.settings.table import Settings
from tests.fakes.model import FakeRunner, fake_queues

T = TypeVar("T")

# --- the log


@implementer(ILogObserver)
class Log:
    """The events logged during a test."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        """Record *event*."""
        self.events.append(event)

    def lines(self) -> list[str]:
        """Return all lines, without their dates and systems."""
        return [_line(event) for event in self.events]

    def errors(self) -> list[str]:
        """Return the lines of the errors."""
        return [_line(event) for event in self.events if _is_error(event)]

    def flush_errors(self) -> list[str]:
        """Remove and return the lines of the errors, which the test has expected."""
        lines = self.errors()
        self.events = [event for event in self.events if not _is_error(event)]
        return lines

    def flush(self, kind: type[BaseException]) -> list[str]:
        """Remove and return the failures of this *kind*, which the test has expected."""
        flushed = [event for event in self.events if isinstance(_raised(event), kind)]
        self.events = [event for event in self.events if event not in flushed]
        return [_line(event) for event in flushed]


def _line(event: LogEvent) -> str:
    return eventAsText(event, includeTimestamp=False, includeSystem=False)


def _raised(event: LogEvent) -> BaseException | None:
    failure = event.get("log_failure")
    return failure.value if isinstance(failure, Failure) else None


def _is_error(event: LogEvent) -> bool:
    level = event.get("log_level", LogLevel.info)
    return "log_failure" in event or level in (LogLevel.error, LogLevel.critical)


@contextmanager
def watched_log() -> Iterator[Log]:
    """
    Fail the test if an error is logged, or a Deferred created in it has an unhandled error.

    Such a Deferred logs its error when it is collected; older objects are not collected.
    """
    log = Log()
    globalLogPublisher.addObserver(log)
    gc.freeze()
    try:
        yield log
        gc.collect()
    finally:
        gc.unfreeze()
        globalLogPublisher.removeObserver(log)
    assert not log.errors(), log.errors()


LABELS = ("cat", "dog", "eel")
SIZE = 4  #: pixels a side
SIGNATURE = Signature(
    inputs=(TensorSpec("image", np.dtype(np.uint8), (None, SIZE, SIZE, 3)),),
    outputs=(TensorSpec("scores", np.dtype(np.float32), (None, len(LABELS))),),
)
PREPROCESSING = Preprocessing(SIZE, SIZE, None, Resample.BILINEAR)


def images(max_pixels: int = 1000) -> ImageInput:
    """Return the input of images, of up to *max_pixels*, to `SIGNATURE`."""

    def array_of(data: bytes) -> np.ndarray:
        return decode_image(data, PREPROCESSING, max_pixels=max_pixels)[np.newaxis]

    return ImageInput(SIGNATURE, array_of, f"{SIZE} x {SIZE} RGB")


class ManualLane:
    """An executor whose runs end on `finish`, `give` or `fail`."""

    seconds: float | None = None

    def __init__(self) -> None:
        self.batches: list[list[Feed]] = []
        self._answer: Deferred[Sequence[Arrays]] | None = None

    def run(self, pieces: Sequence[Piece[Feed]]) -> Deferred[Sequence[Arrays]]:
        """Record *pieces*, and leave the run open."""
        assert self._answer is None, "a lane runs one batch at a time"
        self.batches.append([piece.item for piece in pieces])
        self._answer = Deferred()
        return self._answer

    def finish(self, *scores: Sequence[float]) -> None:
        """End the run with *scores*, one row per item."""
        self.give(*((np.array([row], np.float32),) for row in scores))

    def give(self, *results: Arrays) -> None:
        """End the run with *results*, one per item."""
        self._take().callback(list(results))

    def fail(self, error: Exception) -> None:
        """Let the run fail."""
        self._take().errback(error)

    def _take(self) -> Deferred[Sequence[Arrays]]:
        answer, self._answer = self._answer, None
        assert answer is not None, "nothing runs"
        return answer


def served_model(
    clock: IReactorTime,
    executor: Executor[Feed, Arrays],
    *,
    policy: Policy | None = None,
    max_queued_rows: int = 8,
    takes_images: bool = True,
    labels: tuple[str, ...] = LABELS,
) -> ServedModel:
    """Return a model that *executor* runs."""
    blank, recorder = blank_feed(SIGNATURE), Recorder()
    queues = fake_queues(max_queued_rows * blank.row_bytes)
    queues.learn(blank, min(4, max_queued_rows), {1: 1.0})
    return ServedModel(
        name="pets",
        version="7",
        device="a fake device",
        signatures={SIGNATURE.name: SIGNATURE},
        default=SIGNATURE.name,
        image_input=images() if takes_images else None,
        samples={SIGNATURE.name: blank},
        labels=labels,
        top=2,
        max_pixels=None,
        queues=queues,
        batcher=Batcher(
            clock, [executor], policy or LotPolicy(), join=join_rows, observer=recorder
        ),
        recorder=recorder,
    )


#: The best labels of an image, each with its score.
Labels = list[tuple[str, np.floating]]


def classify(
    inference: Inference,
    data: bytes,
    k: int,
    options: RequestOptions = NO_DEADLINE,
    *,
    timing: Timing | None = None,
) -> Deferred[Labels]:
    """Return a Deferred of the *k* best labels of the image file *data*."""
    model = inference.model
    prepare = partial(model.prepare_image, data)
    return inference.run(Call(prepare, partial(model.finish_image, k=k), options), timing)


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call of `FakeInference.run`; the test fires its `answer`, the outputs of the model."""

    call: Call[Any]
    timing: Timing
    answer: Deferred[Outputs]


class FakeAdmission(Admission):
    """Records the options that it is asked about; refuses while `refusal` is set."""

    admitted: list[RequestOptions]
    refusal: Exception | None = None

    def admit(self, options: RequestOptions) -> None:
        """Record *options*, and raise `refusal` if it is set."""
        self.admitted.append(replace(options))
        if self.refusal is not None:
            raise self.refusal


class FakeInference(Inference):
    """Records calls; the test answers them through `RecordedCall.answer`."""

    admission: FakeAdmission

    def __init__(self, clock: IReactorTime) -> None:
        pool = DecodePool(lambda *_: None, 1)
        super().__init__(served_model(clock, ManualLane()), pool, clock=clock)
        self.admission = FakeAdmission(self.model, pool, seconds=clock.seconds)
        self.admission.admitted = []
        self.calls: list[RecordedCall] = []
        self.cancelled = 0

    def run(self, call: Call[T] | Calls[T], timing: Timing | None = None) -> Deferred[T]:
        """Record the call; prepare nothing, and finish the outputs of its answer."""
        assert isinstance(call, Call)

        def cancel(_: Deferred[Outputs]) -> None:
            self.cancelled += 1

        recorded = RecordedCall(call, timing or Timing(), Deferred(cancel))
        self.calls.append(recorded)
        return recorded.answer.addCallback(self._finish, call, recorded.timing)


def scored(*scores: float) -> Outputs:
    """Return the outputs for one image with these *scores*, one for each label."""
    return Outputs(SIGNATURE, (np.array([scores], np.float32),))


# --- models


class FakeLoader:
    """Loads *runner* for *lanes* lanes, or raises `error`."""

    def __init__(self, runner: FakeRunner, *, lanes: int = 1) -> None:
        self.runner = runner
        self.lanes = lanes
        self.error: Exception | None = None
        self.loads = 0

    def __call__(self, settings: Settings, on_progress: OnProgress) -> LoadedModel:
        """Return the loaded model."""
        self.loads += 1
        on_progress("loading pets/7")
        if self.error is not None:
            raise self.error
        signatures = self.runner.signatures
        return LoadedModel(
            name="pets",
            version="7",
            runner=self.runner,
            signatures=signatures,
            image_input=images(settings.max_pixels) if signatures[0] is SIGNATURE else None,
            labels=LABELS if signatures[0] is SIGNATURE else (),
            top=settings.num_top_predictions or 5,
            samples={signature.name: blank_feed(signature) for signature in signatures},
            decodes=False,
            lanes=self.lanes,
        )


# --- threads


class SteppedThreads:
    """Creates model threads that work on `step`."""

    def __init__(self) -> None:
        self.started: list[ModelThread] = []
        self.ended: list[ModelThread] = []
        self.hung: set[str] = set()  #: the names of threads that do no job
        self._queues: dict[ModelThread, JobQueue] = {}

    def __call__(
        self,
        name: str,
        queue: JobQueue,
        *,
        call_from_thread: CallFromThread,
        seconds: Callable[[], float],
    ) -> ModelThread:
        """Return a new thread, as `ModelThread` does."""
        thread = ModelThread(
            name,
            queue,
            call_from_thread=call_from_thread,
            seconds=seconds,
            start_thread=lambda _target, _name: self.started.append(thread),
        )
        self._queues[thread] = queue
        return thread

    @property
    def running(self) -> list[ModelThread]:
        """The threads that were started and have not ended."""
        return [thread for thread in self.started if thread not in self.ended]

    def step(self) -> bool:
        """Let each thread do all its jobs; return whether there were any."""
        worked = False
        for thread in [it for it in self.running if it.name not in self.hung]:
            while thread not in self.ended and not self._queues[thread].empty():  # type: ignore[attr-defined]  # SimpleQueue
                worked = True
                if not thread.step():
                    self.ended.append(thread)
        return worked
