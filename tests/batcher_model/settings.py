"""The settings of the examples of the batcher's contract."""

from dataclasses import dataclass
from typing import Literal

from batcher.policy import FixedPolicy

KEYS = "abc"
LIMIT = 24  #: rows of a queue that may wait
RUN_TIMEOUT = 8.0
MIN_HUNG_RUN_RATIO = 10.0  #: multiple of the expected time, if that is longer
FIXED = FixedPolicy(max_batch_size=4, max_queue_delay=4.0)

#: How a run ends: "none" by its requests and its size, else by a fault of the model.
Fault = Literal["none", "memory", "too few", "too many", "leaving"]


@dataclass(frozen=True)
class Setup:
    """The settings of one example."""

    lanes: int
    caps: tuple[int, int, int]  #: of each queue
    fits: int  #: rows; a larger run is out of memory
    known: tuple[tuple[int, float], ...]  #: l(b) at the start
    instant: int  #: one in so many runs ends before the lane returns; 0: none
    returns: bool  #: clients are known to return soon
    fixed: bool = False  #: the policy
    shares: tuple[str, ...] = (KEYS,)  #: the queues of each share
