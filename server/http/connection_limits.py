"""
The limits of connections and of the requests on them.

Pure; may import neither twisted.web nor Klein.
"""

from dataclasses import dataclass
from math import inf

from batcher.error_kind import ErrorKind, RequestError

#: The most file descriptors that the server keeps for other uses than connections: models, logs,
#: threads, devices, and connections that are being refused.
MAX_RESERVED_DESCRIPTORS = 256

#: The most connections that are refused with an answer at once; more are closed without one, since
#: an answer keeps a file descriptor for `server.http.connections.LINGER_SECONDS`.
MAX_REFUSED_CONNECTIONS = 64

#: The largest part by which the age of a connection may be less than its limit: connections that
#: were made together would else close together.
MAX_AGE_JITTER = 0.1


class TooMany(RequestError):
    """A connection or a request exceeds a limit of all; soon there may be room for it."""

    kind = ErrorKind.UNAVAILABLE
    retry_after = 0.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of the connections of one server; times are seconds, inf means no limit."""

    header_timeout: float  #: from the first byte of a head, or a new connection, to its end
    client_timeout: float  #: from the first byte of a request to its end
    keep_alive_timeout: float  #: from an answer to the next request
    max_connections: float = inf
    max_in_flight: float = inf  #: requests whose head is complete, and that are not answered
    max_requests: float = inf  #: of one connection
    max_age: float = inf  #: of a connection; its next answer closes it

    def age_limit(self, chance: float) -> float:
        """Return the age at which a connection closes; *chance* is from 0 to 1."""
        return self.max_age * (1 - MAX_AGE_JITTER * chance)


def connections_for(descriptors: float) -> int:
    """Return the most connections of a process that may have that many *descriptors*."""
    if descriptors == inf:
        return 1 << 20
    return int(max(descriptors / 2, descriptors - MAX_RESERVED_DESCRIPTORS))
