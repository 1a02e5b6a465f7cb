"""
Look up names on daemon threads, which no stop waits for.

A lookup blocks its thread until a name server answers, or for a minute if none does.  Twisted runs
lookups on the reactor's pool of threads, and a reactor that stops waits for these threads.

Equal lookups share a thread, so that one that is tried again and again has no more than one.
"""

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, Literal, TypeVar

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from model.execution.thread import CallFromThread, ThreadStarter, start_daemon_thread

T = TypeVar("T")

Addresses = list[IAddress]


class Lookups(Generic[T]):
    """Runs a function that blocks; call `find` on the reactor thread."""

    def __init__(
        self,
        function: Callable[..., T],
        call_from_thread: CallFromThread,
        start_thread: ThreadStarter = start_daemon_thread,
    ) -> None:
        self._function = function
        self._call_from_thread = call_from_thread
        self._start_thread = start_thread
        #: By the arguments of the lookups under way.
        self._waiting: dict[tuple[object, ...], list[Deferred[T]]] = {}

    def find(self, *arguments: object) -> Deferred[T]:
        """
        Return what the function returns or raises for *arguments*, which are hashable.

        Cancelling the Deferred leaves the thread to itself.
        """
        answer: Deferred[T] = Deferred(lambda it: self._waiting[arguments].remove(it))
        is_new = arguments not in self._waiting
        self._waiting.setdefault(arguments, []).append(answer)
        if is_new:
            self._start_thread(partial(self._run, arguments), "lookup")
        return answer

    def _run(self, arguments: tuple[object, ...]) -> None:
        """Runs on a thread."""
        outcome: T | Failure
        try:
            outcome = self._function(*arguments)
        except Exception:  # noqa: BLE001 - any error belongs to the caller
            outcome = Failure()
        self._call_from_thread(self._ended, arguments, outcome)

    def _ended(self, arguments: tuple[object, ...], outcome: T | Failure) -> None:
        for answer in self._waiting.pop(arguments):
            answer.callback(outcome)


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Do nothing: a receiver that needs no addresses any more ignores them."""


@implementer(IHostnameResolver)
class NameResolver:
    """Resolves host names for a reactor, as its own resolver does, with `Lookups`."""

    def __init__(self, call_from_thread: CallFromThread) -> None:
        self._lookups = Lookups(addresses_of, call_from_thread)

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Report the addresses of *hostName*; none if it has none, or cannot be looked up."""
        kinds = (IPv4Address, IPv6Address) if addressTypes is None else tuple(addressTypes)
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)

        def report(addresses: Addresses) -> None:
            for address in addresses:
                if isinstance(address, kinds):
                    resolutionReceiver.addressResolved(address)
            resolutionReceiver.resolutionComplete()

        self._lookups.find(hostName, portNumber, transportSemantics).addCallback(report)
        return resolution


def addresses_of(host: str, port: int, transport: str) -> Addresses:
    """
    Return the addresses of *host* and *port* for *transport*, ``TCP`` or ``UDP``.

    Blocks.  There are none if the lookup fails.
    """
    name: Literal["TCP", "UDP"] = "UDP" if transport == "UDP" else "TCP"
    kind = socket.SOCK_DGRAM if name == "UDP" else socket.SOCK_STREAM
    addresses: Addresses = []
    with suppress(OSError, UnicodeError):
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=kind):
            if family == socket.AF_INET:
                addresses.append(IPv4Address(name, *address))
            elif family == socket.AF_INET6:
                addresses.append(IPv6Address(name, *address))
    return addresses
