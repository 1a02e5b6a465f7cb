"""
Close ports without resetting the connections that wait in the queues of their sockets.

A connection is in the queue when the kernel has completed its handshake, and its client may have
sent a request already; closing the socket resets it.  So new connections are refused first, and
those in the queue are accepted.  Runs on the reactor thread.
"""

import os
import socket
from collections.abc import Iterable
from typing import cast

from twisted.internet.interfaces import IListeningPort, IReadDescriptor

from server.http.connections import Connections
from server.http.listen_addresses import kind_of
from server.http.syn_filter import refuse_new_connections

#: Seconds that handshakes may take which have begun when new connections are refused: the round
#: trip of a client far away.
HANDSHAKE_SECONDS = 0.25

#: The kinds of addresses whose sockets no other program has.  That of systemd stays open, and takes
#: connections for the next server.
_OWN_KINDS = ("tcp", "tcp6", "ssl", "tls")


def refuse_new(ports: Iterable[tuple[str, IListeningPort]]) -> bool:
    """
    Refuse new connections at *ports*, each with the description of its endpoint, where possible.

    Return whether that was done for any: then `HANDSHAKE_SECONDS` later their queues are complete.
    """
    own = [port for described, port in ports if kind_of(described) in _OWN_KINDS]
    return bool([port for port in own if _refuse(port)])  # each, not only up to the first


def _refuse(port: IListeningPort) -> bool:
    descriptor = _descriptor(port)
    if descriptor < 0:
        return False
    with socket.socket(fileno=os.dup(descriptor)) as listener:
        return refuse_new_connections(listener)


def _descriptor(port: IListeningPort) -> int:
    """Return the descriptor of *port*, -1 if it has none."""
    if not IReadDescriptor.providedBy(port):
        return -1
    return int(cast("IReadDescriptor", port).fileno())


def accept_queue(port: IListeningPort, connections: Connections) -> None:
    """Accept the connections in the queue of *port*, which become some of *connections*."""
    if not IReadDescriptor.providedBy(port):
        return
    accepted = -1
    while accepted != connections.accepted:
        accepted = connections.accepted
        cast("IReadDescriptor", port).doRead()
