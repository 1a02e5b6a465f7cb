"""
What the policy has decided to wait for, beside an idle lane, until something changes.

Told what was decided and what comes; owns no timer.
"""

from math import inf

from batcher.policy import WaitUntil
from batcher.profile import Profile


class Waits:
    """The decisions that stand, one for each kind of run."""

    __slots__ = ("_decided",)

    def __init__(self) -> None:
        self._decided: dict[Profile, WaitUntil] = {}

    def note(self, profile: Profile, decision: WaitUntil) -> None:
        """Note what was decided of the queue of *profile*."""
        self._decided[profile] = decision
        if decision.reason == "return-hold":
            profile.returns.hold()

    def forget(self) -> None:
        """Forget everything: the policy is to be asked again."""
        self._decided.clear()

    def until(self) -> float:
        """Return when the policy is to be asked again if nothing changes; inf if never."""
        return min((decision.time for decision in self._decided.values()), default=inf)

    def goes_on(self, profile: Profile, deadline: float, earliest: float) -> bool:
        """
        Return whether *profile* goes on waiting for who comes back, now that one of them has.

        His *deadline* is no reason to hurry where others have an *earliest* one before it.
        """
        decision = self._decided.get(profile)
        if decision is None or decision.reason != "return-hold":
            return False
        return deadline == inf or earliest < deadline
