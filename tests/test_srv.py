"""Workers from names of the DNS: server/discovery/engines/srv.py."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.defer import TimeoutError as NoAnswer
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSServerError

from server.discovery.engine_url import parse_engine_url
from server.discovery.engines.srv import MAX_INTERVAL, MIN_INTERVAL, RETRY_INTERVAL, SRVWatch
from tests.fakes.server import Log
from tests.fakes.threads import outcomes

NAME = "_tensorferry._tcp.service.consul"
URL = f"srv://127.0.0.1:8600/{NAME}"


def srv(target: str, port: int = 80, *, priority: int = 0, ttl: int = 5) -> dns.RRHeader:
    """Return a service of `NAME`."""
    payload = dns.Record_SRV(priority, 1, port, target)
    return dns.RRHeader(NAME, dns.SRV, ttl=ttl, payload=payload)


def a(name: str, address: str) -> dns.RRHeader:
    """Return an address of IPv4."""
    return dns.RRHeader(name, dns.A, payload=dns.Record_A(address))


def aaaa(name: str, address: str) -> dns.RRHeader:
    """Return an address of IPv6."""
    return dns.RRHeader(name, dns.AAAA, payload=dns.Record_AAAA(address))


class Names:
    """A resolver with these sections for each question; other names do not exist."""

    def __init__(self, sections: Mapping[tuple[str, int], Any]) -> None:
        self.sections = dict(sections)
        self.asked: list[str] = []
        self.connections: list[object] = []  #: over TCP; none

    def _find(self, kind: int) -> Callable[[str], Deferred[Any]]:
        def find(name: str) -> Deferred[Any]:
            self.asked.append(name)
            found = self.sections.get((name, kind), DNSNameError())
            if isinstance(found, Deferred):
                return found
            return fail(found) if isinstance(found, Exception) else succeed(found)

        return find

    def __getattr__(self, name: str) -> Callable[[str], Deferred[Any]]:
        return self._find(
            {"lookupService": dns.SRV, "lookupAddress": dns.A, "lookupIPV6Address": dns.AAAA}[name]
        )


def read(sections: Mapping[tuple[str, int], Any], url: str = URL) -> tuple[SRVWatch, Names, Clock]:
    """Return a watch that has read the name once."""
    clock, names = Clock(), Names(sections)
    watch = SRVWatch(parse_engine_url(url), clock, names)
    watch.start()
    return watch, names, clock


def hosts(watch: SRVWatch) -> list[str]:
    """Return the workers."""
    return sorted(f"{it.host} {it.port}" for it in watch.members.workers.values())


CNAME = dns.RRHeader(NAME, dns.CNAME, payload=dns.Record_CNAME("other"))
SERVICE = (NAME, dns.SRV)
FOUND = {
    "with addresses": (
        {SERVICE: ([srv("A.x"), srv("b.x", 81)], [], [a("a.x", "192.0.2.1"), aaaa("b.x", "::1")])},
        ["192.0.2.1 80", "::1 81"],
    ),
    "two ports of one host": (
        {SERVICE: ([srv("a"), srv("a", 81)], [], [a("a", "192.0.2.1")])},
        ["192.0.2.1 80", "192.0.2.1 81"],
    ),
    "without addresses": (
        {
            SERVICE: ([srv("a.x"), srv("b.x"), srv("c.x"), srv("d.x")], [], []),
            ("a.x", dns.A): ([a("a.x", "192.0.2.2"), a("a.x", "192.0.2.1")], [], []),
            ("b.x", dns.A): ([], [], []),
            ("b.x", dns.AAAA): ([aaaa("b.x", "2001:db8::1")], [], []),
            ("c.x", dns.A): DNSServerError(),
        },
        ["192.0.2.1 80", "2001:db8::1 80", "c.x 80", "d.x 80"],
    ),
    "by another name": (
        {SERVICE: ([CNAME, srv("a")], [], [a("a", "192.0.2.1")])},
        ["192.0.2.1 80"],
    ),
    "a second choice": (
        {SERVICE: ([srv("a", priority=2), srv("b", priority=1)], [], [])},
        ["b 80"],
    ),
    "expressly none": ({SERVICE: ([srv("")], [], [])}, []),
    "no records": ({SERVICE: ([], [], [])}, []),
    "no such name": ({}, []),
}


@pytest.mark.parametrize(("sections", "expected"), FOUND.values(), ids=FOUND)
def test_the_workers_are_the_hosts_of_a_service(
    sections: Mapping[tuple[str, int], Any], expected: list[str]
) -> None:
    """With an address where there is one; their models are not known."""
    watch, _, _ = read(sections)
    assert (hosts(watch), watch.members.away) == (expected, "")
    assert all(it.models is None for it in watch.members.workers.values())


def test_the_workers_are_the_addresses_of_a_name_with_a_port() -> None:
    """As a headless service of Kubernetes has them."""
    records = [a("tf.ns", "192.0.2.1"), a("tf.ns", "192.0.2.2")]
    watch, _, _ = read({("tf.ns", dns.A): (records, [], [])}, "srv://127.0.0.1/tf.ns:12480")
    assert hosts(watch) == ["192.0.2.1 12480", "192.0.2.2 12480"]


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (([srv("a", ttl=0)], [], [a("a", "192.0.2.1")]), MIN_INTERVAL),
        (([srv("a", ttl=9), srv("a", 81, ttl=7)], [], [a("a", "192.0.2.1")]), 7),
        (([srv("a", ttl=999)], [], [a("a", "192.0.2.1")]), MAX_INTERVAL),
        (DNSNameError(), RETRY_INTERVAL),
        (NoAnswer(), RETRY_INTERVAL),
    ],
    ids=str,
)
def test_a_name_is_read_again_after_its_ttl(answer: object, seconds: float) -> None:
    """Within limits."""
    watch, names, clock = read({SERVICE: answer})
    clock.advance(seconds - 0.01)
    assert names.asked == [NAME]
    clock.advance(0.02)
    assert names.asked == [NAME, NAME]
    ensureDeferred(watch.stop())
    assert clock.getDelayedCalls() == []


AWAY = {
    "the name server does not answer": NoAnswer(),
    "the name server gave an error: Server": DNSServerError(),
    "the name server cannot be reached: DNS lookup failed: x.": DNSLookupError("x"),
    "the name server cannot be reached: Connection was refused by other side.": Refused(),
    "it gave an answer that could not be read": KeyError("x"),
}


@pytest.mark.parametrize(("reason", "error"), AWAY.items(), ids=AWAY)
def test_the_workers_stay_while_the_name_server_is_away(reason: str, error: Exception) -> None:
    """The reason is in the report; later they are up to date again."""
    watch, names, clock = read({SERVICE: ([srv("b"), srv("c")], [], [])})
    names.sections[SERVICE] = error
    clock.advance(5)
    assert (hosts(watch), watch.members.away) == (["b 80", "c 80"], reason)
    names.sections[SERVICE] = ([srv("c")], [], [])
    clock.advance(RETRY_INTERVAL)
    assert (hosts(watch), watch.members.away) == (["c 80"], "")


def test_an_answer_that_takes_too_long_counts_as_none() -> None:
    """So that the name is asked for again."""
    watch, names, clock = read({SERVICE: ([srv("b")], [], [])})
    names.sections[SERVICE] = Deferred()
    clock.advance(5)
    clock.advance(3)
    assert watch.members.away == "the name server does not answer"
    names.sections[SERVICE] = ([srv("d")], [], [])
    clock.advance(RETRY_INTERVAL)
    assert hosts(watch) == ["d 80"]


@pytest.mark.parametrize(
    "sections",
    [
        {SERVICE: Deferred()},
        {
            SERVICE: ([srv("b"), srv("c")], [], []),
            ("b", dns.A): Deferred(),
            ("c", dns.A): Deferred(),
        },
    ],
    ids=["services", "addresses"],
)
def test_a_stop_ends_a_read_at_once(log: Log, sections: Mapping[tuple[str, int], Any]) -> None:
    """Without an error in the log, and without another read."""
    watch, names, clock = read(sections)
    asked = len(names.asked)
    assert outcomes(ensureDeferred(watch.stop())) == [None]
    assert (log.lines(), clock.getDelayedCalls(), len(names.asked)) == ([], [], asked)


@pytest.mark.parametrize("path", ["", "/", "/name:0", "/name:x", "/:80", "/name:+5"])
def test_a_url_without_a_name_is_an_error(path: str) -> None:
    """In one line."""
    with pytest.raises(ValueError, match="has no name of the DNS: expected srv://RESOLVER/NAME"):
        SRVWatch(parse_engine_url(f"srv://127.0.0.1{path}"), Clock())
