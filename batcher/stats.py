"""
What a batcher tells about itself.

Plain data, read on the reactor thread.  Imports nothing of ours.
"""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """A batcher's life; it never goes back."""

    RUNNING = "running"
    DRAINING = "draining"  #: takes nobody in, answers those it has
    STOPPED = "stopped"  #: owes no answer to anybody


@dataclass(slots=True)
class Totals:
    """Rows since the beginning; each submitted row is in one of the last five, or not yet."""

    runs: int = 0  #: batches launched, retries included
    run_rows: int = 0  #: rows in them
    answered: int = 0
    failed: int = 0  #: ended with an error that is not below
    expired: int = 0  #: too late, at whatever stage
    cancelled: int = 0
    refused: int = 0  #: turned away at submit: queue full or shutting down


@dataclass(frozen=True, slots=True)
class BatcherStats:
    """One moment's numbers."""

    state: State
    waiting: int  #: rows in the queues
    retrying: int  #: rows that are to be run again
    lanes: int
    running: int  #: lanes that run a batch
    totals: Totals  #: a copy: it does not grow
