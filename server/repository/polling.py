"""
Decide when a repository is read again.  Pure.
"""

from math import inf

from model.repository.snapshot import Snapshot

#: Seconds between two reads of a repository that may change.
POLL_SECONDS = 2.1

#: Seconds from a notice of the kernel until the repository is read: many come together.
NOTICE_SECONDS = 0.05


def seconds_to_next_read(
    disk: Snapshot, poll_seconds: float, *, is_ready: bool, noticed: bool
) -> float | None:
    """
    Return the seconds from a read that has found *disk* to the next one; None if there is none.

    *poll_seconds* are those between two reads; infinity: none when the server *is_ready* and all
    versions are complete.  *noticed*: the kernel has reported a change since the read began.
    """
    if poll_seconds == inf:
        versions = [version for model in disk.values() for version in model.versions]
        if is_ready and all(version.complete for version in versions):
            return None
        poll_seconds = POLL_SECONDS
    return min(NOTICE_SECONDS, poll_seconds) if noticed else poll_seconds
