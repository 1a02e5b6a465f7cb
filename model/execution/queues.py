"""
Keep what is known of each kind of run: one profile a signature and shape of its rows.

Belongs to the reactor thread.
"""

from collections import OrderedDict

from batcher.learning.latency import LatencyCurve
from batcher.profile import Profile
from model.signature import Feed, RunKey

#: Shapes beside those of the start whose profiles are remembered; clients may send any number.
REMEMBERED = 1024


class Profiles:
    """
    The profiles of one model.

    Rows of *max_queue_bytes* may wait in each queue, but never fewer than fill a batch.
    """

    def __init__(self, max_queue_bytes: int) -> None:
        self._max_queue_bytes = max_queue_bytes
        #: Those of the start, by the names of their signatures.
        self.known: dict[str, Profile] = {}
        self._caps: dict[str, int] = {}
        self._learned: dict[RunKey, Profile] = {}
        self._others: OrderedDict[RunKey, Profile] = OrderedDict()  # that used last stands last

    def learn(self, sample: Feed, cap: int, measured: dict[int, float]) -> None:
        """Take in what warm-up found with *sample*; *cap* holds for other shapes, too."""
        name = sample.signature.name
        self._caps[name] = cap
        self._learned[sample.key] = self.known[name] = self._new(sample, cap, measured)

    def cap(self, signature: str) -> int:
        """Return the largest batch that *signature* was given at the start."""
        return self._caps[signature]

    def of(self, feed: Feed) -> Profile:
        """Return the profile of the runs that *feed* may share, whose signature was learned."""
        key = feed.key
        profile = self._learned.get(key)
        if profile is None:
            profile = self._others.pop(key, None) or self._new(feed, self._caps[key.signature], {})
            self._others[key] = profile
            if len(self._others) > REMEMBERED:
                self._others.popitem(last=False)
        return profile

    def _new(self, feed: Feed, cap: int, measured: dict[int, float]) -> Profile:
        rows = max(cap, self._max_queue_bytes // max(1, feed.row_bytes))
        return Profile(LatencyCurve(measured), cap, rows, run_name(feed))


def run_name(feed: Feed) -> str:
    """
    Return what people may call the runs that *feed* may share.

    The name of its signature, and the shapes of its rows where the signature leaves any open.
    """
    signature = feed.signature
    first = 1 if signature.batched else 0
    shapes = [spec.shape and spec.shape[first:] for spec in signature.inputs]
    if all(shape is not None and None not in shape for shape in shapes):
        return signature.name
    return f"{signature.name} {', '.join(str(list(shape)) for shape in feed.key.shapes)}"
