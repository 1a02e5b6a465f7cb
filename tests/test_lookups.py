"""The lookup of names on daemon threads: server/discovery/lookups.py."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Factory, Protocol

from server.discovery.lookups import Lookups, NameResolver, addresses_of
from tests.fakes.client_reactor import ClientReactor
from tests.fakes.threads import Calls, kinds, outcomes


def test_equal_lookups_share_a_thread() -> None:
    """Each has the answer, but for one that is cancelled; a later one begins anew."""
    threads = list[Callable[[], None]]()
    calls = Calls()
    lookups = Lookups(str.upper, calls, lambda call, _: threads.append(call))
    waiting = [lookups.find(it) for it in ("a", "a", "a", "b")]
    answers = [outcomes(it) for it in waiting]
    waiting[1].cancel()
    assert len(threads) == 2
    for thread in threads:
        thread()
    assert answers[0] == []  # it fires on the reactor thread
    calls.drain()
    assert [answers[it] for it in (0, 2, 3)] == [["A"], ["A"], ["B"]]
    lookups.find("a")
    assert len(threads) == 3


def test_a_lookup_that_fails_has_the_error_of_the_function() -> None:
    """Whatever it is."""
    calls = Calls()
    lookups = Lookups(int, calls, lambda call, _: call())
    failed = outcomes(lookups.find("a"))
    calls.drain()
    assert kinds(failed) == [ValueError]


FOUND = [
    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 80, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80)),
]


@pytest.mark.parametrize("has_addresses", [True, False])
def test_a_reactor_connects_to_the_addresses_that_are_found(
    has_addresses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without an address is an error of the connection."""

    def look_up(host: str, port: int, **_: int) -> object:
        assert (host, port) == ("registry.test", 80)
        if not has_addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return FOUND

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    calls, reactor = Calls(), ClientReactor()
    reactor.nameResolver = NameResolver(calls)
    factory: Any = Factory.forProtocol(Protocol)
    connected = outcomes(HostnameEndpoint(reactor, "registry.test", 80).connect(factory))
    calls.step()
    assert reactor.tried == (["::1"] if has_addresses else [])
    assert kinds(connected) == ([Protocol] if has_addresses else [DNSLookupError])


def test_an_address_has_the_kind_and_the_transport_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of both families by default."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: FOUND)
    assert addresses_of("h", 80, "UDP") == [
        IPv6Address("UDP", "::1", 80),
        IPv4Address("UDP", "10.0.0.1", 80),
    ]
