"""
Tell what is known of one kind of run, and who waits for one.

Pure; read on the reactor thread.
"""

from batcher.executor import Item, Result
from batcher.pending import ProfileQueue
from batcher.priority import Priority
from batcher.profile import Profile
from batcher.stats import QueueReport


def queue_report(
    profile: Profile, queue: ProfileQueue[Item, Result] | None, now: float
) -> QueueReport:
    """Return the report of *profile* at *now*; *queue* is None where nobody waits."""
    latency = profile.latency
    levels = queue.rows_by_level() if queue else [0] * len(Priority)
    return QueueReport(
        name=profile.name,
        rows={level.name.lower(): levels[level] for level in Priority},
        waited=max(0.0, now - queue.oldest) if queue else 0.0,
        arrivals=profile.expected(now).rate,
        latency=latency.fitted,
        knee=latency.knee(profile.cap),
        best=max(latency.sizes(profile.cap).rates, default=0.0),
        cap=profile.cap,
        margin=latency.margin,
    )
