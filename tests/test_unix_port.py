"""Accept from a shared Unix socket while descriptors run out: server/workers/unix_port.py."""

import errno
from typing import TYPE_CHECKING, cast

import pytest
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import Clock

from server.workers.unix_port import RETRY_SECONDS, SharedUnixPort
from tests.fakes.server import Log

if TYPE_CHECKING:
    import socket


class Accepted:
    """The descriptor of a new connection."""

    def __init__(self) -> None:
        self.closed = 0

    def __enter__(self) -> "Accepted":
        """Return the connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.closed += 1

    def setblocking(self, blocks: bool) -> None:
        """Do nothing."""

    def fileno(self) -> int:
        """Return some number."""
        return 77


class Listener:
    """A listening socket: each accept returns a connection, or raises, by the error *outcomes*."""

    def __init__(self, *outcomes: int) -> None:
        self.outcomes = list(outcomes)
        self.accepted: list[Accepted] = []
        self._closed = False

    def getsockname(self) -> str:
        """Return a path."""
        return "ferry.sock"

    def accept(self) -> tuple[Accepted, str]:
        """Accept a connection, or raise OSError; when the outcomes are used up, none waits."""
        error = self.outcomes.pop(0) if self.outcomes else errno.EAGAIN
        if error:
            raise OSError(error, "no")
        self.accepted.append(Accepted())
        return self.accepted[-1], ""

    def fileno(self) -> int:
        """Return some number; -1 after `close`."""
        return -1 if self._closed else 5

    def close(self) -> None:
        """Close it."""
        self._closed = True


class Reactor(Clock):
    """A clock with readers, and a duplicate for as many connections as *free*."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.free = free
        self.adopted = 0
        self.readers: set[object] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard

    def adoptStreamConnection(self, descriptor: int, family: int, factory: object) -> None:
        """Duplicate *descriptor*, or raise OSError."""
        if self.adopted == self.free:
            raise OSError(errno.EMFILE, "Too many open files")
        self.adopted += 1


def started(reactor: Reactor, listener: Listener) -> SharedUnixPort:
    """Return a port that accepts from *listener*."""
    port = SharedUnixPort(cast("socket.socket", listener), ServerFactory(), reactor)
    port.startListening()
    return port


def refusals(log: Log) -> list[str]:
    """Return the lines about refusals."""
    return [line for line in log.lines() if line.startswith("no connection")]


@pytest.mark.parametrize(
    ("outcomes", "free"),
    [((errno.EMFILE,), 9), ((errno.ENFILE,), 9), ((errno.ENOMEM,), 9), ((0, 0), 1)],
    ids=["accept: EMFILE", "accept: ENFILE", "accept: ENOMEM", "adopt: EMFILE"],
)
def test_a_port_without_a_descriptor_pauses(outcomes: tuple[int, ...], free: int, log: Log) -> None:
    """It is not read meanwhile, so that it does not spin; then it accepts again."""
    reactor, listener = Reactor(free), Listener(*outcomes)
    port = started(reactor, listener)
    port.doRead()
    assert reactor.readers == set()
    assert all(it.closed == 1 for it in listener.accepted)
    reactor.advance(RETRY_SECONDS)
    assert reactor.readers == {port}
    reactor.free, before, listener.outcomes = 9, reactor.adopted, [0]
    port.doRead()
    assert reactor.adopted == before + 1
    assert reactor.readers == {port}
    (line,) = refusals(log)
    assert line.startswith("no connection is accepted from ferry.sock for 1 s: ")


def test_refusals_are_logged_at_an_interval(log: Log) -> None:
    """Once in 10 s."""
    reactor, listener = Reactor(0), Listener()
    port = started(reactor, listener)
    for _ in range(11):
        listener.outcomes = [0]
        port.doRead()
        reactor.advance(RETRY_SECONDS)
    assert len(refusals(log)) == 2


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ECONNABORTED])
def test_a_connection_that_is_gone_is_no_refusal(error: int, log: Log) -> None:
    """Another process has accepted it, or the client has closed it."""
    reactor = Reactor(9)
    port = started(reactor, Listener(error))
    port.doRead()
    assert reactor.readers == {port}
    assert refusals(log) == []


def test_a_port_that_is_closed_in_a_pause_stays_closed() -> None:
    """Its descriptor may be that of another file."""
    reactor = Reactor(9)
    port = started(reactor, Listener(errno.EMFILE))
    port.doRead()
    port.stopListening()
    reactor.advance(RETRY_SECONDS)
    assert reactor.readers == set()
