"""
Which sockets the workers share, and of which each has its own.

Pure: `server.workers.sockets` binds them.
"""

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from twisted.internet.abstract import isIPv6Address

from server.http.listen_addresses import (
    DEFAULT_BACKLOG,
    AddressError,
    check_address,
    is_wrapped,
)
from server.lifecycle import StartError

#: The mode of a Unix socket, as Twisted sets it.
_DEFAULT_MODE = "666"


@dataclass(frozen=True, slots=True)
class PlannedSocket:
    """One address, and how it is bound."""

    description: str  #: of the endpoint, as in the settings
    family: socket.AddressFamily
    address: str  #: the interface, or the path of a Unix socket
    port: int  #: 0 for a free port, and for a Unix socket
    backlog: int
    mode: int  #: of a Unix socket
    has_lock_file: bool  #: of a Unix socket
    shared: bool  #: whether all workers accept from one socket; otherwise each has its own


def plan_sockets(served: Iterable[str], admin: str | None) -> list[PlannedSocket]:
    """
    Return the sockets for the addresses *served*, and for the address *admin*, if there is one.

    Each worker has a socket of its own for each TCP address that is served.  Raises `StartError`
    for an address that several processes cannot accept from.
    """
    planned = [_plan(description, shared=False) for description in served]
    if admin is not None:
        planned.append(_plan(admin, shared=True))
    return planned


def _plan(description: str, *, shared: bool) -> PlannedSocket:
    try:
        address = check_address(description)
    except AddressError as error:
        raise StartError(f"cannot listen on {description}: {error}") from error
    parts = address.parts
    if is_wrapped(description) or address.kind not in ("tcp", "tcp6", "unix"):
        raise StartError(
            f"cannot listen on {description} with several workers: "
            "--workers takes addresses of the kinds tcp, tcp6 and unix"
        )
    is_unix = address.kind == "unix"
    interface = parts.get("interface", "::" if address.kind == "tcp6" else "")
    is_ipv6 = address.kind == "tcp6" or isIPv6Address(interface)
    inet = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    return PlannedSocket(
        description,
        family=socket.AF_UNIX if is_unix else inet,
        address=parts["address"] if is_unix else interface,
        port=int(parts.get("port", 0)),
        backlog=int(parts.get("backlog", DEFAULT_BACKLOG)),
        mode=int(parts.get("mode", _DEFAULT_MODE), 8),
        has_lock_file=parts.get("lockfile", "1") == "1",
        shared=shared or is_unix,
    )
