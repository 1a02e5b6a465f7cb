"""
Read the timeout and the priority of a request from its headers.

Pure.
"""

import re
from collections.abc import Mapping

from batcher.priority import Priority
from server.call import RequestOptions
from server.http.error_statuses import HTTPError
from server.http.messages import Head

#: Largest timeout that a client may set, in milliseconds: one day.
MAX_TIMEOUT_MS = 86_400_000

#: Characters of a client's value that an error message repeats.
_MAX_QUOTED_CHARS = 40

#: The numbers of JSON, except that zeros may precede them; of a limited length.
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?")
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}


def read_request_options(head: Head, now: float) -> RequestOptions:
    """
    Return the options in *head*; raises a 400 for an invalid value.

    A timeout that the client sets counts from the time when the head was received.  The default
    timeout counts from *now*, because the time to receive the body depends on the client.
    """
    timeout = timeout_of(head.headers)
    return RequestOptions(
        since=now if timeout is None else head.received,
        timeout=timeout,
        priority=priority_of(head.headers),
        source=head.connection,
    )


def timeout_of(headers: Mapping[str, str]) -> float | None:
    """
    Return ``X-Request-Timeout-Ms`` in seconds; None without that header.

    Raises a 400 if its value is not a number over 0 and at most `MAX_TIMEOUT_MS`.
    """
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
    """
    Return the priority that ``X-Request-Priority`` names, in upper or lower case.

    Without that header, return `Priority.NORMAL`.  Raises a 400 for any other value.
    """
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
