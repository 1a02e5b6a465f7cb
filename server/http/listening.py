"""
Listen on an address; an address that is not bound immediately is an error.

Runs on the reactor thread.
"""

import os
from collections.abc import Iterable
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from server.http.listen_addresses import (
    check_address,
    listen_failure_reason,
    scheme_of,
    with_backlog,
)
from server.lifecycle import StartError

_log = Logger()


class Ports:
    """
    The ports of one server.

    A subclass may get its sockets from another process, or accept connections later.
    """

    #: Whether another process accepts the connections that wait in the queues of these ports.
    has_successor = False

    def __init__(self, reactor: Any) -> None:  # Any: Twisted has no type with all its sockets
        self._reactor = reactor
        self.open: list[IListeningPort] = []

    def start(self, sites: Iterable[tuple[str, IProtocolFactory]]) -> None:
        """
        Listen on all addresses, each the description of an endpoint, with its site.

        If one cannot be bound, closes the others and raises `StartError`.
        """
        lines: list[str] = []
        for description, site in sites:
            try:
                port = listen(self._reactor, description, site)
            except StartError:
                self.close()
                raise
            self.open.append(port)
            is_secure = isinstance(site, TLSMemoryBIOFactory)
            scheme = scheme_of(description, has_certificate=is_secure)
            lines.append(address_in_words(port.getHost(), scheme))
        for line in lines:
            _log.info("listening on {address}", address=line)

    def close(self) -> None:
        """Close all ports: the start has failed."""
        for port in self.open:
            port.stopListening()

    async def serve(self) -> None:
        """Called when the model is loaded, before the server is ready."""

    def closed(self) -> None:
        """Called when a stop has closed all ports, while accepted requests are answered."""


def listen(reactor: object, description: str, site: IProtocolFactory) -> IListeningPort:
    """Listen on the endpoint *description* and return the port; raises `StartError` on failure."""
    outcomes: list[object] = []

    def attempt() -> object:
        check_address(description)
        return serverFromString(reactor, with_backlog(description)).listen(site)

    maybeDeferred(attempt).addBoth(outcomes.append)
    if not outcomes:
        raise StartError(f"cannot listen on {description}: it did not bind at once")
    outcome = outcomes[0]
    if isinstance(outcome, Failure):
        raise StartError(f"cannot listen on {description}: {listen_failure_reason(outcome)}")
    return cast("IListeningPort", outcome)


def address_of(port: IListeningPort) -> str:
    """Return the address of *port* in words: a URL if it is one of TCP."""
    return address_in_words(port.getHost())


def address_in_words(host: IAddress, scheme: str = "http") -> str:
    """Return *host* in words: a URL with *scheme* if it is an address of TCP."""
    if isinstance(host, IPv4Address):
        return f"{scheme}://{host.host}:{host.port}"
    if isinstance(host, IPv6Address):
        return f"{scheme}://[{host.host}]:{host.port}"
    if isinstance(host, UNIXAddress) and host.name is not None:
        return os.fsdecode(host.name)
    return str(host)
