"""Timeout, priority and source of a request: how server/inference.py uses them."""

from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from batcher.batcher import Batcher
from batcher.errors import DeadlineExceeded, Overloaded
from batcher.learning.latency import LatencyCurve
from batcher.priority import Priority
from batcher.queue import Queue
from model.execution.decode_pool import DecodePool
from model.execution.lane_pool import join_rows
from model.execution.queues import FeedQueue
from model.execution.recorder import Recorder
from model.signature import Arrays, Feed, Signature, TensorSpec
from server.call import MAX_BYTES_FINISHED_AT_ONCE, Call, Outputs, RequestOptions
from server.deadlines import NO_DEFAULT_TIMEOUT, DefaultTimeout
from server.inference import Inference
from tests.fakes.executor import GreedyPolicy
from tests.fakes.server import SIGNATURE, ManualLane, classify, served_model
from tests.fakes.threads import Calls, ManualThreads, kinds, outcomes

pytestmark = pytest.mark.usefixtures("log")

OTHER = Signature(
    (TensorSpec("x", np.dtype(np.float32), (None, 1)),),
    (TensorSpec("y", np.dtype(np.float32), (None, 1)),),
    "other",
)

#: 20 seconds: five runs of four rows, of four seconds each.
LEARNED = DefaultTimeout(None, [Queue(LatencyCurve({4: 4.0}), 4, 64)])


def _same(outputs: Outputs) -> Outputs:
    return outputs


class RecordingAdmission:
    """Records its calls; refuses while `refusal` is set."""

    def __init__(self) -> None:
        self.admitted: list[dict[str, object]] = []
        self.refusal: Exception | None = None

    def admit(
        self,
        now: float,
        queue: FeedQueue,
        deadline: float,
        priority: Priority = Priority.NORMAL,
        ahead: int = 0,
    ) -> None:
        """Record the call, and raise `refusal` if it is set."""
        asked = {"queue": queue, "deadline": deadline, "priority": priority, "ahead": ahead}
        self.admitted.append(asked)
        if self.refusal is not None:
            raise self.refusal


class RecordingBatcher(Batcher[Feed, Arrays]):
    """Records its calls, and answers nothing; its admission is a `RecordingAdmission`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, [ManualLane()], GreedyPolicy(), join=join_rows, observer=Recorder())
        self.asked = RecordingAdmission()
        self.admission = self.asked  # type: ignore[assignment]  # it has what is used
        self.submitted: list[dict[str, object]] = []
        self.answer: Deferred[Arrays] = Deferred()  #: that of the last request

    def submit(self, *what: Any, **options: object) -> Deferred[Arrays]:
        """Record the call."""
        self.submitted.append({"rows": what[1], **options})
        self.answer = Deferred()
        return self.answer


class InferenceFixture:
    """An inference with a recording batcher; its decode thread takes two seconds for each job."""

    def __init__(self, default: DefaultTimeout = NO_DEFAULT_TIMEOUT) -> None:
        self.clock = Clock()
        self.clock.advance(64)
        self.threads = ManualThreads()
        self.calls = Calls()
        ticks = iter(range(0, 1000, 2))
        pool = DecodePool(self.calls, 1, pool=self.threads, clock=lambda: float(next(ticks)))
        pool.start()
        self.batcher = RecordingBatcher(self.clock)
        model = replace(served_model(self.clock, ManualLane()), batcher=self.batcher)
        self.inference = Inference(model, pool, clock=self.clock, default_timeout=default)

    def begin(
        self, options: RequestOptions, *, rows: int = 1, signature: Signature = SIGNATURE
    ) -> None:
        """Start a request of *rows* rows."""
        (spec,) = signature.inputs
        row = [size or 0 for size in spec.row_shape]
        feed = Feed(signature, (np.zeros((rows, *row), spec.dtype),))
        self.inference.run(Call(lambda: feed, _same, options)).addErrback(lambda _: None)

    def decode(self) -> None:
        """Decode one request."""
        self.threads.step()
        self.calls.step()


def test_admission_gets_all_that_is_known_of_a_request() -> None:
    """Its rows are not known; requests that wait for a thread count one row each."""
    fixture = InferenceFixture()
    fixture.begin(RequestOptions())
    fixture.inference.admission.admit(
        RequestOptions(since=60.0, timeout=5.0, priority=Priority.HIGH)
    )
    assert fixture.batcher.asked.admitted == [
        {
            "queue": fixture.inference.model.default_queue,
            "deadline": 65.0,
            "priority": Priority.HIGH,
            "ahead": 1,
        }
    ]
    assert fixture.inference.model.default_queue.cap == 4


def test_a_result_that_is_finished_on_a_thread_needs_no_further_run() -> None:
    """It occupies the thread, but no row of it is ahead of other requests."""
    fixture = InferenceFixture()
    fixture.begin(RequestOptions())
    fixture.decode()
    fixture.batcher.answer.callback((np.zeros((1, MAX_BYTES_FINISHED_AT_ONCE), np.float32),))
    fixture.begin(RequestOptions())
    assert fixture.inference.admission.pending == 2
    fixture.inference.admission.admit(RequestOptions(timeout=500.0))
    assert fixture.batcher.asked.admitted[-1]["ahead"] == 1
    fixture.decode()
    assert fixture.inference.admission.pending == 1
    fixture.inference.admission.admit(RequestOptions(timeout=500.0))
    assert fixture.batcher.asked.admitted[-1]["ahead"] == 1


def test_a_request_is_expected_in_the_queue_of_the_last_one() -> None:
    """The run times of that queue are recent; an unused queue has learned nothing lately."""
    fixture = InferenceFixture()
    queues = fixture.inference.model.queues
    queues.learn(Feed(OTHER, (np.zeros((1, 1), np.float32),)), 8, {1: 4.0})
    default_queue, other = fixture.inference.model.default_queue, queues.known["other"]
    asked = []
    for signature in (SIGNATURE, OTHER, SIGNATURE):
        fixture.begin(RequestOptions(64.0, 4.0), signature=signature)
        fixture.decode()
        fixture.inference.admission.admit(RequestOptions(64.0, 4.0))
        asked.append(fixture.batcher.asked.admitted[-1]["queue"])
    assert asked == [default_queue, other, default_queue]


def test_an_idle_server_refuses_nothing() -> None:
    """The last request may have been slow, and the next one be for another queue."""
    clock = Clock()
    lane = ManualLane()
    model = served_model(clock, lane)
    slow = Feed(OTHER, (np.zeros((1, 1), np.float32),))
    model.queues.learn(slow, 1, {1: 4.0})
    inference = Inference(model, DecodePool(Calls(), 1, pool=ManualThreads()), clock=clock)
    inference.submit(slow)
    with pytest.raises(Overloaded):
        inference.admission.admit(RequestOptions(since=0.0, timeout=2.0))
    lane.give((np.zeros((1, 1), np.float32),))
    inference.admission.admit(RequestOptions(since=0.0, timeout=2.0))
    assert model.recorder.totals.refused == 1


def test_a_deadline_missed_before_decoding_raises_the_margin() -> None:
    """By a fifth; and each decoded request lowers it a little."""
    fixture = InferenceFixture(DefaultTimeout(3.0))
    fixture.begin(RequestOptions(64.0, None))
    fixture.decode()
    for timeout in (None, 8.0):
        fixture.begin(RequestOptions(64.0, timeout))
    fixture.inference.admission.admit(RequestOptions(since=64.0, timeout=5.1))
    fixture.clock.advance(4.0)  # the first of both ends
    with pytest.raises(Overloaded):
        fixture.inference.admission.admit(RequestOptions(since=68.0, timeout=3.1))
    fixture.inference.admission.admit(RequestOptions(since=68.0, timeout=3.7))


def test_a_refusal_of_the_batcher_is_passed_on() -> None:
    """With its message, and counted."""
    fixture = InferenceFixture()
    fixture.batcher.asked.refusal = Overloaded(2.0, 1.0)
    with pytest.raises(Overloaded, match=r"expected in 2\.0000 s"):
        fixture.inference.admission.admit(RequestOptions(since=64.0))
    assert fixture.inference.model.recorder.totals.refused_by_cause == {"late": 1}


@pytest.mark.parametrize("timeout", [4.0, 3.5])
def test_a_request_is_refused_at_its_deadline(timeout: float) -> None:
    """At the deadline itself, too: no time is left."""
    fixture = InferenceFixture()
    with pytest.raises(DeadlineExceeded) as caught:
        fixture.inference.admission.admit(RequestOptions(since=60.0, timeout=timeout))
    assert (caught.value.late, caught.value.stage) == (4.0 - timeout, "submit")
    assert fixture.batcher.asked.admitted == []


def test_a_request_that_would_wait_too_long_for_decoding_is_refused() -> None:
    """Even if the model is idle; a free thread admits every request."""
    fixture = InferenceFixture()
    fixture.begin(RequestOptions())
    fixture.decode()
    fixture.begin(RequestOptions())
    fixture.inference.admission.admit(RequestOptions(since=64.0, timeout=3.0))
    with pytest.raises(Overloaded) as caught:
        fixture.inference.admission.admit(RequestOptions(since=64.0, timeout=2.5))
    assert (caught.value.wait, caught.value.allowed) == (3.0, 2.5)
    assert fixture.inference.model.recorder.totals.refused_by_cause == {"decode": 1}
    fixture.decode()
    fixture.inference.admission.admit(RequestOptions(since=64.0, timeout=2.5))


def test_the_options_of_a_request_reach_the_batcher() -> None:
    """The deadline, the priority and the source."""
    fixture = InferenceFixture()
    client = object()
    fixture.begin(RequestOptions(64.0, 4.0, Priority.LOW, client), rows=3)
    fixture.begin(RequestOptions())
    fixture.decode()
    fixture.decode()
    for submitted in fixture.batcher.submitted:
        submitted.pop("trace")
    assert fixture.batcher.submitted == [
        {"rows": 3, "deadline": 68.0, "priority": Priority.LOW, "source": client},
        {"rows": 1, "deadline": inf, "priority": Priority.NORMAL, "source": None},
    ]


@pytest.mark.parametrize(
    ("default", "rows", "signature", "deadline"),
    [
        (DefaultTimeout(8.0), 1, SIGNATURE, 74.0),
        (DefaultTimeout(8.0), 12, SIGNATURE, 74.0),
        (DefaultTimeout(8.0), 1, OTHER, 74.0),
        (LEARNED, 4, SIGNATURE, 86.0),
        (LEARNED, 12, SIGNATURE, 94.0),  # three runs of four seconds, and four more
        (LEARNED, 1, OTHER, inf),  # its runs were not measured
        (NO_DEFAULT_TIMEOUT, 1, SIGNATURE, inf),
    ],
)
def test_a_request_without_a_timeout_has_the_default(
    default: DefaultTimeout, rows: int, signature: Signature, deadline: float
) -> None:
    """Plus the time of its own decoding, which the default does not limit."""
    fixture = InferenceFixture(default)
    fixture.inference.model.queues.learn(Feed(OTHER, (np.zeros((1, 1), np.float32),)), 4, {})
    fixture.begin(RequestOptions(since=64.0, timeout=None), rows=rows, signature=signature)
    fixture.inference.admission.admit(RequestOptions(since=64.0, timeout=None))
    fixture.decode()
    (asked,) = fixture.batcher.asked.admitted
    assert asked["deadline"] == 64.0 + default.seconds
    assert [submitted["deadline"] for submitted in fixture.batcher.submitted] == [deadline]


def test_a_default_holds_before_the_decoding_too() -> None:
    """A request is not decoded after it."""
    fixture = InferenceFixture(DefaultTimeout(8.0))
    fired = outcomes(classify(fixture.inference, b"", 1, RequestOptions(64.0, None)))
    fixture.clock.advance(8.0)
    assert kinds(fired) == [DeadlineExceeded]
