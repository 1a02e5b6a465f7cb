"""Fakes of runners and model threads, and the contract that real runners share."""

from collections import deque
from collections.abc import Callable

import numpy as np

from batcher.errors import OutOfMemory
from batcher.share import Share
from model.backend import LoadedModel, Runner
from model.execution.queues import Queues
from model.execution.thread import Job, ModelThread, Sentinel
from model.signature import Arrays, Feed, Signature, TensorSpec
from tests.fakes.threads import Calls

#: Images of 2 x 2 pixels in, three scores out.
IMAGES = Signature(
    inputs=(TensorSpec("images", np.dtype(np.uint8), (None, 2, 2, 3)),),
    outputs=(TensorSpec("scores", np.dtype(np.float32), (None, 3)),),
)


def images(*values: int, model: LoadedModel | None = None) -> Feed:
    """
    Return a feed with a row for each of *values*, all of whose pixels are that value.

    *model* is the model that the feed names.
    """
    rows = np.array(values, np.uint8).reshape(-1, 1, 1, 1)
    return Feed(IMAGES, (np.broadcast_to(rows, (len(values), 2, 2, 3)).copy(),), model)


def loaded(runner: Runner, *, name: str = "fake", version: str = "1") -> LoadedModel:
    """Return a loaded model without images that *runner* runs."""
    return LoadedModel(
        name=name,
        version=version,
        runner=runner,
        signatures=runner.signatures,
        image_input=None,
        labels=(),
        top=5,
        samples={},
        decodes=False,
        lanes=1,
    )


def fake_queues(max_queue_bytes: int) -> Queues:
    """Return the queues of a model whose runs do nothing that a test looks at."""
    return Queues(loaded(FakeRunner()), Share("fake/1"), max_queue_bytes)


class FakeRunner:
    """
    A `model.backend.Runner` whose outputs for a row are all the sum of the values of that row.

    A run of more than *capacity* rows is out of memory.  *spend* is called with the rows of each
    run, for example to advance a clock.  A run raises the first of `errors`, if there is one.
    """

    def __init__(
        self,
        *signatures: Signature,
        capacity: int | None = None,
        spend: Callable[[int], object] | None = None,
    ) -> None:
        self.signatures = signatures or (IMAGES,)
        self.fingerprint = "fake"
        self.device = "a fake device"
        self.errors: list[Exception] = []
        #: A copy of the arrays of each run, failed runs included.
        self.fed: list[Arrays] = []
        #: The number of calls of `close`.
        self.closed = 0
        self._capacity = capacity
        self._spend = spend

    def run(self, feed: Feed) -> Arrays:
        """Return the outputs, each row computed by itself."""
        rows = feed.rows
        self.fed.append(tuple(array.copy() for array in feed.arrays))
        if self._spend is not None:
            self._spend(rows)
        if self.errors:
            raise self.errors.pop(0)
        if self._capacity is not None and rows > self._capacity:
            raise OutOfMemory(rows)
        sums = sum(array.reshape(rows, -1).sum(axis=1, dtype=np.float64) for array in feed.arrays)
        return tuple(self._answer(spec, np.asarray(sums)) for spec in feed.signature.outputs)

    def _answer(self, spec: TensorSpec, sums: np.ndarray) -> np.ndarray:
        columns = sums.reshape(-1, *(1 for _ in spec.row_shape))
        shape = (len(sums), *(size or 1 for size in spec.row_shape))
        return np.broadcast_to(columns, shape).astype(spec.dtype)

    def close(self) -> None:
        """Count the call."""
        self.closed += 1


def check_runner(runner: Runner, feed: Feed) -> None:
    """
    Check the contract of `model.backend.Runner` with *feed*, of two rows or more.

    The outputs fit the signature, output row i depends on input row i alone, and the outputs do not
    change when the memory of the feed is written again.
    """
    spare = tuple(array.copy() for array in feed.arrays)
    outputs = runner.run(Feed(feed.signature, spare))
    answered = [output.copy() for output in outputs]
    for array in spare:
        array[:] = 0
    backwards = runner.run(Feed(feed.signature, tuple(array[::-1].copy() for array in feed.arrays)))
    alone = runner.run(Feed(feed.signature, tuple(array[1:2].copy() for array in feed.arrays)))
    for spec, output, before, turned, one in zip(
        feed.signature.outputs, outputs, answered, backwards, alone, strict=True
    ):
        assert spec.accepts(output), (spec, output.dtype, output.shape)
        assert len(output) == feed.rows
        np.testing.assert_array_equal(output, before)
        np.testing.assert_allclose(turned[::-1], output, rtol=1e-5)
        np.testing.assert_allclose(one, output[1:2], rtol=1e-5)
    assert (len(runner.fingerprint) > 0, len(runner.device) > 0) == (True, True)


class SteppingQueue:
    """A `JobQueue` for one thread: `get` of an empty queue fails and never blocks."""

    def __init__(self) -> None:
        self.jobs: deque[Job | Sentinel] = deque()

    def put(self, job: Job | Sentinel) -> None:
        """Add *job* at the end."""
        self.jobs.append(job)

    def get(self) -> Job | Sentinel:
        """Remove and return the first job; fail the test where a real thread would block."""
        assert self.jobs, "the model thread would wait for ever"
        return self.jobs.popleft()


class SteppedThread:
    """A `ModelThread` that runs a job at each `step`, and the calls that wake its reactor."""

    def __init__(self, name: str = "model-0", seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.queue = SteppingQueue()
        #: The name of each thread that was started.
        self.started: list[str] = []
        #: At each yield of the CPU: the number of jobs in the queue.
        self.yields: list[int] = []
        self.calls = Calls()
        self.thread = ModelThread(
            name,
            self.queue,
            call_from_thread=self.calls,
            seconds=seconds,
            start_thread=self._start,
            yield_cpu=lambda: self.yields.append(len(self.queue.jobs)),
        )

    def _start(self, target: Callable[[], None], name: str) -> None:
        self.started.append(name)

    def step(self) -> bool:
        """Run the first job as the model thread; return False after the last job."""
        return self.thread.step()

    def run_all(self) -> int:
        """Run and deliver all jobs, with those that they add; return their number."""
        done = 0
        while self.queue.jobs:
            self.step()
            self.calls.drain()
            done += 1
        return done


def started_thread(
    name: str = "model-0", seconds: Callable[[], float] = lambda: 0.0
) -> SteppedThread:
    """Return a stepped thread that has started."""
    stepped = SteppedThread(name, seconds)
    stepped.thread.start()
    return stepped
