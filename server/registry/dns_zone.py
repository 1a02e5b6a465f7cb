"""
The DNS zone of the workers: which records a name has.

Pure, apart from the order of the records, which is random.  In the zone ``tensorferry.test``:

- ``_tensorferry._tcp.tensorferry.test`` has one SRV record for each worker;
- ``_NAME._tensorferry._tcp.tensorferry.test`` has those of the workers that serve the model
  ``NAME``.  A dot in it separates labels, and upper and lower case are equal, as everywhere in the
  DNS;
- ``ip-192-0-2-7-8000.tensorferry.test``, the target of the SRV record of the worker at port 8000 of
  192.0.2.7, has this address.  Each worker has a target of its own, because HAProxy does not give
  one address record to several servers.  For a worker with a host name the target is that name.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random
from typing import Protocol

from twisted.names import dns

from server.discovery.members import Members
from server.discovery.worker_record import WorkerRecord

#: The service and the protocol of the workers.
SERVICE = "_tensorferry._tcp"

#: How long a resolver may keep an answer, in seconds; the same for "there is none".
TTL = 2

#: All workers have one: HAProxy counts connections, and a wait that was measured seconds ago would
#: send all clients to the same worker.  Above 0, because RFC 2782 gives 0 a meaning of its own.
WEIGHT = 100

#: Hosts and places whose forms are kept: more than a large registry has.
MAX_KEPT_PLACES = 16_384

#: The begin of the name of a worker's host.
_HOST = "ip-"

_ALL_KINDS = dns.ALL_RECORDS


class KnownWorkers(Protocol):
    """What the zone is made from."""

    @property
    def sources(self) -> Sequence[Members]:
        """What the workers are read from."""

    def merged(self) -> Sequence[WorkerRecord]:
        """Return all workers, each once: the same sequence until a place or a model changes."""


@dataclass(frozen=True, slots=True)
class Found:
    """The records of a name."""

    answers: list[dns.RRHeader]
    additional: list[dns.RRHeader]
    complete: bool = True  #: whether *answers* are all that there are
    known: bool = True  #: False: there may be some, of a worker that could not be read


NOTHING, NOT_KNOWN = Found([], []), Found([], [], known=False)


@dataclass(frozen=True, slots=True)
class _Index:
    """Where the workers of one sequence are found, so that no question looks at all of them."""

    workers: Sequence[WorkerRecord]
    addresses: Mapping[str, IPv4Address | IPv6Address]  #: by the label of the place
    with_models: Sequence[WorkerRecord]  #: those that serve any model
    of_any_model: Sequence[WorkerRecord]  #: those that may have any model
    by_model: Mapping[
        str, Sequence[WorkerRecord]
    ]  #: by its name in lower case, with `of_any_model`

    def serving(self, model: str) -> Sequence[WorkerRecord]:
        """Return the workers that serve *model*, in lower case; "" stands for any."""
        if not model:
            return self.with_models
        found = self.by_model.get(model)
        return self.of_any_model if found is None else [*found, *self.of_any_model]


class WorkerZone:
    """The records of one zone, read from *directory* when its workers change."""

    def __init__(
        self, directory: KnownWorkers, name: str, address: IPv4Address | IPv6Address | None = None
    ) -> None:
        """*name* is that of the zone; *address* is that of this name server, if it has just one."""
        self.name = name.strip(".").lower().encode("ascii")
        if not is_host_name(self.name):
            raise ValueError(f"{name!r} is no name of a DNS zone")
        self._directory = directory
        self._address = address
        self._random = Random()  # noqa: S311 - no secret
        self._index = _indexed(())

    def covers(self, name: bytes) -> bool:
        """Return whether *name* is in the zone."""
        name = name.lower()
        return name == self.name or name.endswith(b"." + self.name)

    def soa(self) -> dns.RRHeader:
        """Return the record that begins the zone; "there is none" answers have it too."""
        payload = dns.Record_SOA(
            mname=b"ns." + self.name,
            rname=b"hostmaster." + self.name,
            serial=1,  # read by zone transfers alone, which are refused
            refresh=TTL,
            retry=TTL,
            expire=TTL,
            minimum=TTL,
        )
        return _record(self.name, payload)

    def find(self, name: bytes, kind: int, most: int) -> Found | None:
        """
        Return the records of type *kind* of *name*, in random order; None if there is no such name.

        *name* is in the zone.  Of the workers, *most* at most are returned.
        """
        below = name[: -len(self.name)].rstrip(b".").lower().decode("latin-1")
        if below == "":
            ns = _record(name, dns.Record_NS(b"ns." + self.name))
            return Found(_of_kind(kind, [self.soa(), ns]), [])
        if below == "ns":
            return Found(_of_kind(kind, _addresses(name, self._address)), [])
        if below == SERVICE.partition(".")[2]:
            return NOTHING
        if below == SERVICE or below.endswith(f".{SERVICE}"):
            # Each name below the service exists, because that of a model may have several labels.
            return self._services(name, below, kind, most)
        address = self._workers().addresses.get(below)
        if address is not None:
            return Found(_of_kind(kind, _addresses(name, address)), [])
        return NOT_KNOWN if below.startswith(_HOST) and self._is_any_away() else None

    def _services(self, name: bytes, below: str, kind: int, most: int) -> Found:
        if kind not in (dns.SRV, _ALL_KINDS):
            return NOTHING
        model = below.removesuffix(SERVICE).removesuffix(".")
        if model and not model.startswith("_"):
            return NOTHING
        workers = self._workers().serving(model[1:])
        chosen = self._random.sample(workers, min(most, len(workers)))
        targets = [(it, target) for it in chosen if (target := self._target(it))]
        answers = [
            _record(name, dns.Record_SRV(0, WEIGHT, it.port, target)) for it, target in targets
        ]
        if not answers and self._is_any_away():
            return NOT_KNOWN
        if len(workers) > most:  # there is no room for anything else
            return Found(answers, [], complete=False)
        additional = [
            record for it, target in targets for record in _addresses(target, address_of(it.host))
        ]
        return Found(answers, additional)

    def _workers(self) -> _Index:
        workers = self._directory.merged()
        if workers is not self._index.workers:
            self._index = _indexed(workers)
        return self._index

    def _is_any_away(self) -> bool:
        """Return whether a source cannot be reached, so that it may have any other worker."""
        return any(it.away for it in self._directory.sources)

    def _target(self, worker: WorkerRecord) -> bytes | None:
        """Return the name of the worker's host; None if it cannot be a name."""
        address = address_of(worker.host)
        if address is not None:
            return label_of(address, worker.port).encode() + b"." + self.name
        name = worker.host.rstrip(".").encode()
        return name if is_host_name(name) else None


@lru_cache(MAX_KEPT_PLACES)
def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return *host* as an address; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


@lru_cache(MAX_KEPT_PLACES)
def label_of(address: IPv4Address | IPv6Address, port: int) -> str:
    """Return the label for the worker at this place; that of no other place is equal."""
    return f"{_HOST}{address}-{port}".replace(".", "-").replace(":", "-")


def is_host_name(name: bytes) -> bool:
    """Return whether each label of *name* may be written in a message."""
    return len(name) < 254 and all(0 < len(label) < 64 for label in name.split(b"."))


def _indexed(workers: Sequence[WorkerRecord]) -> _Index:
    addresses = {}
    of_any_model = [it for it in workers if it.models is None]
    by_model: defaultdict[str, list[WorkerRecord]] = defaultdict(list)
    for worker in workers:
        address = address_of(worker.host)
        if address is not None:
            addresses[label_of(address, worker.port)] = address
        for name in {it.lower() for it in worker.models or ()}:
            by_model[name].append(worker)
    with_models = [it for it in workers if it.models != {}]
    return _Index(workers, addresses, with_models, of_any_model, by_model)


def _addresses(name: bytes, address: IPv4Address | IPv6Address | None) -> list[dns.RRHeader]:
    if address is None:
        return []
    kind = dns.Record_A if isinstance(address, IPv4Address) else dns.Record_AAAA
    return [_record(name, kind(str(address)))]


def _of_kind(kind: int, records: Iterable[dns.RRHeader]) -> list[dns.RRHeader]:
    return [it for it in records if kind in (it.type, _ALL_KINDS)]


def _record(name: bytes, payload: dns.IEncodableRecord) -> dns.RRHeader:
    return dns.RRHeader(name, payload.TYPE, ttl=TTL, payload=payload, auth=True)
