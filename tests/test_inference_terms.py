"""Until when, how urgent and from whom: what server/inference.py makes of it."""

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
from model.signature import Arrays, Feed, Signature, TensorSpec
from server.admission import NO_TIMEOUT, DefaultTimeout, Terms
from server.inference import Inference
from server.model_host import join_rows
from tests.fakes.executor import GreedyPolicy
from tests.fakes.server import SIGNATURE, ManualLane, served_model
from tests.fakes.threads import Calls, ManualThreads, kinds, outcomes

pytestmark = pytest.mark.usefixtures("log")

OTHER = Signature(
    (TensorSpec("x", np.dtype(np.float32), (None, 1)),),
    (TensorSpec("y", np.dtype(np.float32), (None, 1)),),
    "other",
)

#: 20 seconds: five runs of four rows, of four seconds each.
LEARNED = DefaultTimeout(None, [Queue(LatencyCurve({4: 4.0}), 4, 64)])


class NotingBatcher(Batcher[Feed, Arrays]):
    """Notes what it is asked, refuses when told, and answers nothing."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, [ManualLane()], GreedyPolicy(), join=join_rows)
        self.admitted: list[dict[str, object]] = []
        self.submitted: list[dict[str, object]] = []
        self.refusal: Exception | None = None

    def admit(self, *queue: object, **terms: object) -> None:
        """Note the question."""
        self.admitted.append({"queue": queue[0], **terms})
        if self.refusal is not None:
            raise self.refusal

    def submit(self, *what: Any, **terms: object) -> Deferred[Arrays]:
        """Note what came."""
        self.submitted.append({"rows": what[1], **terms})
        return Deferred()


class World:
    """An inference before a batcher that notes; one decode thread works two seconds at a time."""

    def __init__(self, default: DefaultTimeout = NO_TIMEOUT) -> None:
        self.clock = Clock()
        self.clock.advance(64)
        self.threads = ManualThreads()
        self.calls = Calls()
        ticks = iter(range(0, 1000, 2))
        pool = DecodePool(self.calls, 1, pool=self.threads, clock=lambda: float(next(ticks)))
        pool.start()
        self.batcher = NotingBatcher(self.clock)
        model = replace(served_model(self.clock, ManualLane()), batcher=self.batcher)
        self.inference = Inference(model, pool, seconds=self.clock.seconds, default_timeout=default)

    def begin(self, terms: Terms, *, rows: int = 1, signature: Signature = SIGNATURE) -> None:
        """Begin a request of so many rows."""
        (spec,) = signature.inputs
        row = [size or 0 for size in spec.row_shape]
        feed = Feed(signature, (np.zeros((rows, *row), spec.dtype),))
        self.inference.run(lambda: feed, terms).addErrback(lambda _: None)

    def decode(self) -> None:
        """Decode one request."""
        self.threads.step()
        self.calls.step()


def test_a_request_is_asked_for_with_all_that_is_known_of_it() -> None:
    """Its rows are not; those of the requests that wait for a thread are counted one each."""
    world = World()
    world.begin(Terms())
    world.inference.admit(Terms(since=60.0, timeout=5.0, priority=Priority.HIGH))
    assert world.batcher.admitted == [
        {
            "queue": world.inference.model.usual,
            "deadline": 65.0,
            "priority": Priority.HIGH,
            "ahead": 1,
        }
    ]
    assert world.inference.model.usual.cap == 4


def test_a_request_is_taken_to_be_like_the_last_one() -> None:
    """Whose runs are known: those that nobody asks for never learn what a run takes now."""
    world = World()
    queues = world.inference.model.queues
    queues.learn(Feed(OTHER, (np.zeros((1, 1), np.float32),)), 8, {1: 4.0})
    usual, other = world.inference.model.usual, queues.known["other"]
    asked = []
    for signature in (SIGNATURE, OTHER, SIGNATURE):
        world.begin(Terms(64.0, 4.0), signature=signature)
        world.decode()
        world.inference.admit(Terms(64.0, 4.0))
        asked.append(world.batcher.admitted[-1]["queue"])
    assert asked == [usual, other, usual]


def test_an_idle_server_refuses_only_what_no_kind_of_run_leaves_time_for() -> None:
    """The last one may have been slow, and the next one be of the usual kind."""
    clock = Clock()
    lane = ManualLane()
    model = served_model(clock, lane)  # the usual kind takes a second
    slow = Feed(OTHER, (np.zeros((1, 1), np.float32),))
    model.queues.learn(slow, 1, {1: 4.0})
    inference = Inference(
        model, DecodePool(Calls(), 1, pool=ManualThreads()), seconds=clock.seconds
    )
    inference.submit(slow)
    with pytest.raises(Overloaded):
        inference.admit(Terms(since=0.0, timeout=2.0))
    lane.give((np.zeros((1, 1), np.float32),))
    inference.admit(Terms(since=0.0, timeout=2.0))
    assert model.batcher.stats().totals.refused == 1
    with pytest.raises(Overloaded):
        inference.admit(Terms(since=0.0, timeout=1.0))
    assert model.batcher.stats().totals.refused == 2


def test_whoever_waits_too_long_for_a_thread_makes_admission_careful() -> None:
    """By a fifth; and every one that was decoded, a little less."""
    world = World(DefaultTimeout(3.0))
    world.begin(Terms(64.0, None))
    world.decode()
    for _ in range(2):
        world.begin(Terms(64.0, None))
    world.inference.admit(Terms(since=64.0, timeout=5.1))
    world.clock.advance(4.0)
    world.decode()
    with pytest.raises(Overloaded):
        world.inference.admit(Terms(since=68.0, timeout=3.1))
    world.inference.admit(Terms(since=68.0, timeout=3.7))


def test_what_the_batcher_refuses_is_refused() -> None:
    """In its own words."""
    world = World()
    world.batcher.refusal = Overloaded(2.0, 1.0)
    with pytest.raises(Overloaded, match=r"expected in 2\.0000 s"):
        world.inference.admit(Terms(since=64.0))
    assert world.batcher.stats().totals.refused == 1


@pytest.mark.parametrize("timeout", [4.0, 3.5])
def test_a_request_whose_time_is_over_is_refused_at_once(timeout: float) -> None:
    """Not even its last moment is of use to anybody."""
    world = World()
    with pytest.raises(DeadlineExceeded) as caught:
        world.inference.admit(Terms(since=60.0, timeout=timeout))
    assert (caught.value.late, caught.value.stage) == (4.0 - timeout, "submit")
    assert world.batcher.admitted == []


def test_who_would_wait_too_long_to_be_decoded_is_refused() -> None:
    """Though the model may be idle; a free thread takes anybody."""
    world = World()
    world.begin(Terms())
    world.decode()
    world.begin(Terms())
    world.inference.admit(Terms(since=64.0, timeout=3.0))
    with pytest.raises(Overloaded) as caught:
        world.inference.admit(Terms(since=64.0, timeout=2.5))
    assert (caught.value.wait, caught.value.allowed) == (3.0, 2.5)
    assert world.batcher.stats().totals.refused == 1
    world.decode()
    world.inference.admit(Terms(since=64.0, timeout=2.5))


def test_what_was_asked_for_reaches_the_queue() -> None:
    """The deadline, the priority, and who asks."""
    world = World()
    client = object()
    world.begin(Terms(64.0, 4.0, Priority.LOW, client), rows=3)
    world.begin(Terms())
    world.decode()
    world.decode()
    for submitted in world.batcher.submitted:
        submitted.pop("trace")
    assert world.batcher.submitted == [
        {"rows": 3, "deadline": 68.0, "priority": Priority.LOW, "source": client},
        {"rows": 1, "deadline": inf, "priority": Priority.NORMAL, "source": None},
    ]


@pytest.mark.parametrize(
    ("default", "rows", "deadline"),
    [
        (DefaultTimeout(8.0), 1, 74.0),
        (DefaultTimeout(8.0), 12, 74.0),
        (LEARNED, 4, 86.0),
        (LEARNED, 12, 94.0),  # three runs of four seconds, and four more
        (NO_TIMEOUT, 1, inf),
    ],
)
def test_who_names_no_timeout_has_the_default(
    default: DefaultTimeout, rows: int, deadline: float
) -> None:
    """And what its own decoding takes: nobody named a limit that it could keep."""
    world = World(default)
    world.begin(Terms(since=64.0, timeout=None), rows=rows)
    world.inference.admit(Terms(since=64.0, timeout=None))
    world.decode()
    assert [asked["deadline"] for asked in world.batcher.admitted] == [64.0 + default.seconds]
    assert [submitted["deadline"] for submitted in world.batcher.submitted] == [deadline]


@pytest.mark.parametrize(
    ("default", "deadline"),
    [(LEARNED, inf), (DefaultTimeout(8.0), 74.0)],
)
def test_runs_that_nobody_measured_take_what_they_take(
    default: DefaultTimeout, deadline: float
) -> None:
    """Unless somebody has said how long that may be."""
    world = World(default)
    world.inference.model.queues.learn(Feed(OTHER, (np.zeros((1, 1), np.float32),)), 4, {})
    world.begin(Terms(since=64.0, timeout=None), signature=OTHER)
    world.decode()
    assert [submitted["deadline"] for submitted in world.batcher.submitted] == [deadline]


def test_a_default_holds_before_the_decoding_too() -> None:
    """The threads have better to do."""
    world = World(DefaultTimeout(8.0))
    fired = outcomes(world.inference.classify(b"", 1, Terms(64.0, None)))
    world.clock.advance(8.5)
    world.decode()
    assert kinds(fired) == [DeadlineExceeded]
