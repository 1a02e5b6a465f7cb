"""
Send at once, and see how far a connection has come with what it was given.

Twisted's transports pass on at the reactor's next turn what they are given, and offer no public way
to tell what waits: the names that begin with an underscore are read here for that alone.
"""

from typing import Any

from twisted.internet.abstract import FileDescriptor


def send_now(transport: object, data: bytes) -> bytes:
    """Send what *transport* takes of *data* at once, if anything; return what is left to write."""
    if not isinstance(transport, FileDescriptor) or not _can_send_now(transport):
        return data
    sent = transport.writeSomeData(data)
    # Where that failed, the transport finds out by itself, and tells.
    return data[sent:] if isinstance(sent, int) else data


def _can_send_now(transport: FileDescriptor) -> bool:
    """Whether *transport* takes data as it is, and has none to pass on before it."""
    waiting = transport.dataBuffer or transport._tempDataLen  # noqa: SLF001  # nothing public says it
    # After `startTLS` the descriptor is the same, and what passes by its `write` is not encrypted.
    encrypts = getattr(transport, "TLS", False)
    return bool(
        transport.connected and not transport.disconnecting and not waiting and not encrypts
    )


def write_progress(transport: Any) -> tuple[int, int]:  # Any: no interface has these two names
    """Return what differs when *transport* has passed something on to the kernel."""
    return len(transport.dataBuffer), transport.offset
