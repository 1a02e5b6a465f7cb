"""
Listen on an address; an address that is not bound immediately is an error.

Runs on the reactor thread.
"""

from typing import cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure

from server.http.listen_addresses import check_address, listen_failure_reason, with_backlog
from server.lifecycle import StartError


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
    host = port.getHost()
    if isinstance(host, IPv4Address):
        return f"http://{host.host}:{host.port}"
    if isinstance(host, IPv6Address):
        return f"http://[{host.host}]:{host.port}"
    return str(host)
