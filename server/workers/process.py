"""
Start the process of a worker, with its connection to the supervisor and its listening sockets.

The process runs the same command as the supervisor, in a process group of its own, so that Ctrl-C
in a terminal reaches only the supervisor.  Runs on the reactor thread.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReactorTime, IReadDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from server.workers.channel import Channel, Handler
from server.workers.output import OutputLines
from server.workers.roles import WorkerRole

#: The variables by which the supervisor, and no worker, reports to systemd.
_SUPERVISOR_ALONE = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """What a worker process runs."""

    arguments: Sequence[str]  #: of the supervisor itself, from the program on
    folder: str  #: the working folder in which the supervisor was started
    environ: Mapping[str, str]
    #: Called with each line that a worker writes to stdout or stderr, without its end; None: the
    #: worker inherits both.
    on_line: Callable[[bytes], object] | None = None


class WorkerProcess:
    """One process of a worker, until it has ended."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        channel: Channel,
        on_ended: Callable[[int], object],
    ) -> None:
        self.pid = process.pid
        self.channel = channel
        self._process = process
        self._on_ended = on_ended

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, unless it has ended."""
        self._process.send_signal(number)

    def ended(self) -> None:
        """Called when the process has ended."""
        self._on_ended(self._process.wait())


def start_process(
    command: WorkerCommand,
    index: int,
    workers: int,
    *,
    sockets: Mapping[str, socket.socket],
    accepts_at_once: bool,
    variables: Mapping[str, str],
    handlers: Mapping[str, Handler],
    on_ended: Callable[[int], object],
    reactor: Any,  # Any: Twisted has no type with readers and connections
    clock: IReactorTime,
) -> WorkerProcess:
    """
    Start the process of the worker *index*, with *variables* in its environment.

    It inherits *sockets*; *handlers* answer its calls.  *on_ended* is called with its exit code, or
    minus the number of the signal that has ended it.  Raises OSError.
    """
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        role = WorkerRole(
            index,
            workers,
            parent=os.getpid(),
            channel=theirs.fileno(),
            listeners={description: it.fileno() for description, it in sockets.items()},
            accepts_at_once=accepts_at_once,
        )
        inherited = {
            name: it for name, it in command.environ.items() if name not in _SUPERVISOR_ALONE
        }
        channel = Channel(handlers, clock)
        # Before the start: if that fails, the close of `theirs` ends the transport.
        _adopt(reactor, ours, channel)
        process = _popen(
            command,
            environ={**inherited, **variables, **role.variables()},
            descriptors=[theirs.fileno(), *role.listeners.values()],
            reactor=reactor,
        )
    started = WorkerProcess(process, channel, on_ended)
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:  # its end could not be observed
        process.kill()
        process.wait()
        raise
    reactor.addReader(_End(descriptor, started.ended, reactor))
    return started


def _popen(
    command: WorkerCommand, *, environ: Mapping[str, str], descriptors: Sequence[int], reactor: Any
) -> "subprocess.Popen[bytes]":
    def popen(output: int | None) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 - the command of this process itself
            command.arguments,
            cwd=command.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=descriptors,
            process_group=0,
        )

    if command.on_line is None:
        return popen(None)
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        _adopt(reactor, ours, OutputLines(command.on_line))  # before the start, as the channel
        return popen(theirs.fileno())


def _adopt(reactor: Any, end: socket.socket, protocol: Protocol) -> None:
    """Connect *protocol* to a duplicate of the connected socket *end*; raises OSError."""
    end.setblocking(False)
    factory = Factory.forProtocol(lambda: protocol)
    factory.noisy = False
    reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, factory)


@implementer(IReadDescriptor)
class _End:
    """A descriptor that is readable when a process has ended."""

    def __init__(self, descriptor: int, on_end: Callable[[], object], reactor: Any) -> None:
        self._descriptor = descriptor
        self._on_end = on_end
        self._reactor = reactor

    def doRead(self) -> None:
        """Called when the process has ended."""
        self._reactor.removeReader(self)
        os.close(self._descriptor)
        self._on_end()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def connectionLost(self, reason: Failure) -> None:
        """Called when the reactor stops, if the process still runs."""

    def logPrefix(self) -> str:
        """Return a name for Twisted's log."""
        return "worker"
