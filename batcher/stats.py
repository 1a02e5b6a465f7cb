"""
The state of a batcher, and its present numbers of rows and lanes.

Plain data; imports nothing of ours.
"""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """The states of a batcher, in order; it only moves to a later state."""

    RUNNING = "running"
    DRAINING = "draining"  #: refuses new requests, answers those that were accepted
    STOPPED = "stopped"  #: every request has its answer


@dataclass(frozen=True, slots=True)
class BatcherStats:
    """The state of a batcher, and its present numbers of rows and lanes, at one time."""

    state: State
    waiting: int  #: rows in the queues
    retrying: int  #: rows in batches that are to be run again
    lanes: int
    running: int  #: lanes that run a batch
    hung: int  #: lanes, included in `running`, whose run has been given up
    policy: str  #: a description of the policy of queues without one of their own
    now: float  #: the time of the report, in seconds of the clock of `Run.started`
