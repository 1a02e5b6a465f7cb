"""
Listen for DNS messages over UDP and TCP, and answer them from a zone.

Runs on the reactor thread.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import DatagramProtocol, ServerFactory
from twisted.logger import Logger
from twisted.protocols.basic import Int16StringReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from server.discovery.engine_url import join_host_port
from server.lifecycle import StartError
from server.registry.dns_answers import MAX_QUERY_BYTES, answer
from server.registry.dns_zone import KnownWorkers, WorkerZone, address_of

#: Seconds after which a TCP connection without a question is closed.
MAX_IDLE_SECONDS = 10.0

#: TCP connections at a time; a further one is closed at once.
MAX_CONNECTIONS = 256

#: Bytes of datagrams that are read in one turn of the reactor, so that many datagrams leave time
#: for everything else.
MAX_UDP_BYTES_PER_TURN = 4096

#: How many ports are tried if any will do: one that is free for TCP may be taken for UDP.
_ATTEMPTS = 20

_log = Logger()


class Datagrams(DatagramProtocol):
    """Answers each datagram."""

    noisy = False

    transport: Any  # Any: None until it listens

    def __init__(self, zone: WorkerZone) -> None:
        self._zone = zone

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # Any: as in Twisted
        """Called with one message from *addr*."""
        reply = answer(self._zone, datagram, over_tcp=False)
        if reply is not None:
            with suppress(OSError):  # the sender may have stated an address that cannot be sent to
                self.transport.write(reply, addr)


class Stream(Int16StringReceiver, TimeoutMixin):
    """
    Answers the messages of one TCP connection, one in a turn of the reactor.

    The questions that follow an answer wait while the client does not read it: Twisted then pauses
    the producer of the answers, which is this protocol.
    """

    MAX_LENGTH = MAX_QUERY_BYTES

    transport: Any  # Any: Twisted has no type with all of its methods

    def __init__(self, streams: "Streams", reactor: Any) -> None:  # Any: as in `DNSService`
        self._streams = streams
        self._reactor = reactor
        self._waits_for_turn = False
        self._waits_for_client = False

    def callLater(self, period: float, func: Callable[[], object]) -> IDelayedCall:
        """Called by Twisted for the timeout; *period* is seconds."""
        call: IDelayedCall = self._reactor.callLater(period, func)
        return call

    def connectionMade(self) -> None:
        """Called when the connection is open."""
        self._streams.connections.add(self)
        self.setTimeout(MAX_IDLE_SECONDS)
        self.transport.registerProducer(self, True)
        if len(self._streams.connections) > MAX_CONNECTIONS:
            self.transport.abortConnection()

    def stringReceived(self, string: bytes) -> None:
        """Called with one message."""
        self.resetTimeout()
        self._waits_for_turn = True
        super().pauseProducing()
        self._streams.wait_for_turn(self, string)

    def answer(self, message: bytes) -> None:
        """Answer *message*, and read the next one."""
        self._waits_for_turn = False
        reply = answer(self._streams.zone, message, over_tcp=True)
        if reply is None:
            self.transport.abortConnection()
            return
        self.sendString(reply)
        if not self._waits_for_client:
            super().resumeProducing()

    def pauseProducing(self) -> None:
        """Called when the client does not read its answers."""
        self._waits_for_client = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Called when the client has read them."""
        self._waits_for_client = False
        if not self._waits_for_turn:
            super().resumeProducing()

    def lengthLimitExceeded(self, length: int) -> None:
        """Called when a message is announced that is larger than any question."""
        self.transport.abortConnection()

    def timeoutConnection(self) -> None:
        """Called when the connection was idle, or the client read nothing."""
        self.transport.abortConnection()

    def stopProducing(self) -> None:
        """Called when the connection is lost while answers wait."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Called when the connection is lost."""
        self.setTimeout(None)
        self._streams.connections.discard(self)


class Streams(ServerFactory):
    """
    The TCP connections.

    Of all their messages one is answered in a turn of the reactor: an answer with thousands of
    workers takes milliseconds.
    """

    noisy = False

    def __init__(self, zone: WorkerZone, reactor: Any) -> None:  # Any: as in `DNSService`
        self.zone = zone
        self.connections: set[Stream] = set()
        self._reactor = reactor
        self._waiting: deque[tuple[Stream, bytes]] = deque()

    def wait_for_turn(self, stream: Stream, message: bytes) -> None:
        """Let *stream* answer *message* in a later turn, unless it is closed by then."""
        self._waiting.append((stream, message))
        if len(self._waiting) == 1:
            self._reactor.callLater(0, self._answer_one)

    def _answer_one(self) -> None:
        stream, message = self._waiting.popleft()
        if self._waiting:
            self._reactor.callLater(0, self._answer_one)
        if stream in self.connections:
            stream.answer(message)

    def buildProtocol(self, addr: IAddress | None) -> Any:  # Any: `Stream` has no factory
        """Return the protocol of a new connection."""
        return Stream(self, self._reactor)


class DNSService(Service):
    """One name server, at the same port of UDP and TCP."""

    def __init__(self, zone: WorkerZone, reactor: Any, listen: tuple[str, int]) -> None:
        """*listen* is interface and port, 0 for any; *reactor* has timers and sockets."""
        self._zone = zone
        self._reactor = reactor
        self._interface, self._port = listen
        self._streams = Streams(zone, reactor)
        self._ports: list[Any] = []  # Any: as the reactor

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._ports[0].getHost().port) if self._ports else self._port

    def privilegedStartService(self) -> None:
        """Listen; raises `StartError` if the interface is a name, or the port cannot be bound."""
        if self._interface and address_of(self._interface) is None:
            raise StartError(f"cannot listen for DNS on {self._interface}: it is no IP address")
        for attempts_left in reversed(range(1 if self._port else _ATTEMPTS)):
            try:
                self._ports = self._listen()
            except CannotListenError as error:
                if attempts_left:
                    continue
                address = join_host_port(self._interface, self._port)
                raise StartError(
                    f"cannot listen for DNS on {address}: {error.socketError}"
                ) from None
            _log.info(
                "answering DNS for {zone} on {address}",
                zone=self._zone.name.decode(),
                address=join_host_port(self._interface, self.port),
            )
            return

    def _listen(self) -> list[Any]:  # Any: as the reactor
        tcp = self._reactor.listenTCP(self._port, self._streams, interface=self._interface)
        try:
            udp = self._reactor.listenUDP(
                tcp.getHost().port,
                Datagrams(self._zone),
                interface=self._interface,
                maxPacketSize=MAX_QUERY_BYTES + 1,
            )
        except CannotListenError:
            tcp.stopListening()
            raise
        udp.maxThroughput = MAX_UDP_BYTES_PER_TURN
        return [tcp, udp]

    def stopService(self) -> Any:  # Any: as in Twisted
        """Close the sockets and all connections; the Deferred fires when that is done."""
        super().stopService()
        for connection in tuple(self._streams.connections):
            connection.transport.abortConnection()
        ports, self._ports = self._ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports])


def dns_service(
    directory: KnownWorkers, zone: str, reactor: Any, listen: tuple[str, int]
) -> IService:
    """
    Return a name server for the workers of *directory*, not started.

    *listen* is interface and port; 0 stands for any port that is free for UDP and TCP.  Raises
    ValueError if *zone* is no name of a zone.
    """
    address = address_of(listen[0])
    own = None if address is None or address.is_unspecified else address
    return DNSService(WorkerZone(directory, zone, own), reactor, listen)
