"""
Which addresses are those of this machine.

Sends nothing, and resolves no names.
"""

import socket
from ipaddress import ip_address

from server.discovery.addresses import plain_address


def is_loopback(host: str) -> bool:
    """Return whether *host*, a name or an address, is that of the loopback interface."""
    try:
        return plain_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def is_own(host: str) -> bool:
    """Return whether *host* is this machine: "localhost", its name, or one of its addresses."""
    if is_loopback(host):
        return True
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return host.lower() == socket.gethostname().lower()
    # A datagram socket can be bound to the addresses of this machine alone.
    with socket.socket(family, socket.SOCK_DGRAM) as attempt:
        try:
            attempt.bind((host, 0))
        except OSError:
            return False
    return True
