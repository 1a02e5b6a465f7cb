"""
What the access log is told of a request, whether it was answered or refused early.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress

#: Stands for what is not known.
UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class Access:
    """One request and what became of it; what never came of it is `UNKNOWN`."""

    client: str  #: an IP address, or "unix" for whoever came through a Unix socket
    method: str
    uri: str
    status: int
    sent: int  #: bytes of the answer's body
    request_id: str
    timing: str = ""  #: the answer's Server-Timing, where it has one


#: Writes one line about a request.
AccessLog = Callable[[Access], object]


def client_name(address: IAddress) -> str:
    """Return who *address* is; the name of a client's own Unix socket may hold any bytes."""
    host = getattr(address, "host", None)
    if isinstance(host, str):
        return host
    return "unix" if isinstance(address, UNIXAddress) else UNKNOWN


def ascii_text(sent: bytes) -> str:
    """Return a part of a request's first line as text."""
    return sent.decode("ascii", "replace")
