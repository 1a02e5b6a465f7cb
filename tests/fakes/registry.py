"""A registry without sockets, on a `Clock`."""

from pathlib import Path
from random import Random

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.task import Clock

from server.discovery.members import Members
from server.discovery.worker_record import ModelLoad, WorkerRecord
from server.http.connection_limits import ConnectionLimits
from server.http.connections import Connections
from server.http.klein_frontend import KleinFrontend
from server.http.limits import BodyLimits
from server.http.router import Router
from server.http.site import HTTPSite
from server.lifecycle import Lifecycle, State
from server.registry.directory import Directory
from server.registry.leases import Leases
from server.registry.permit import RegistrationPermit
from server.registry.registry_api import RegistryAPI
from server.registry.settings import NetworkKind
from tests.fakes.http import Answer, Client, PlainTransport, request

#: An address of the registry's machine, besides loopback.
OWN_ADDRESS = "192.0.2.1"


def worker(number: int, *, host: str = "127.0.0.1", **waits: float) -> WorkerRecord:
    """Return a worker on port 8000 + *number*, with expected *waits* by model, in seconds."""
    loads = {name: ModelLoad(wait, 0.25) for name, wait in waits.items()}
    return WorkerRecord(f"w-{number}", host, 8000 + number, loads)


class FakeRegistry:
    """The routes of a registry, and the parts behind them."""

    def __init__(self, token_file: Path | None = None, *trusted: str) -> None:
        self.clock = Clock()
        self.lifecycle = Lifecycle()
        self.lifecycle.move(State.READY)
        seconds = self.clock.seconds
        self.directory = Directory(seconds, Random(1).random)  # noqa: S311 - no secret
        self.leases = Leases(Members("leases", seconds), self.clock)
        self.directory.add(self.leases.members)
        api = RegistryAPI(
            self.directory,
            self.leases,
            RegistrationPermit(token_file, list(map(NetworkKind().parse, trusted))),
            self.lifecycle,
            seconds=seconds,
            own=lambda host: host in ("127.0.0.1", "localhost", OWN_ADDRESS),
        )
        limits = BodyLimits(max_body=1 << 18, max_held=1 << 20)
        connections = Connections(
            limits=limits,
            connection_limits=ConnectionLimits(8, 8, 8),
            clock=self.clock,
            draining=lambda: self.lifecycle.leaving,
        )
        router = Router(api.routes())
        self.site = HTTPSite(router, connections, KleinFrontend(router).answer)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        peer: str = "127.0.0.1",
        host: str = "127.0.0.1",
    ) -> Answer:
        """Return the answer to a request from *peer* to the address *host* of the registry."""
        (answer,) = self.send(request(method, target, body, headers), peer=peer, host=host)
        return answer

    def send(
        self, data: bytes, *, peer: str = "127.0.0.1", host: str = "127.0.0.1"
    ) -> list[Answer]:
        """Return the answers on one connection to *data*."""

        def transport(clock: IReactorTime, address: IAddress) -> PlainTransport:
            made = PlainTransport(clock, address)
            made.hostAddr = IPv4Address("TCP", host, 12480)
            return made

        client = Client(
            self.site,
            self.clock,
            transport=transport,
            peer=IPv4Address("TCP", peer, 40_000),
        )
        client.send(data)
        return client.answers

    def register(self, record: WorkerRecord, **more: str) -> Answer:
        """Return the answer to the registration of *record*, with the headers *more*."""
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        return self.ask("PUT", f"/workers/{record.id}", record.to_json(), headers)
