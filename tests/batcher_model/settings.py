"""Where examples of the batcher's contract take place: its lanes, its profiles, its limits."""

from dataclasses import dataclass
from typing import Literal

from batcher.policy import FixedPolicy

KEYS = "abc"
LIMIT = 24  #: rows of a profile that may wait
RUN_TIMEOUT = 8.0
MIN_HUNG_RUN_RATIO = 10.0  #: times the expected, a run may take where that is more
FIXED = FixedPolicy(max_batch_size=4, max_queue_delay=4.0)

#: How a run ends: as its riders and its size will have it, or by the model's own fault.
Fault = Literal["none", "memory", "too few", "too many", "leaving"]


@dataclass(frozen=True)
class World:
    """What stays the same throughout one example."""

    lanes: int
    caps: tuple[int, int, int]  #: of each profile
    fits: int  #: rows; a larger run is out of memory
    known: tuple[tuple[int, float], ...]  #: l(b) at the start
    instant: int  #: of so many runs, one ends before the lane has returned; 0: none does
    returns: bool  #: clients are known to come back soon
    fixed: bool = False  #: the policy
