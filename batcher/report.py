"""
What there is to tell of why batches leave as they do: what has left of late, and who waits.

Told what leaves; read on the reactor thread.  It holds no payload.
"""

from collections import OrderedDict, deque

from batcher.executor import Item, Result
from batcher.lanes import Departure
from batcher.pending import Pending, ProfileQueue
from batcher.priority import Priority
from batcher.profile import Profile
from batcher.stats import Flush, QueueReport

REMEMBERED = 64  #: departures
REPORTED = 16  #: profiles that are told of, those used last


class Logbook:
    """What has left of late."""

    __slots__ = ("_departures", "_profiles")

    def __init__(self) -> None:
        self._departures: deque[Departure] = deque(maxlen=REMEMBERED)
        self._profiles: OrderedDict[Profile, None] = OrderedDict()  # that used last stands last

    def left(self, profile: Profile, departure: Departure) -> None:
        """Note that a batch of *profile* has left."""
        self._departures.append(departure)
        self._profiles[profile] = None
        self._profiles.move_to_end(profile)
        if len(self._profiles) > REPORTED:
            self._profiles.popitem(last=False)

    def queues(self, pending: Pending[Item, Result], now: float) -> tuple[QueueReport, ...]:
        """Return what is known of the profiles used last, the latest first."""
        profiles = reversed(self._profiles)
        return tuple(queue_report(profile, pending.of(profile), now) for profile in profiles)

    def flushes(self, now: float) -> tuple[Flush, ...]:
        """Return what has left, the latest first."""
        return tuple(departure.flush(now) for departure in reversed(self._departures))


def queue_report(
    profile: Profile, queue: ProfileQueue[Item, Result] | None, now: float
) -> QueueReport:
    """
    Return the report of *profile* at *now*; *queue* is None where nobody waits.

    What its last run took is learned before.
    """
    profile.learn()
    latency = profile.latency
    levels = queue.by_level if queue else [0] * len(Priority)
    return QueueReport(
        name=profile.name,
        rows={level.name.lower(): levels[level] for level in Priority},
        waited=max(0.0, now - queue.oldest) if queue else 0.0,
        arrivals=profile.expected(now).rate,
        latency=latency.fitted,
        knee=latency.knee(profile.cap),
        best=max(latency.sizes(profile.cap).rates, default=0.0),
        cap=profile.cap,
        margin=profile.margin,
    )
