"""
Tell systemd how the service is doing, where it asked to be told (``Type=notify``).
"""

import os
import socket
from collections.abc import Mapping


def notify(message: str, environ: Mapping[str, str] = os.environ) -> bool:
    """
    Send *message*, such as ``READY=1``, to the socket in ``NOTIFY_SOCKET``.

    Return whether it was sent: a service that runs elsewhere, or whose socket is gone, goes on
    without.  Never blocks.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # the kernel's abstract names begin with a zero byte
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as to:
            to.connect(address)
            to.send(message.encode())
    except OSError:
        return False
    return True
