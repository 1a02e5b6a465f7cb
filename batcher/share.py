"""
Shares and their accounts: the models on a device, and the turns by which they use the lanes.

Pure: reads no clock.  Times are seconds.
"""

from dataclasses import dataclass, field
from math import inf

from batcher.priority import Turns


@dataclass(slots=True, eq=False)
class Account:
    """
    The time that a model has used, on the lanes; the shares of its versions have one account.

    While queues of several accounts have waiting rows, the time of each account is proportional to
    its *weight*.  Raises ValueError unless *weight* is positive and finite.
    """

    weight: float = 1.0
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
        raise ValueError(f"the weight of an account must be above 0, not {weight}")


@dataclass(slots=True, eq=False, weakref_slot=True)
class Share:
    """
    One version of a model on the device: its queues end together, and are reported together.

    A *background* share, such as that of a warm-up, is given an account of a low weight; reports
    leave it out.  A share belongs to one batcher.  Its account may be changed while no request of
    it waits and no run of it is under way.
    """

    name: str
    account: Account = field(default_factory=Account)
    background: bool = False
    open: bool = field(default=True, init=False)  #: False: requests of its queues are refused


class ShareTurns:
    """
    Determines which account has the next turn: the one with the lowest charge.

    The charge of an account is the lane time of its runs, divided by its weight.  A launch charges
    the expected time of the run; its end corrects that to the real time.

    An account does not make up for turns at which it had no waiting rows, or its policy decided to
    wait: no charge counts as lower than that of the account that had the last turn, without its
    runs under way, whose time is not certain.
    """

    def __init__(self) -> None:
        self._default = Account()
        self._least = 0.0

    def account_of(self, share: Share | None) -> Account:
        """Return the account of *share*, that of a queue; None: that of all queues without one."""
        return self._default if share is None else share.account

    def charge_of(self, account: Account) -> float:
        """Return the charge of *account*."""
        return max(self._least, account.settled + account.running)

    def start_turn(self, account: Account) -> None:
        """Record that a turn of *account* starts."""
        self._least = max(self._least, account.settled)

    def launched(self, of: Share | None, expected: float) -> None:
        """Charge the account of *of*, the share of a queue, with a run of *expected* seconds."""
        account = self.account_of(of)
        account.settled = max(account.settled, self._least - account.running)
        account.running += expected / account.weight

    def ended(self, of: Share | None, expected: float, taken: float) -> None:
        """Correct the charge for such a run, whose *expected* seconds were charged, to *taken*."""
        account = self.account_of(of)
        account.running -= expected / account.weight
        account.settled += taken / account.weight
