"""
Report the state of the service to systemd (``Type=notify``).
"""

import os
import socket
from collections.abc import Mapping


def notify(message: str, environ: Mapping[str, str] = os.environ) -> bool:
    """
    Send *message*, such as ``READY=1``, to the socket in ``NOTIFY_SOCKET``.

    Return whether it was sent: False if there is no such socket.  Never blocks.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # an abstract name begins with a zero byte
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as to:
            to.connect(address)
            to.send(message.encode())
    except OSError:
        return False
    return True


def notify_watchdog(alive: bool) -> None:
    """Report that the service is alive, if *alive* is true."""
    if alive:
        notify("WATCHDOG=1")
