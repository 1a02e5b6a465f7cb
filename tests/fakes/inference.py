"""An inference whose decode thread and lane are stepped by the test."""

from dataclasses import dataclass, field
from functools import partial
from math import inf

import numpy as np
from twisted.internet.task import Clock

from batcher.policy import FixedPolicy
from model.execution.decode_pool import DecodePool
from model.signature import Feed
from server.call import Call, Outputs
from server.deadlines import DefaultTimeout
from server.inference import Inference
from tests.fakes.server import SIGNATURE, SIZE, ManualLane, served_model
from tests.fakes.threads import Calls, ManualThreads


@dataclass
class InferenceFixture:
    """An inference whose decode thread and lane are stepped by the test."""

    clock: Clock = field(default_factory=Clock)
    lane: ManualLane = field(default_factory=ManualLane)
    threads: ManualThreads = field(default_factory=ManualThreads)
    calls: Calls = field(default_factory=Calls)
    max_queued_rows: int = 8
    default_timeout: float = inf

    def __post_init__(self) -> None:
        """Start the pool; each decoding takes two seconds."""
        ticks = iter(range(0, 1000, 2))
        self.pool = DecodePool(self.calls, 1, pool=self.threads, clock=lambda: float(next(ticks)))
        self.pool.start()
        model = served_model(
            self.clock,
            self.lane,
            policy=FixedPolicy(4, 0.0),
            max_queued_rows=self.max_queued_rows,
        )
        self.inference = Inference(
            model,
            self.pool,
            clock=self.clock,
            default_timeout=DefaultTimeout(self.default_timeout),
        )

    def decode(self) -> None:
        """Decode one image."""
        self.threads.step()
        self.calls.step()


def feed(*values: int) -> Feed:
    """Return a row of each of *values*."""
    rows = np.array(values, np.uint8).reshape(-1, 1, 1, 1)
    return SIGNATURE.feed({"image": np.broadcast_to(rows, (len(values), SIZE, SIZE, 3)).copy()})


def same(outputs: Outputs) -> Outputs:
    """Return *outputs*."""
    return outputs


def tensor_call(*values: int, at_once: bool = False) -> Call[Outputs]:
    """Return a call for a row of each of *values*, whose result is the outputs."""
    return Call(partial(feed, *values), same, at_once=at_once)
