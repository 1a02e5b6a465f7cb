"""
Shares: the models on a device, and the turns by which they use the lanes.

Pure: reads no clock.  Times are seconds.
"""

from dataclasses import dataclass, field
from math import inf

from batcher.priority import Turns


@dataclass(slots=True, eq=False)
class Share:
    """
    One model, or one version of it, on the device: its queues have one share of the lane time.

    While several shares have waiting rows, the lane time of each is proportional to its *weight*.
    A *background* share, such as that of a warm-up, is given a low weight; reports leave it out.
    A share belongs to one batcher.  Raises ValueError unless *weight* is positive and finite.
    """

    name: str
    weight: float = 1.0
    background: bool = False
    open: bool = field(default=True, init=False)  #: False: requests of its queues are refused
    turns: Turns = field(default_factory=Turns, init=False)  #: those of its priorities
    #: The time of its runs that have ended, and the expected time of those under way; each divided
    #: by the weight.
    settled: float = field(default=0.0, init=False)
    running: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        _check(self.weight)

    def set_weight(self, weight: float) -> None:
        """Change the weight, also for the runs under way; raises ValueError as above."""
        _check(weight)
        self.running *= self.weight / weight
        self.weight = weight


def _check(weight: float) -> None:
    if not 0.0 < weight < inf:
        raise ValueError(f"the weight of a share must be above 0, not {weight}")


class ShareTurns:
    """
    Determines which share has the next turn: the one with the lowest charge.

    The charge of a share is the lane time of its runs, divided by its weight.  A launch charges the
    expected time of the run; its end corrects that to the real time.

    A share does not make up for turns at which it had no waiting rows, or its policy decided to
    wait: no charge counts as lower than that of the share that had the last turn, without its runs
    under way, whose time is not certain.
    """

    def __init__(self) -> None:
        self._default = Share("")
        self._least = 0.0

    def share_of(self, share: Share | None) -> Share:
        """Return *share*, the share of a queue; if it is None, that of all queues without one."""
        return share or self._default

    def charge_of(self, share: Share) -> float:
        """Return the charge of *share*."""
        return max(self._least, share.settled + share.running)

    def start_turn(self, share: Share) -> None:
        """Record that a turn of *share* starts."""
        self._least = max(self._least, share.settled)

    def launched(self, of: Share | None, expected: float) -> None:
        """Charge the share *of* a queue with a run, launched now, of *expected* seconds."""
        share = self.share_of(of)
        share.settled = max(share.settled, self._least - share.running)
        share.running += expected / share.weight

    def ended(self, of: Share | None, expected: float, taken: float) -> None:
        """Correct the charge for such a run, whose *expected* seconds were charged, to *taken*."""
        share = self.share_of(of)
        share.running -= expected / share.weight
        share.settled += taken / share.weight
