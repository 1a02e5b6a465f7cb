"""The DNS of the registry, asked by dig and by twisted.names."""

import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from twisted.names import dns

from server.discovery.worker_record import ModelLoad, WorkerRecord
from tests.fakes.dns import ALL, ZONE, question
from tests.integration.engines.dns import NameServer, name_server

pytestmark = pytest.mark.full

WORKERS = [
    WorkerRecord("a", "192.0.2.7", 8000, {"resnet.v2": ModelLoad()}),
    WorkerRecord("b", "2001:db8::7", 8001, {"m": ModelLoad()}),
]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    """A name server with two workers."""
    with name_server(tmp_path_factory.mktemp("dns") / "dns") as server:
        server.put(*WORKERS)
        server.wait_for_workers(2)
        yield server


QUESTIONS = {
    (ALL, "SRV"): [
        "0 100 8000 ip-192-0-2-7-8000.tf.test.",
        "0 100 8001 ip-2001-db8--7-8001.tf.test.",
    ],
    (f"_ResNet.v2.{ALL}", "SRV"): ["0 100 8000 ip-192-0-2-7-8000.tf.test."],
    ("ip-192-0-2-7-8000.tf.test", "A"): ["192.0.2.7"],
    ("ip-2001-db8--7-8001.tf.test", "AAAA"): ["2001:db8::7"],
    (ZONE, "NS"): ["ns.tf.test."],
    ("ns.tf.test", "A"): ["127.0.0.1"],
}


@pytest.mark.parametrize(("asked", "answers"), QUESTIONS.items(), ids=str)
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_dig_gets_the_records(
    names: NameServer, asked: tuple[str, str], answers: list[str], transport: str
) -> None:
    """Over UDP and over TCP, without a warning."""
    assert sorted(names.dig("+short", transport, *asked).splitlines()) == answers
    assert "WARNING" not in names.dig("+norecurse", transport, *asked)


def test_dig_gets_the_addresses_with_the_services(names: NameServer) -> None:
    """With a short TTL."""
    found = names.dig("+norecurse", ALL, "SRV")
    lines = found.splitlines()
    assert ";; flags: qr aa; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 3" in lines
    assert "ip-192-0-2-7-8000.tf.test. 2\tIN\tA\t192.0.2.7" in lines


CODES = {
    "another zone": (("example.org", "A"), "REFUSED", 0),
    "a name without a worker": (("ip-192-0-2-7-8001.tf.test", "A"), "NXDOMAIN", 1),
    "no records of the type": ((ALL, "TXT"), "NOERROR", 1),
    "a new version of EDNS": ((ALL, "SRV", "+edns=7", "+noednsneg"), "BADVERS", 0),
    "an update of EDNS with options": ((ALL, "SRV", "+cookie", "+nsid"), "NOERROR", 0),
    "a notice": (("+opcode=NOTIFY", ZONE, "SOA"), "NOTIMP", 0),
}


@pytest.mark.parametrize(("arguments", "code", "authority"), CODES.values(), ids=CODES)
def test_dig_gets_the_code(
    names: NameServer, arguments: tuple[str, ...], code: str, authority: int
) -> None:
    """An answer without records of the zone has its SOA record."""
    found = names.dig(*arguments)
    assert f"status: {code}," in found
    assert f"AUTHORITY: {authority}," in found


def test_dig_gets_no_zone_transfer(names: NameServer) -> None:
    """It would list all workers to anyone."""
    assert "; Transfer failed." in names.dig(ZONE, "AXFR")


def test_a_thousand_workers_are_answered_over_tcp(tmp_path: Path) -> None:
    """Dig asks over UDP first; the answer there is truncated."""
    fleet = [WorkerRecord(f"w{n}", f"198.51.{n // 250}.{n % 250}", 8000) for n in range(1000)]
    with name_server(tmp_path / "dns") as names:
        names.put(*fleet)
        names.wait_for_workers(1000)
        assert "Truncated, retrying in TCP mode." in names.dig(ALL, "SRV")
        truncated = names.dig("+ignore", "+bufsize=4096", ALL, "SRV")
        assert re.search(r"flags: qr aa tc rd; QUERY: 1, ANSWER: 2\d,", truncated)


def test_bytes_that_are_no_question_are_not_answered(names: NameServer) -> None:
    """The first answer is that to the question which follows; nothing is logged."""
    before = names.server.log
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as raw:
        raw.connect(("127.0.0.1", names.port))
        for data in (b"", b"x", b"\xff" * 500, bytes(1500), b"\xc0" * 1024):
            raw.send(data)
        raw.send(question(ZONE, dns.SOA))
        raw.settimeout(5)
        assert raw.recv(1000)[:2] == b"\x00\x07"
    with closing(socket.create_connection(("127.0.0.1", names.port), 5)) as raw:
        raw.sendall(b"\x00\x05hello")
        with pytest.raises(ConnectionResetError):
            raw.recv(1000)
    names.wait_for_workers(2)
    assert names.server.log == before
