"""
The workers behind a name of the DNS: Consul's, a headless service of Kubernetes, or any other.

``srv://RESOLVER[:PORT]/NAME`` is read again after the TTL of its SRV records.  With ``NAME:PORT``,
the workers are the addresses of the name.  The DNS says nothing about models.

A name without records has no workers: Consul and Kubernetes remove the name of a service without
healthy instances.  If the name server fails or does not answer, the workers stay.

Runs on the reactor thread.
"""

import time
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredSemaphore,
    ensureDeferred,
    gatherResults,
    succeed,
)
from twisted.internet.defer import (
    TimeoutError as NoAnswer,
)
from twisted.internet.error import ConnectError
from twisted.logger import Logger
from twisted.names import dns
from twisted.names.client import Resolver
from twisted.names.error import DNSNameError, DomainError

from server.discovery.cancelling import ended_when_cancelled
from server.discovery.engine import CALL_TIMEOUT
from server.discovery.engine_url import EngineURL, name_and_port
from server.discovery.members import Members
from server.discovery.worker_record import WorkerRecord

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

#: Seconds until a name is read again, whatever its TTL.
MIN_INTERVAL, MAX_INTERVAL = 1.0, 30.0

#: Seconds until a name is read again that has no records, or whose server does not answer.
RETRY_INTERVAL = 2.0

#: The most workers that are read from a name.
MAX_WORKERS = 4096

#: Seconds that one datagram is waited for; the second one is the last.
_DATAGRAM_TIMEOUTS = (1, 1)

#: Names that are looked up at a time; each takes a socket.
_LOOKUPS = 32

_log = Logger()


class SRVWatch:
    """Keeps the workers behind one name; implements `server.discovery.engine.Watch`."""

    def __init__(self, url: EngineURL, reactor: Any, resolver: Any = None) -> None:
        """
        *reactor* has timers and sockets; *resolver* is for tests, an `IResolver`.

        Raises ValueError if the URL has no name.
        """
        self._name, self._port = name_and_port(url)
        self._servers = url.hosts
        self._reactor = reactor
        self.members = Members(str(url), time.monotonic)
        self._resolver = resolver
        self._timer: IDelayedCall | None = None
        self._reading: Deferred[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin to read the name."""
        self._timer = None
        self._reading = ensureDeferred(self._read())

    async def stop(self) -> None:
        """End timer, the read under way, and connections."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._reading is not None:
            self._reading.cancel()
        for connection in tuple(getattr(self._resolver, "connections", ())):
            connection.transport.abortConnection()

    async def _read(self) -> None:
        """Read the name once, and set the timer for the next time."""
        interval = RETRY_INTERVAL
        try:
            found = ended_when_cancelled(ensureDeferred(self._look_up()))
            workers, interval = await found.addTimeout(CALL_TIMEOUT, self._reactor)
        except DNSNameError:
            self._update([])
        except (DomainError, ConnectError, OSError, NoAnswer) as error:
            self._away(_reason(error))
        except CancelledError:  # by a stop
            return
        except Exception:  # noqa: BLE001 - the name is read again, whatever was wrong
            _log.failure("{source} could not be read", source=self.members.source)
            self._away("it gave an answer that could not be read")
        else:
            self._update(workers)
        self._reading = None
        if not self._stopped:
            self._timer = self._reactor.callLater(interval, self.start)

    async def _look_up(self) -> tuple[list[WorkerRecord], float]:
        """Return the workers, and the seconds until they are to be read again."""
        resolver = await self._opened()
        if self._port:
            ends = [(host, self._port) for host in await _addresses(resolver, self._name)]
            return list(map(_worker, ends[:MAX_WORKERS])), MIN_INTERVAL
        answers, _, additional = await resolver.lookupService(self._name)
        services = first_choice(answers)[:MAX_WORKERS]
        known = addresses_in([*answers, *additional])
        missing = {it.target.name.lower() for it in services} - known.keys()
        at_a_time = DeferredSemaphore(_LOOKUPS)
        resolved = [at_a_time.run(_hosts, resolver, name) for name in missing]
        addresses = await gatherResults(resolved, consumeErrors=True)
        known |= dict(zip(missing, addresses, strict=True))
        ends = [(known[it.target.name.lower()][0], it.port) for it in services]
        ttl = min((it.ttl for it in answers if it.type == dns.SRV), default=RETRY_INTERVAL)
        return list(map(_worker, ends)), min(max(float(ttl), MIN_INTERVAL), MAX_INTERVAL)

    async def _opened(self) -> Any:  # Any: an `IResolver`, whose results have no types
        """Return the resolver; its servers have names or addresses."""
        if self._resolver is None:
            servers = [(await self._address(host), port) for host, port in self._servers]
            self._resolver = Resolver(
                servers=servers, timeout=_DATAGRAM_TIMEOUTS, reactor=self._reactor
            )
        return self._resolver

    def _address(self, host: str) -> Deferred[str]:
        try:
            return succeed(str(ip_address(host)))
        except ValueError:
            address: Deferred[str] = self._reactor.resolve(host)
            return address

    def _update(self, workers: Sequence[WorkerRecord]) -> None:
        if self.members.away:
            _log.info("{source} is read", source=self.members.source)
        self.members.replace({it.id: it for it in workers})
        self.members.is_current()

    def _away(self, reason: str) -> None:
        if not self.members.away or self.members.away != reason:
            _log.warn("{source}: {reason}", source=self.members.source, reason=reason)
        self.members.is_away(reason)


def _hosts(resolver: Any, name: bytes) -> Deferred[list[str]]:
    """Return the addresses of *name*, or the name itself if the resolver does not have them."""

    async def look_up() -> list[str]:
        text = name.decode("ascii")
        try:
            return await _addresses(resolver, text) or [text]
        except (DomainError, NoAnswer):
            return [text]

    return ensureDeferred(look_up())


async def _addresses(resolver: Any, name: str) -> list[str]:
    """Return the addresses of *name*, those of IPv4 if it has any; none if it has none."""
    for look_up in (resolver.lookupAddress, resolver.lookupIPV6Address):
        try:
            answers, _, _ = await look_up(name)
        except DNSNameError:
            return []
        found = [it for addresses in addresses_in([*answers]).values() for it in addresses]
        if found:
            return sorted(found)
    return []


def addresses_in(records: Iterable[dns.RRHeader]) -> dict[bytes, list[str]]:
    """Return the addresses in *records* by name in lower case, those of IPv4 first."""
    found: dict[bytes, list[str]] = {}
    for kind in (dns.A, dns.AAAA):
        for it in records:
            if it.type == kind:
                payload: Any = it.payload  # Any: one of two classes
                host = str(ip_address(payload.address))
                found.setdefault(it.name.name.lower(), []).append(host)
    return found


def first_choice(records: Iterable[dns.RRHeader]) -> list[Any]:  # Any: a `dns.Record_SRV`
    """
    Return the services of the lowest priority number in *records*.

    The others are for clients that reach none of these.  A target of "." means that there is none.
    """
    services: list[Any] = [it.payload for it in records if it.type == dns.SRV]
    services = [it for it in services if it.target.name and it.port]
    first = min((it.priority for it in services), default=0)
    return [it for it in services if it.priority == first]


def _worker(end: tuple[str, int]) -> WorkerRecord:
    host, port = end
    return WorkerRecord(f"srv-{host.replace(':', '-')}-{port}", host, port)


def _reason(error: Exception) -> str:
    """Return why the name server gave no answer, in words."""
    if isinstance(error, NoAnswer):
        return "the name server does not answer"
    if isinstance(error, DomainError):
        words = type(error).__name__.removeprefix("DNS").removesuffix("Error")
        return f"the name server gave an error: {words}"
    return f"the name server cannot be reached: {error}"
