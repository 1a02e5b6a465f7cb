"""
Write to a transport without waiting for the reactor, and measure its progress.

Twisted's transports send at the reactor's next turn, and have no public way to see what they still
buffer: the names that begin with an underscore are read here only for that.
"""

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IHalfCloseableDescriptor, ISSLTransport


def send_now(transport: object, data: bytes) -> bytes:
    """Send as much of *data* as *transport* accepts at once; return the rest."""
    if not isinstance(transport, FileDescriptor) or not _can_send_now(transport):
        return data
    sent = transport.writeSomeData(data)
    # Any other value than an int is an error, which the transport gets again later and reports.
    return data[sent:] if isinstance(sent, int) else data


def _can_send_now(transport: FileDescriptor) -> bool:
    """Whether *transport* sends plain data and its buffer is empty."""
    waiting = transport.dataBuffer or transport._tempDataLen  # noqa: SLF001  # no public name
    # After `startTLS` the descriptor is the same, and data that bypasses `write` is not encrypted.
    encrypts = getattr(transport, "TLS", False)
    return bool(
        transport.connected and not transport.disconnecting and not waiting and not encrypts
    )


def can_half_close(transport: object) -> bool:
    """Return whether *transport* can close the direction in which it sends alone."""
    # Twisted declares that TLS can, too, but that would close the TCP connection below it: the
    # client gets no alert of TLS, and the next close fails.
    is_secure = ISSLTransport.providedBy(transport)
    return IHalfCloseableDescriptor.providedBy(transport) and not is_secure


def write_progress(transport: Any) -> tuple[int, int]:  # Any: no interface has these two names
    """Return a value that changes whenever *transport* has passed bytes to the kernel."""
    return len(transport.dataBuffer), transport.offset
