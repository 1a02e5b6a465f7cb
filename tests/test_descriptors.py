"""The log lines when file descriptors run out: server/process/descriptors.py."""

import errno
import resource

import pytest
from twisted.internet import tcp
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from server.process.descriptors import RefusedConnections
from tests.fakes.server import Log

LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Accepted:
    """A connection that Twisted closes at once."""

    def close(self) -> None:
        """Do nothing."""


class Listener:
    """A listening socket: an error for the first client, then one client, then no other."""

    def __init__(self, error: int) -> None:
        self._outcomes = [error, 0, errno.EAGAIN]

    def accept(self) -> tuple[Accepted, tuple[str, int]]:
        """Accept a client, or raise OSError."""
        error = self._outcomes.pop(0)
        if error:
            raise OSError(error, "no")
        return Accepted(), ("192.0.2.7", 1)


class Reserve:
    """Twisted's spare descriptor, or none."""

    def __init__(self, *, there: bool) -> None:
        self._there = there

    def available(self) -> bool:
        """Return whether the spare descriptor is held."""
        return self._there

    def __enter__(self) -> None:
        """Close the spare descriptor."""
        self._there = False

    def __exit__(self, *_: object) -> None:
        """Open it again."""
        self._there = True


NONE_LEFT = f"all {LIMIT} file descriptors are in use (ulimit -n)"


@pytest.mark.parametrize(
    ("error", "reserve", "reason"),
    [
        (errno.EMFILE, True, NONE_LEFT),
        (errno.EMFILE, False, NONE_LEFT),
        (errno.ENFILE, True, "the system has no descriptor or memory left (ENFILE)"),
    ],
)
def test_refused_connections_are_logged_at_an_interval(
    error: int, reserve: bool, reason: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for all of 10 seconds, for each kind of event of Twisted's port."""
    clock = Clock()
    observer = RefusedConnections(clock.seconds)
    monkeypatch.setattr(tcp, "_reservedFD", Reserve(there=reserve))
    port = tcp.Port(0, ServerFactory(), reactor=clock)
    port.numberAccepts = 4
    globalLogPublisher.addObserver(observer)
    try:
        for pause in (0.0, 4.0, 5.9, 0.1):
            clock.advance(pause)
            port.socket = Listener(error)
            port.doRead()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert [line for line in log.lines() if line.startswith("connections")] == [
        f"connections are refused, {refused} so far: {reason}" for refused in (1, 4)
    ]
