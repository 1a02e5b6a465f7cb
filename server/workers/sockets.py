"""
The listening sockets of all workers, which the supervisor binds once and holds until it stops.

For each TCP address there is one socket a worker, all on the same port (SO_REUSEPORT): the kernel
distributes the connections over those that listen.  A worker inherits its socket, as does the
process that succeeds it, so a connection that waits in the queue of the socket is accepted by
either.  Runs on the main thread.
"""

import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.python.lockfile import FilesystemLock

from server.http.listen_addresses import listen_failure_reason
from server.http.syn_filter import take_new_connections
from server.lifecycle import StartError
from server.workers.socket_plan import PlannedSocket


class Claimed:
    """One address, which is bound."""

    def __init__(self, plan: PlannedSocket, workers: int) -> None:
        """
        Bind *plan* for *workers* processes.

        Raises OSError if another program listens there, even if it allows others on its port.
        """
        self.plan = plan
        self._lock: FilesystemLock | None = None
        self._unlinks = False
        self._sockets: list[socket.socket] = []
        try:
            self._bind(1 if plan.shared else workers)
            self._sockets[0].listen(plan.backlog)
        except OSError:
            self.close()
            self.remove_path()
            raise

    def _bind(self, count: int) -> None:
        if self.plan.family == socket.AF_UNIX:
            self._bind_path()
            return
        first = self._new_socket()
        host = self.plan.address or "0.0.0.0"  # noqa: S104 - an address without an interface
        found = socket.getaddrinfo(host, self.plan.port, self.plan.family, socket.SOCK_STREAM)
        # Without SO_REUSEPORT at first: another server on the port is an error.
        first.bind(found[0][4])
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if not self.plan.port:
            # The socket for which the kernel has chosen the port loses it when it is shut.
            count += 1
        while len(self._sockets) < count:
            other = self._new_socket()
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(first.getsockname())
        if not self.plan.port:
            self._sockets.pop(0).close()

    def _new_socket(self) -> socket.socket:
        new = socket.socket(self.plan.family, socket.SOCK_STREAM)
        self._sockets.append(new)
        new.setblocking(False)
        if self.plan.family != socket.AF_UNIX:
            new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return new

    def _bind_path(self) -> None:
        path = Path(self.plan.address)
        if self.plan.has_lock_file:
            lock = FilesystemLock(f"{path}.lock")
            if not lock.lock():
                raise OSError(0, "another server has its lock file")
            self._lock = lock
            if not lock.clean and path.is_socket():
                path.unlink()  # of a server that was killed
        self._new_socket().bind(str(path))
        self._unlinks = True
        path.chmod(self.plan.mode)

    def of(self, worker: int) -> socket.socket:
        """Return the socket of *worker*."""
        return self._sockets[0 if self.plan.shared else worker]

    def open(self, worker: int) -> None:
        """Listen on the socket of *worker*; raises OSError."""
        # A worker that a signal has stopped alone has refused new connections at its socket.
        take_new_connections(self.of(worker))
        self.of(worker).listen(self.plan.backlog)

    def shut(self, worker: int) -> None:
        """Listen no longer on the socket of *worker*, unless the others share it."""
        if not self.plan.shared:
            with suppress(OSError):  # it did not listen
                self.of(worker).shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Close the descriptors of this process; those of a worker stay open."""
        for each in self._sockets:
            each.close()

    def remove_path(self) -> None:
        """Remove the path of a Unix socket, and its lock file."""
        if self._unlinks:
            with suppress(OSError):
                Path(self.plan.address).unlink()
        if self._lock is not None:
            self._lock.unlock()
            self._lock = None


class ListeningSockets:
    """The sockets of all addresses."""

    def __init__(self, plans: Iterable[PlannedSocket], workers: int) -> None:
        """
        Bind all addresses; the sockets of worker 0 listen at once, as do the shared ones.

        Raises `StartError` for an address that cannot be bound; then none is.
        """
        self._claimed: list[Claimed] = []
        for plan in plans:
            try:
                self._claimed.append(Claimed(plan, workers))
            except (OSError, OverflowError) as error:
                self.close()
                self.remove_paths()
                reason = listen_failure_reason(Failure(error))
                raise StartError(f"cannot listen on {plan.description}: {reason}") from error

    def sockets_of(self, worker: int) -> dict[str, socket.socket]:
        """Return the sockets of *worker*, by the description of the address."""
        return {it.plan.description: it.of(worker) for it in self._claimed}

    def addresses(self) -> list[IAddress]:
        """Return the addresses, in the order of the plans; not after `close`."""
        return [_address_of(it.of(0)) for it in self._claimed]

    def open(self, worker: int) -> None:
        """Listen on the sockets of *worker*; raises OSError if another program does meanwhile."""
        for each in self._claimed:
            each.open(worker)

    def shut(self, worker: int) -> None:
        """
        Stop listening on the sockets of *worker*, so that the others get all new connections.

        Connections that wait in the queue of the sockets of *worker* are reset.
        """
        for each in self._claimed:
            each.shut(worker)

    def close(self) -> None:
        """Close the descriptors of this process; the sockets stay open in the workers."""
        for each in self._claimed:
            each.close()

    def remove_paths(self) -> None:
        """Remove the paths of Unix sockets."""
        for each in self._claimed:
            each.remove_path()


def _address_of(bound: socket.socket) -> IAddress:
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return UNIXAddress(name)
    return (IPv6Address if bound.family == socket.AF_INET6 else IPv4Address)("TCP", *name[:2])
