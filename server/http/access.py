"""
The entry of a request in the access log, whether it was answered or refused early.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress

#: Written for a field that is not known.
UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class Access:
    """One request and its answer; a field that was not received is `UNKNOWN`."""

    client: str  #: an IP address, or "unix" for a client of a Unix socket
    method: str
    uri: str
    status: int
    sent: int  #: bytes of the answer's body
    request_id: str
    timing: str = ""  #: the answer's Server-Timing, if it has one


#: Writes the line of one request to the access log.
AccessLog = Callable[[Access], object]


def client_name(address: IAddress) -> str:
    """
    Return the IP address in *address*, "unix" for a Unix socket, else `UNKNOWN`.

    The path of a Unix socket is not returned, because it may contain any bytes.
    """
    host = getattr(address, "host", None)
    if isinstance(host, str):
        return host
    return "unix" if isinstance(address, UNIXAddress) else UNKNOWN


def ascii_text(sent: bytes) -> str:
    """Return *sent*, a part of a request line, as text; a byte that is not ASCII is replaced."""
    return sent.decode("ascii", "replace")
