"""
Read from the head of a request until when it wants its answer, and how much it matters.

Pure.
"""

import re
from collections.abc import Mapping

from batcher.priority import Priority
from server.deadlines import RequestOptions
from server.http.errors import HTTPError
from server.http.messages import Head

#: The largest timeout a client may ask for, in milliseconds: a day.
MAX_TIMEOUT_MS = 86_400_000

#: Characters of a client's value that an error repeats.
_MAX_QUOTED_CHARS = 40

_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{0,9})?")
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}


def read_request_options(head: Head, now: float) -> RequestOptions:
    """
    Return what *head* asks for.

    The client's own timeout counts from the head.  The default counts from *now*: how long a body
    takes to come is the client's doing.  Raises a 400 for what cannot be meant.
    """
    timeout = timeout_of(head.headers)
    return RequestOptions(
        since=now if timeout is None else head.received,
        timeout=timeout,
        priority=priority_of(head.headers),
        source=head.connection,
    )


def timeout_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``X-Request-Timeout-Ms`` allows; None where it is not given."""
    text = headers.get("x-request-timeout-ms")
    if text is None:
        return None
    milliseconds = float(text) if _NUMBER.fullmatch(text) else -1.0
    if not 0 < milliseconds <= MAX_TIMEOUT_MS:
        raise HTTPError(
            400,
            f"X-Request-Timeout-Ms: expected milliseconds over 0 and at most {MAX_TIMEOUT_MS}, "
            f"got {text[:_MAX_QUOTED_CHARS]!r}",
        )
    return milliseconds / 1e3


def priority_of(headers: Mapping[str, str]) -> Priority:
    """Return the level that ``X-Request-Priority`` names, in any case; normal where it is not."""
    text = headers.get("x-request-priority")
    if text is None:
        return Priority.NORMAL
    priority = _PRIORITIES.get(text.lower())
    if priority is None:
        raise HTTPError(
            400,
            f"X-Request-Priority: expected high, normal or low, got {text[:_MAX_QUOTED_CHARS]!r}",
        )
    return priority
