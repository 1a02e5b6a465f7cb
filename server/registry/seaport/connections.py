"""
The connections of seaport's protocol: what they receive, send, and how they end.

A connection that sends a line that is none of the protocol, or no line for `SILENCE_SECONDS`, is
closed, and its services are removed.  Changes are sent together after `GATHER_SECONDS`: when a
thousand clients reconnect, each must receive the services of all others.  Runs on the reactor
thread.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from server.discovery.addresses import plain_address
from server.discovery.members import Members
from server.discovery.worker_record import RecordError, WorkerRecord
from server.registry.seaport.lines import (
    COPY,
    HEARTBEAT,
    SYNCED,
    LineError,
    Message,
    Service,
    free_line,
    helo_line,
    parse,
)
from server.registry.seaport.services import Services

_log = Logger()

#: Seconds between two heartbeats of a connection, and after which a silent one is closed: those of
#: the package's clients.
HEARTBEAT_SECONDS = 15.0
SILENCE_SECONDS = 45.0

MAX_LINE_BYTES = 16 * 1024
MAX_CONNECTIONS = 1000

#: Seconds for which changes are gathered before they are sent.
GATHER_SECONDS = 0.05

#: Seconds between two looks at the workers of other sources.
PUBLISH_SECONDS = 1.0

#: The most services that are written at once: a connection says after each write whether it takes
#: more, so that no more than these are held for a client that reads slowly.
MAX_WRITTEN_SERVICES = 32

#: Seconds between two log lines about refusals.
LOG_SECONDS = 1.0


@implementer(IPushProducer)
class SeaportConnection(LineOnlyReceiver, TimeoutMixin):
    """One client: it may register workers, and it receives the services of all others."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE_BYTES

    def __init__(self, factory: "SeaportFactory", host: str) -> None:
        """*host* is the address of the client."""
        self._factory = factory
        self._services = factory.services
        self._host = host
        #: The ids whose changes are to be sent, in order.
        self._unsent: dict[str, None] = {}
        self._paused = False  #: whether the client reads more slowly than it is sent to
        self._owes_synced = False  #: whether `SYNCED` follows them
        self.synced = False  #: whether it has sent its services, and receives those of others

    def connectionMade(self) -> None:
        """Called when the connection is made."""
        self.setTimeout(self._factory.silence)
        self._write(helo_line(self._host))
        self._transport.registerProducer(self, streaming=True)
        self._factory.connections.add(self)

    def callLater(self, period: float, func: Callable[[], object]) -> IDelayedCall:
        """Called by TimeoutMixin for its timer."""
        return self._factory.clock.callLater(period, func)

    def lineReceived(self, line: bytes) -> None:
        """Called with each line."""
        self.resetTimeout()
        try:
            self._receive(parse(line))
        except LineError as error:
            self.refuse(str(error))
        except RecordError as error:
            self._factory.log_refusal(f"{self._host} registers no worker: {error}")

    def _receive(self, message: Message) -> None:
        if message.service is not None:
            self._register(message.id, message.service)
        elif message.name == "free":
            self._services.free(self, message.id)
        elif message.name == "synced" and not self.synced:
            self.synced = self._owes_synced = True
            self.send_changes(self._services.ids())

    def _register(self, service_id: str, service: Service) -> None:
        if COPY not in service:
            host = service.get("host") or self._host
            self._services.register(self, service_id, {**service, "host": host})
        elif service_id not in self._services:
            self._write(free_line(service_id))

    def send_changes(self, ids: Iterable[str]) -> None:
        """Send what has become of *ids*; called by the factory, once synced."""
        self._unsent.update(dict.fromkeys(ids))
        while self._unsent and not self._paused:
            part = tuple(islice(self._unsent, MAX_WRITTEN_SERVICES))
            for service_id in part:
                del self._unsent[service_id]
            self._write(self._services.lines_for(self, part))
        if self._owes_synced and not self._unsent:
            self._owes_synced = False
            self._write(SYNCED)

    def send_heartbeat(self) -> None:
        """Called by the factory every `HEARTBEAT_SECONDS`; not sent if much is unsent."""
        if not self._paused:
            self._write(HEARTBEAT)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Called when a line is too long, complete or not."""
        self.refuse(f"a line has more than {MAX_LINE_BYTES} bytes")

    def timeoutConnection(self) -> None:
        """Called when the client has been silent for too long."""
        self.refuse(f"it has sent nothing for {self._factory.silence:g} s")

    def refuse(self, reason: str) -> None:
        """Close the connection at once, and log *reason*."""
        self._factory.log_refusal(f"a connection from {self._host} is closed: {reason}")
        self._transport.abortConnection()

    def close(self) -> None:
        """Close the connection when all is sent."""
        self._transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is lost."""
        self.setTimeout(None)
        self._factory.connections.discard(self)
        self._services.leave(self)

    def pauseProducing(self) -> None:
        """Called when the client reads more slowly than it is sent to."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Called when it has read all."""
        self._paused = False
        self.send_changes(())

    def stopProducing(self) -> None:
        """Called when the connection is lost while something is unsent; connectionLost follows."""

    def _write(self, lines: bytes) -> None:
        if lines:
            self._transport.write(lines)

    @property
    def _transport(self) -> Any:  # Any: TCP; Twisted's ITransport cannot abort
        return self.transport


class SeaportFactory(Factory):
    """Accepts the connections of a port, and writes their workers into its `Members`."""

    noisy = False

    #: Seconds after which a silent connection is closed.
    silence = SILENCE_SECONDS

    def __init__(
        self,
        members: Members,
        clock: IReactorTime,
        permit: Callable[[IAddress], bool],
        others: Callable[[], Iterable[WorkerRecord]] = tuple,
    ) -> None:
        """
        *permit* returns whether a client at this address may connect: the protocol has no token.
        *others* returns the workers that clients receive besides those of *members*, which it may
        contain.  *clock* is monotonic.
        """
        self.clock = clock
        self.services = Services(members, self._changed)
        self.connections: set[SeaportConnection] = set()
        self._permit = permit
        self._others = others
        self.members = members
        self._loops = (
            (LoopingCall(self._send_heartbeats), HEARTBEAT_SECONDS),
            (LoopingCall(self._publish), PUBLISH_SECONDS),
        )
        self._gathering: IDelayedCall | None = None
        self._logged_at: float | None = None
        self._unlogged = 0

    def startFactory(self) -> None:
        """Called when the port listens."""
        self.members.is_current()
        for loop, seconds in self._loops:
            loop.clock = self.clock
            _logged(loop.start(seconds, now=False))

    def stopFactory(self) -> None:
        """Called when the port no longer listens: close the connections."""
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        for connection in self.connections:
            connection.close()

    def buildProtocol(self, addr: IAddress | None) -> SeaportConnection | None:
        """Called when a connection is accepted; None closes it."""
        reason = self._refusal(addr)
        if reason:
            self.log_refusal(f"a connection from {_host(addr)} is refused: {reason}")
            return None
        return SeaportConnection(self, _host(addr))

    def _refusal(self, address: IAddress | None) -> str:
        """Return why a connection is refused, empty if it is not."""
        if address is None or not self._permit(address):
            return "the address is not trusted"
        if len(self.connections) >= MAX_CONNECTIONS:
            return f"{MAX_CONNECTIONS} connections are open"
        return ""

    def log_refusal(self, text: str) -> None:
        """Log *text*, unless a line was logged within `LOG_SECONDS`; the next line counts these."""
        now = self.clock.seconds()
        if self._logged_at is not None and now < self._logged_at + LOG_SECONDS:
            self._unlogged += 1
            return
        more = f" ({self._unlogged} more like this before)" if self._unlogged else ""
        self._logged_at, self._unlogged = now, 0
        _log.warn("seaport: {text}{more}", text=text, more=more)

    def _send_heartbeats(self) -> None:
        for connection in self.connections:
            connection.send_heartbeat()

    def _publish(self) -> None:
        if self.connections:
            for reason in self.services.publish(self._others()):
                self.log_refusal(reason)

    def _changed(self) -> None:
        if self._gathering is None and self.numPorts:
            self._gathering = self.clock.callLater(GATHER_SECONDS, self._send_changes)

    def _send_changes(self) -> None:
        self._gathering = None
        changes = self.services.take_changes()
        for connection in self.connections:
            if connection.synced:
                connection.send_changes([it for it, by in changes.items() if by is not connection])


def _host(address: object) -> str:
    """Return the host in *address*: that of IPv4 also where the socket is one of IPv6."""
    if not isinstance(address, IPv4Address | IPv6Address):
        return "127.0.0.1"  # the client of a Unix socket is on this machine
    return str(plain_address(address.host))


def _logged(ended: Deferred[LoopingCall]) -> None:
    ended.addErrback(lambda failure: _log.failure("seaport: a loop has failed", failure))
