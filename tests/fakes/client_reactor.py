"""A reactor whose connections to servers the test answers, without a socket."""

import re
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, UserError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IHostnameResolver, IHostResolution)
class AtOnce:
    """Resolves every name at once, to an address that has the name as its host."""

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Report the address."""
        resolutionReceiver.resolutionBegan(self)
        resolutionReceiver.addressResolved(IPv4Address("TCP", hostName, portNumber))
        resolutionReceiver.resolutionComplete()
        return self

    @property
    def name(self) -> str:
        """A name for logs."""
        return "at once"

    def cancel(self) -> None:
        """Do nothing: it has ended."""


class Transport(StringTransport):
    """A transport that reports the loss of its connection in the next turn, as a socket does."""

    def __init__(self, reactor: MemoryReactorClock, protocol: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self._reactor = reactor
        self._protocol = protocol

    def loseConnection(self) -> None:
        """Close the connection."""
        if self.connected:
            self.connected = False
            self._reactor.callLater(0, self._protocol.connectionLost, Failure(ConnectionDone()))

    abortConnection = loseConnection


class Connecting:
    """A try to connect that has no outcome until it is stopped."""

    def __init__(self, factory: ClientFactory) -> None:
        self._factory = factory

    def getDestination(self) -> IPv4Address:
        """Return an address."""
        return IPv4Address("TCP", "0.0.0.0", 0)  # noqa: S104 - not bound

    def stopConnecting(self) -> None:
        """End the try, which has failed."""
        self._factory.clientConnectionFailed(cast("Any", self), Failure(UserError()))


class Connection:
    """A connection that a client has opened, as its server sees it."""

    def __init__(
        self, reactor: MemoryReactorClock, host: str, port: int, factory: ClientFactory
    ) -> None:
        self.host, self.port = host, port
        protocol: Any = factory.buildProtocol(IPv4Address("TCP", host, port))
        self._protocol = protocol
        self._transport: Any = Transport(reactor, protocol)
        protocol.makeConnection(self._transport)

    @property
    def is_open(self) -> bool:
        """Whether the client has not closed it."""
        return bool(self._transport.connected)

    def requests(self) -> list[str]:
        """Return what was received since the last call: each request as text."""
        text = self._transport.value().decode()
        self._transport.clear()
        return re.findall(r"(?:POST|PUT|DELETE) /.*?(?=(?:POST|PUT|DELETE) /|$)", text, re.DOTALL)

    def answer(self, status: int, body: str = "") -> None:
        """Answer the oldest request."""
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
        self._protocol.dataReceived(head.encode() + body.encode())

    def answer_in_part(self) -> None:
        """Send the head of an answer, without its body."""
        self._protocol.dataReceived(b"HTTP/1.1 200 X\r\nContent-Length: 1\r\n\r\n")

    def lose(self) -> None:
        """Close it on the side of the server."""
        self._transport.loseConnection()


@implementer(IReactorPluggableNameResolver)
class ClientReactor(MemoryReactorClock):
    """A reactor that connects at once, unless the server is in `refusing` or `silent`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self.nameResolver = AtOnce()
        self.connections: list[Connection] = []
        self.refusing: set[str] = set()  #: hosts
        self.silent: set[str] = (
            set()
        )  #: hosts with which no connection is made, as if they were off
        self.tried: list[str] = []  #: hosts, in the order of the tries

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Keep the resolver that there is."""
        return self.nameResolver

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Any:
        """Connect, or fail, or do neither."""
        self.tried.append(host)
        if host in self.silent:
            factory.startedConnecting(Connecting(factory))
        elif host in self.refusing:
            factory.clientConnectionFailed(None, Failure(Refused("by the other")))
        else:
            self.connections.append(Connection(self, host, port, factory))
        return self
