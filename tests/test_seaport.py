"""Registration by clients of the npm package seaport: server/registry/seaport/."""

import json
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import orjson
import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from server.discovery.members import Members
from server.discovery.worker_record import ModelLoad, WorkerRecord
from server.registry.registry_service import RegistryService
from server.registry.seaport.connections import (
    GATHER_SECONDS,
    HEARTBEAT_SECONDS,
    MAX_CONNECTIONS,
    MAX_LINE_BYTES,
    MAX_WRITTEN_SERVICES,
    PUBLISH_SECONDS,
    SILENCE_SECONDS,
    SeaportConnection,
    SeaportFactory,
)
from server.registry.seaport.services import MAX_SERVICES
from server.registry.settings import RegistrySettings
from tests.fakes.server import Log

HELO = ["helo", "127.0.0.1"]
SERVICE = {"role": "tensor", "version": "1.0.0", "host": "127.0.0.1", "port": 28900, "id": "A1"}
WORKER = WorkerRecord("seaport-A1", "127.0.0.1", 28900, {"tensor": ModelLoad(versions=("1.0.0",))})


class Hub:
    """A factory that listens, and what it has logged."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.refused: list[str] = []  #: hosts
        self.members = Members("seaport", self.clock.seconds)
        self.others: list[WorkerRecord] = []
        self.factory = SeaportFactory(
            self.members,
            self.clock,
            lambda address: getattr(address, "host", "") not in self.refused,
            lambda: self.others,
        )
        self.listen()

    def listen(self) -> None:
        """Begin to listen."""
        self.factory.doStart()  # type: ignore[no-untyped-call]  # Twisted's

    def stop_listening(self) -> None:
        """End it."""
        self.factory.doStop()  # type: ignore[no-untyped-call]  # the same

    def accept(self, address: IAddress) -> SeaportConnection | None:
        """Return the protocol of a connection from *address*; None if it is refused."""
        return self.factory.buildProtocol(address)

    @property
    def ports(self) -> list[int]:
        """The ports of the workers, sorted."""
        return sorted(worker.port for worker in self.members.workers.values())

    def gather(self) -> None:
        """Let the time pass until changes are sent."""
        self.clock.advance(GATHER_SECONDS)


class Client:
    """A connection to a hub."""

    def __init__(self, hub: Hub, host: str = "127.0.0.1") -> None:
        self.wire = StringTransport()
        protocol = hub.accept(IPv4Address("TCP", host, 40000))
        assert protocol is not None
        self.protocol = protocol
        protocol.makeConnection(self.wire)  # type: ignore[no-untyped-call]  # Twisted's

    def send(self, *messages: object) -> "Client":
        """Send each of *messages* as a line."""
        return self.send_bytes(b"".join(orjson.dumps(it) + b"\n" for it in messages))

    def send_service(self, service_id: str, service: object) -> None:
        """Register *service*, which may be deeper than orjson writes."""
        line = json.dumps(["register", service_id, service])
        self.send_bytes(line.encode() + b"\n")

    def send_bytes(self, data: bytes) -> "Client":
        """Send *data*, whatever it is; return this client."""
        self.protocol.dataReceived(data)  # type: ignore[no-untyped-call]  # Twisted's
        return self

    def received(self) -> list[list[object]]:
        """Return the messages since the last call, without the mark of copies."""
        lines = self.wire.value().splitlines()
        self.wire.clear()
        messages = [orjson.loads(line) for line in lines]
        for message in messages:
            if message[0] == "register":
                assert message[2].pop("_copy")
        return messages

    def pause_after_each_write(self) -> None:
        """From now on, ask the protocol to pause whenever it has written something."""
        write = self.wire.write

        def write_and_pause(data: bytes) -> None:
            write(data)  # type: ignore[no-untyped-call]  # Twisted's
            self.protocol.pauseProducing()

        self.wire.write = write_and_pause  # type: ignore[method-assign]  # a slow client

    def lose(self) -> None:
        """Lose the connection."""
        self.protocol.connectionLost()

    @property
    def closed(self) -> bool:
        """Whether the hub has closed the connection at once."""
        return bool(self.wire.disconnected)


@pytest.fixture
def hub(log: Log) -> Iterator[Hub]:
    """Yield a hub that permits all addresses, and end it."""
    made = Hub()
    yield made
    assert log.errors() == []
    made.stop_listening()
    for connection in tuple(made.factory.connections):
        connection.connectionLost()
    assert made.clock.getDelayedCalls() == []


def test_a_service_is_a_worker_while_its_connection_lasts(hub: Hub) -> None:
    """Its role is its model; the address is that of the connection if it states none."""
    client = Client(hub)
    assert client.received() == [HELO]
    client.send(["synced"], ["register", "A1", {**SERVICE, "host": None}], ["synced"])
    assert hub.members.workers == {"seaport-A1": WORKER}
    assert hub.members.away == ""
    client.send(["register", "A1", {**SERVICE, "port": 28901}])
    assert hub.ports == [28901]
    client.lose()
    assert hub.ports == []


def test_a_service_can_be_freed_by_its_own_connection_only(hub: Hub) -> None:
    """Of another client it is ignored."""
    client, other = Client(hub), Client(hub)
    client.send(["register", "A1", SERVICE])
    other.send(["free", "A1"], ["free", "B"])
    assert hub.ports == [28900]
    client.send(["free", "A1"])
    assert hub.ports == []


def test_a_client_receives_the_services_of_others(hub: Hub) -> None:
    """Those that there are when it has sent its own, and each change; never its own."""
    first = Client(hub).send(["synced"], ["register", "A1", SERVICE])
    hub.gather()
    second = Client(hub)
    assert second.received() == [HELO]
    second.send(["synced"])
    assert second.received() == [["register", "A1", SERVICE], ["synced"]]
    second.send(["register", "B2", {**SERVICE, "id": "B2"}])
    hub.gather()
    assert first.received() == [
        HELO, ["synced"], ["register", "B2", {**SERVICE, "id": "B2"}],
    ]  # fmt: skip
    second.send(["free", "B2"])
    hub.gather()
    assert (first.received(), second.received()) == ([["free", "B2"]], [])


def test_copies_that_a_client_sends_back_are_no_registrations(hub: Hub) -> None:
    """
    After a reconnection, a client also sends the services of others.

    Those that have ended meanwhile are freed at that client.
    """
    copy = {**SERVICE, "_copy": True}
    client = Client(hub)
    client.send(["register", "A1", copy], ["register", "B2", {**SERVICE, "id": "B2"}], ["synced"])
    assert list(hub.members.workers) == ["seaport-B2"]
    assert client.received() == [HELO, ["free", "A1"], ["synced"]]


def test_a_service_belongs_to_the_connection_that_registered_it_last(hub: Hub) -> None:
    """The old connection of a client may be lost later than the new one is made."""
    old, new = Client(hub), Client(hub)
    old.send(["register", "A1", SERVICE])
    new.send(["register", "A1", SERVICE], ["synced"])
    old.lose()
    assert hub.ports == [28900]
    assert new.received() == [HELO, ["synced"]]
    new.lose()
    assert hub.ports == []


def test_another_server_of_the_protocol_is_no_worker(hub: Hub) -> None:
    """Clients receive it all the same."""
    service = {**SERVICE, "role": "seaport"}
    Client(hub).send(["register", "A1", service])
    assert hub.ports == []
    assert ["register", "A1", service] in Client(hub).send(["synced"]).received()


def test_clients_receive_the_workers_of_other_sources(hub: Hub) -> None:
    """One service for each model; the workers of this source are in the list only once."""
    models = {"cats": ModelLoad(versions=("9", "10")), "dogs": ModelLoad()}
    client = Client(hub).send(["synced"], ["register", "A1", SERVICE])
    hub.others = [WORKER, WorkerRecord("w-1", "127.0.0.2", 81, models)]
    hub.clock.advance(PUBLISH_SECONDS)
    hub.gather()
    service = {"host": "127.0.0.2", "port": 81}
    assert client.received()[2:] == [
        ["register", "w-1/cats",
         {"role": "cats", "version": "10.0.0", **service, "id": "w-1/cats"}],
        ["register", "w-1/dogs", {"role": "dogs", "version": "0.0.0", **service, "id": "w-1/dogs"}],
    ]  # fmt: skip
    hub.others = [WORKER]
    hub.clock.advance(PUBLISH_SECONDS)
    hub.gather()
    assert client.received() == [["free", "w-1/cats"], ["free", "w-1/dogs"]]
    assert hub.ports == [28900]


def test_a_silent_client_is_gone(hub: Hub, log: Log) -> None:
    """Each line, as a heartbeat, lets it stay for another `SILENCE_SECONDS`."""
    silent, alive = Client(hub), Client(hub)
    for client, port in ((silent, 1), (alive, 2)):
        client.send(["register", f"A{port}", {**SERVICE, "port": port}])
    for _ in range(3):
        hub.clock.advance(SILENCE_SECONDS / 3)
        alive.send(["heartbeat"])
    assert (silent.closed, alive.closed) == (True, False)
    silent.lose()
    assert hub.ports == [2]
    assert log.lines() == [
        "seaport: a connection from 127.0.0.1 is closed: it has sent nothing for 45 s"
    ]


def test_each_client_receives_heartbeats(hub: Hub) -> None:
    """So that it can tell a registry that has stopped from one without changes."""
    client = Client(hub)
    hub.clock.advance(HEARTBEAT_SECONDS)
    assert client.received() == [HELO, ["heartbeat"]]


BAD_LINES = {
    "no JSON": (b"\x00\xff\x16\x03\x01\n", "a line is no JSON: "),
    "HTTP": (b"GET / HTTP/1.1\r\n", "a line is no JSON: "),
    "empty": (b"\n", "a line is no JSON: "),
    "an object": (b"{}\n", "a line is no array that begins with the name of a message"),
    "no name": (b"[1]\n", "a line is no array that begins with the name of a message"),
    "no service": (b'["register","B"]\n', "the values of register are not those of the protocol"),
    "no id": (b'["free",1]\n', "the values of free are not those of the protocol"),
    "deep": (b"[" * 9000 + b"\n", "a line is no JSON: "),
    "endless": (b"a" * (MAX_LINE_BYTES + 1), "a line has more than 16384 bytes"),
    "long": (b"[" + b" " * MAX_LINE_BYTES + b"]\n", "a line has more than 16384 bytes"),
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_line_of_no_protocol_closes_its_connection_alone(
    hub: Hub, log: Log, line: bytes, reason: str
) -> None:
    """With a line in the log; what it has registered is removed."""
    other = Client(hub).send(["register", "A1", SERVICE])
    client = Client(hub).send(["register", "B2", {**SERVICE, "port": 2}])
    client.send_bytes(line)
    assert client.closed
    client.lose()
    assert hub.ports == [28900]
    assert not other.closed
    (entry,) = log.lines()
    assert entry.startswith(f"seaport: a connection from 127.0.0.1 is closed: {reason}")


#: Deeper than JSON is written, though not deeper than it is read.
DEEP = json.loads("[" * 400 + "]" * 400)

BAD_SERVICES = {
    "no role": ({"role": None}, "role: expected a text that is not empty"),
    "port": (
        {"port": "80"}, "port: expected a whole number from 1 to 65535, got '80'",
    ),
    "host": ({"host": "a b"}, "host: expected a host name or an address, got 'a b'"),
    "version": (
        {"version": 1}, "versions of 'tensor': expected texts of up to 128 characters, got 1",
    ),
    "a deep port": (
        {"port": DEEP}, "the service cannot be written as JSON: Recursion limit reached",
    ),
    "a deep extra member": (
        {"more": DEEP}, "the service cannot be written as JSON: Recursion limit reached",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), BAD_SERVICES.values(), ids=BAD_SERVICES)
def test_what_is_no_worker_is_not_registered(
    hub: Hub, log: Log, change: dict[str, object], reason: str
) -> None:
    """The connection and its other services stay."""
    client = Client(hub).send(["register", "A1", SERVICE])
    client.send_service("B2", {**SERVICE, **change})
    assert (hub.ports, client.closed) == ([28900], False)
    client.lose()
    assert hub.ports == []
    assert log.lines() == [f"seaport: 127.0.0.1 registers no worker: {reason}"]


@pytest.mark.parametrize("role", ["tensor", "seaport"])
def test_a_service_cannot_take_the_id_of_a_worker_of_another_source(
    hub: Hub, log: Log, role: str
) -> None:
    """Whatever its role; afterwards that worker is still sent to clients."""
    client = Client(hub)
    hub.others = [WorkerRecord("w-1", "127.0.0.2", 81, {"cats": ModelLoad()})]
    hub.clock.advance(PUBLISH_SECONDS)
    client.send(["register", "w-1/cats", {**SERVICE, "role": role}])
    (line,) = log.lines()
    assert line.startswith("seaport: 127.0.0.1 registers no worker: id: expected up to 128 letters")
    (service, synced) = client.send(["synced"]).received()[1:]
    assert (service[1], synced) == ("w-1/cats", ["synced"])


def test_a_worker_that_cannot_be_sent_is_left_out(hub: Hub, log: Log) -> None:
    """The others are sent, also those that come later."""
    client = Client(hub).send(["synced"])
    bad = WorkerRecord("w-1", "127.0.0.2", 81, {"\ud800": ModelLoad()})
    hub.others = [
        bad,
        WorkerRecord("w-2", "127.0.0.2", 82, {"cats": ModelLoad(versions=("9" * 99,))}),
    ]
    hub.clock.advance(PUBLISH_SECONDS)
    hub.others.append(WorkerRecord("w-3", "127.0.0.2", 83, {"cats": ModelLoad(versions=("٣",))}))
    hub.clock.advance(PUBLISH_SECONDS)
    hub.gather()
    services = [message[2] for message in client.received()[2:]]
    assert [(it["port"], it["version"]) for it in services] == [(82, "9" * 99), (83, "٣")]  # type: ignore[index]  # JSON
    assert [it.partition("left out")[0] for it in log.lines()] == [
        "seaport: the worker w-1 is "
    ] * 2


def test_unknown_messages_are_ignored(hub: Hub, log: Log) -> None:
    """As other versions of the package may send."""
    client = Client(hub).send(["resync", 1], ["register", "A1", SERVICE, "more"])
    assert (hub.ports, client.closed, log.lines()) == ([28900], False, [])


def test_a_connection_has_so_many_services(hub: Hub, log: Log) -> None:
    """One more is refused, a replaced one is not."""
    client = Client(hub)
    for port in range(1, MAX_SERVICES + 2):
        client.send(["register", f"A{port}", {**SERVICE, "port": port}])
    client.send(["register", "A1", {**SERVICE, "port": 1000}])
    assert hub.ports == [*range(2, MAX_SERVICES + 1), 1000]
    assert len(log.lines()) == 1


PEERS: dict[IAddress, str | None] = {
    IPv4Address("TCP", "10.0.0.1", 1): "10.0.0.1",
    IPv4Address("TCP", "10.0.0.2", 1): None,
    IPv6Address("TCP", "::ffff:10.0.0.1", 1): "10.0.0.1",
    IPv6Address("TCP", "fd00::1", 1): "fd00::1",
    UNIXAddress(b"/run/x"): "127.0.0.1",
}


@pytest.mark.parametrize(("address", "host"), PEERS.items(), ids=str)
def test_the_permit_decides_on_each_address(
    hub: Hub, log: Log, address: IAddress, host: str | None
) -> None:
    """A refused connection is closed at once; others are sent their address."""
    hub.refused.append("10.0.0.2")
    protocol = hub.accept(address)
    if protocol is None:
        assert host is None
        (line,) = log.lines()
        assert line == "seaport: a connection from 10.0.0.2 is refused: the address is not trusted"
    else:
        wire = StringTransport()
        protocol.makeConnection(wire)  # type: ignore[no-untyped-call]  # Twisted's
        assert orjson.loads(wire.value()) == ["helo", host]


def test_there_are_so_many_connections_and_few_log_lines(hub: Hub, log: Log) -> None:
    """A connection that ends lets another one in."""
    clients = [Client(hub) for _ in range(MAX_CONNECTIONS)]
    address = IPv4Address("TCP", "127.0.0.1", 1)
    assert [hub.accept(address) for _ in range(500)] == [None] * 500
    hub.clock.advance(1)
    assert hub.accept(address) is None
    refused = "seaport: a connection from 127.0.0.1 is refused: 1000 connections are open"
    assert log.lines() == [refused, f"{refused} (499 more like this before)"]
    clients[0].lose()
    assert hub.accept(address) is not None


def test_a_client_that_reads_slowly_receives_the_last_state(hub: Hub) -> None:
    """Of each service that has changed meanwhile, when it has read what was sent before."""
    slow, other = Client(hub).send(["synced"]), Client(hub)
    slow.received()
    slow.protocol.pauseProducing()
    for port in range(1, 50):
        other.send(["register", "A1", {**SERVICE, "port": port}])
        hub.gather()
    other.send(["register", "B2", SERVICE], ["free", "B2"])
    hub.clock.advance(HEARTBEAT_SECONDS)
    assert slow.received() == []
    slow.protocol.resumeProducing()
    received = {str(message[1]): message for message in slow.received()}
    assert received == {"A1": ["register", "A1", {**SERVICE, "port": 49}], "B2": ["free", "B2"]}


def test_services_are_written_in_parts(hub: Hub) -> None:
    """While a client reads slowly, few of them wait in its connection; then ``synced`` follows."""
    hub.others = [
        WorkerRecord(f"w-{it}", "127.0.0.2", 80, {"cats": ModelLoad()}) for it in range(1000)
    ]
    slow = Client(hub)
    hub.clock.advance(PUBLISH_SECONDS)
    hub.gather()
    slow.pause_after_each_write()
    slow.received()
    slow.send(["synced"])
    hub.others.pop()
    hub.clock.advance(PUBLISH_SECONDS)
    hub.gather()
    parts = []
    while part := slow.received():
        parts.append(part)
        slow.protocol.resumeProducing()
    assert max(map(len, parts)) <= MAX_WRITTEN_SERVICES + 1
    *services, last = [message for part in parts for message in part]
    expected = [("register", f"w-{it}/cats") for it in range(999)]
    assert [tuple(it[:2]) for it in services] == [*expected, ("free", "w-999/cats")]
    assert last == ["synced"]


def test_the_end_of_the_port_closes_the_connections(hub: Hub) -> None:
    """Their clients reconnect to the successor."""
    client = Client(hub)
    hub.stop_listening()
    assert client.wire.disconnecting
    hub.listen()


@pytest.mark.parametrize("token", [False, True], ids=["no token", "a token"])
def test_a_registry_with_a_token_refuses_clients_without_one(tmp_path: Path, token: bool) -> None:
    """Also on this machine, because the protocol has no token; `--trusted` admits a network."""
    (tmp_path / "token").write_text("secret")
    settings = RegistrySettings(
        token_file=tmp_path / "token" if token else None, trusted=(ip_network("10.0.0.0/8"),)
    )
    seaport = RegistryService(settings, Clock()).seaport
    admitted = {
        host: seaport.buildProtocol(IPv4Address("TCP", host, 1)) is not None
        for host in ("127.0.0.1", "10.0.0.1", "192.0.2.1")
    }
    assert admitted == {"127.0.0.1": not token, "10.0.0.1": True, "192.0.2.1": False}
