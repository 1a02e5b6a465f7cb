"""
Keep what is known of each kind of run: one profile a signature and shape of its rows.

Belongs to the reactor thread.
"""

from collections import OrderedDict

from batcher.latency import LatencyCurve
from batcher.profile import Profile
from model.signature import Feed, RunKey

#: Shapes whose profiles are remembered; a client may send any number of them.
REMEMBERED = 1024


class Profiles:
    """
    The profiles of one model.

    Rows of *max_queue_bytes* may wait in each queue, but never fewer than fill a batch.
    """

    def __init__(self, max_queue_bytes: int) -> None:
        self._max_queue_bytes = max_queue_bytes
        self._caps: dict[str, int] = {}
        self._profiles: OrderedDict[RunKey, Profile] = OrderedDict()

    def learn(self, sample: Feed, cap: int, measured: dict[int, float]) -> None:
        """Take in what warm-up found with *sample*; *cap* holds for other shapes, too."""
        self._caps[sample.signature.name] = cap
        self._profiles[sample.key] = self._new(sample, cap, measured)

    def cap(self, signature: str) -> int:
        """Return the largest batch that *signature* was given at the start."""
        return self._caps[signature]

    def of(self, feed: Feed) -> Profile:
        """Return the profile of the runs that *feed* may share, whose signature was learned."""
        key = feed.key
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._profiles[key] = self._new(feed, self._caps[key.signature], {})
            if len(self._profiles) > REMEMBERED:
                self._profiles.popitem(last=False)
        return profile

    def _new(self, feed: Feed, cap: int, measured: dict[int, float]) -> Profile:
        rows = max(cap, self._max_queue_bytes // max(1, feed.row_bytes))
        return Profile(LatencyCurve(measured), cap, rows)
