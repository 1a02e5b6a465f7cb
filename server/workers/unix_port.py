"""
Accept connections from a Unix socket that other processes accept from as well.

Twisted's own port would change the mode of the path, and remove it at its end.  Runs on the reactor
thread.
"""

import socket
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from server.process.descriptors import MIN_INTERVAL_SECONDS

#: The most connections that are accepted before other work is done.
_MAX_ACCEPTS = 100

#: Seconds without an accept after the process had no descriptor or memory for a connection.
RETRY_SECONDS = 1.0

_log = Logger()


@implementer(IListeningPort, IReadDescriptor)
class SharedUnixPort:
    """Gives connections to a factory until `stopListening`, which leaves the path as it is."""

    def __init__(self, listener: socket.socket, factory: IProtocolFactory, reactor: Any) -> None:
        """*listener* listens, and does not block.  *reactor* is Any as in `InferenceService`."""
        self._listener = listener
        self._factory = factory
        self._reactor = reactor
        self._name: str = listener.getsockname()
        self._next_line = 0.0  #: of the log, by the reactor's clock

    def startListening(self) -> None:
        """Begin to accept connections."""
        self._factory.doStart()
        self._reactor.addReader(self)

    def stopListening(self) -> Deferred[None]:
        """Accept no more, and close the descriptor of this process; a second call does nothing."""
        if self.fileno() >= 0:
            self._reactor.removeReader(self)
            self._listener.close()
            self._factory.doStop()
        return succeed(None)

    def getHost(self) -> UNIXAddress:
        """Return the address."""
        return UNIXAddress(self._name)

    def doRead(self) -> None:
        """Called when a connection waits: another process may be faster to accept it."""
        for _ in range(_MAX_ACCEPTS):
            try:
                self._accept()
            except (BlockingIOError, ConnectionAbortedError):  # none waits any more
                return
            except OSError as error:  # there is no descriptor or memory for it
                self._pause(error)
                return

    def _accept(self) -> None:
        accepted, _peer = self._listener.accept()
        with accepted:
            accepted.setblocking(False)
            self._reactor.adoptStreamConnection(accepted.fileno(), socket.AF_UNIX, self._factory)

    def _pause(self, error: OSError) -> None:
        """Leave the connections in the queue for a while; otherwise the reactor would spin."""
        self._reactor.removeReader(self)
        self._reactor.callLater(RETRY_SECONDS, self._resume)
        now = self._reactor.seconds()
        if now < self._next_line:
            return
        self._next_line = now + MIN_INTERVAL_SECONDS
        _log.warn(
            "no connection is accepted from {path} for {seconds:g} s: {reason}",
            path=self._name,
            seconds=RETRY_SECONDS,
            reason=error.strerror,
        )

    def _resume(self) -> None:
        if self.fileno() >= 0:
            self._reactor.addReader(self)

    def fileno(self) -> int:
        """Return the descriptor; -1 after `stopListening`."""
        return self._listener.fileno()

    def connectionLost(self, reason: Failure) -> None:
        """Called when the reactor stops."""
        self.stopListening()

    def logPrefix(self) -> str:
        """Return a name for Twisted's log."""
        return "SharedUnixPort"
