"""
A worker process: it ends with its supervisor, accepts from inherited sockets, and reports to it.

Runs on the main thread, most of it when the reactor runs.
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Iterable
from typing import Any

from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory

from model.execution.cores import share_cores
from server.http.listening import Ports
from server.lifecycle import StartError
from server.workers.channel import Channel, Handler
from server.workers.roles import WorkerRole
from server.workers.unix_port import SharedUnixPort

#: From linux/prctl.h: the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1

#: The exit code of a worker whose supervisor has ended.
_ORPHANED = 1

#: Seconds within which the supervisor opens the sockets of a worker that is ready.
_MAX_OPEN_SECONDS = 60.0


def bind_to_supervisor(role: WorkerRole) -> None:
    """
    End this process together with its supervisor; use a share of the cores from now on.

    SIGUSR2 is ignored: it is meant for the supervisor.

    Call once, before the reactor runs and before the cores are counted.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != role.parent:  # it has ended before
        sys.exit(_ORPHANED)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    share_cores(role.workers)


class WorkerPorts(Ports):
    """
    The ports of a worker, from the sockets that it inherits, and its connection to the supervisor.

    More handlers for calls of the supervisor may be added to `handlers` at any time.
    """

    def __init__(self, role: WorkerRole, reactor: Any, clock: IReactorTime) -> None:
        """*reactor* is Any: Twisted has no type with sockets and connections."""
        super().__init__(reactor)
        self.role = role
        self.handlers: dict[str, Handler] = {"succeeded": self._succeeded}
        self.channel = Channel(self.handlers, clock)
        self._sites: list[tuple[str, IProtocolFactory]] = []
        for descriptor in (role.channel, *role.listeners.values()):
            os.set_inheritable(descriptor, False)
        os.set_blocking(role.channel, False)
        factory = Factory.forProtocol(lambda: self.channel)
        factory.noisy = False
        reactor.adoptStreamConnection(role.channel, socket.AF_UNIX, factory)
        os.close(role.channel)

    def _succeeded(self, _: object) -> None:
        self.has_successor = True

    def start(self, sites: Iterable[tuple[str, IProtocolFactory]]) -> None:
        """
        Accept connections, if this worker does so while it loads.

        Raises `StartError` for an address that the supervisor has not bound.
        """
        self._sites = list(sites)
        for description, _ in self._sites:
            if description not in self.role.listeners:
                raise StartError(
                    f"cannot listen on {description}: the supervisor has not bound it when it "
                    "started; to change the addresses, start the server again"
                )
        if self.role.accepts_at_once:
            self._accept()

    async def serve(self) -> None:
        """Report that the worker is ready, and accept connections."""
        is_open = await self.channel.call("ready", timeout=_MAX_OPEN_SECONDS)
        if is_open and not self.role.accepts_at_once:
            self._accept()

    def closed(self) -> None:
        """Report that all ports are closed: new connections are for the other workers."""
        self.channel.call("closed").addErrback(lambda _: None)  # the supervisor has ended

    def give_up(self) -> None:
        """Close the sockets from which no connection was accepted yet: the worker stops."""
        if self._sites and not self.open:
            for descriptor in self.role.listeners.values():
                os.close(descriptor)
        self._sites = []

    def beat(self, is_well: bool) -> None:
        """Report that the reactor runs, and whether the server is alive; called each second."""
        self.channel.call("beat", is_well).addErrback(lambda _: None)  # the supervisor is busy

    def _accept(self) -> None:
        for description, site in self._sites:
            descriptor = self.role.listeners[description]
            listener = socket.socket(fileno=descriptor)
            if listener.family == socket.AF_UNIX:
                port = SharedUnixPort(listener, site, self._reactor)
                port.startListening()
                self.open.append(port)
                continue
            with listener:  # the port has a duplicate
                port = self._reactor.adoptStreamPort(descriptor, listener.family, site)
            self.open.append(port)
