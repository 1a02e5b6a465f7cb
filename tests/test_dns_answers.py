"""The zone of the workers, as messages: server/registry/dns_zone.py and dns_answers.py."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.names import dns

from server.discovery.members import Members
from server.discovery.worker_record import ModelLoad, WorkerRecord
from server.registry.dns_answers import answer
from server.registry.dns_zone import WorkerZone
from server.registry.settings import MAX_ZONE_BYTES
from tests.fakes.dns import ALL, ZONE, Workers, fleet, question

LOADS = {"resnet.V2": ModelLoad()}
WORKERS = [
    WorkerRecord("a", "192.0.2.7", 8000, LOADS),
    WorkerRecord("b", "192.0.2.7", 8001, {"_x": ModelLoad()}),
    WorkerRecord("c", "2001:db8::1", 8000, {"m": ModelLoad()}),
    WorkerRecord("d", "host.example", 8000),
    WorkerRecord("e", "192.0.2.9", 8000, {}),  # it has lost its models
    WorkerRecord("f", "a..b", 8000),  # no name of a host
]


def answered(
    data: bytes, workers: Sequence[WorkerRecord] = WORKERS, *, over_tcp: bool = False
) -> dns.Message:
    """Return the answer to the message *data*."""
    zone = WorkerZone(Workers(workers), ZONE, ip_address("127.0.0.1"))
    encoded = answer(zone, data, over_tcp=over_tcp)
    assert encoded is not None
    message = dns.Message()
    message.fromStr(encoded)
    assert (message.id, message.answer, message.recDes, message.recAv) == (7, 1, 1, 0)
    return message


def texts(records: Sequence[dns.RRHeader]) -> list[str]:
    """Return *records* in words, sorted."""
    return sorted(f"{it.name} {it.ttl} {dns.QUERY_TYPES[it.type]} {_value(it)}" for it in records)


def _value(record: dns.RRHeader) -> str:
    payload: Any = record.payload  # Any: one of many classes
    match record.type:
        case dns.SRV:
            return f"{payload.priority} {payload.weight} {payload.port} {payload.target}"
        case dns.SOA:
            return f"{payload.mname} {payload.minimum}"
        case dns.NS:
            return str(payload.name)
        case _:
            return str(ip_address(payload.address))


SRV_A = "2 SRV 0 100 8000 ip-192-0-2-7-8000.tf.test"
SRV_B = "2 SRV 0 100 8001 ip-192-0-2-7-8001.tf.test"
SRV_C = "2 SRV 0 100 8000 ip-2001-db8--1-8000.tf.test"
SRV_D = "2 SRV 0 100 8000 host.example"
MODEL = "_resnet.v2._tensorferry._tcp.tf.test"
SOA = "tf.test 2 SOA ns.tf.test 2"
ANSWERS = {
    (ALL, dns.SRV): [f"{ALL} {it}" for it in (SRV_A, SRV_B, SRV_C, SRV_D)],
    ("_TensorFerry._tcp.TF.test", dns.SRV): [
        f"_TensorFerry._tcp.TF.test {it}" for it in (SRV_A, SRV_B, SRV_C, SRV_D)
    ],
    (MODEL, dns.SRV): [f"{MODEL} {it}" for it in (SRV_A, SRV_D)],
    (f"__x.{ALL}", dns.SRV): [f"__x.{ALL} {it}" for it in (SRV_B, SRV_D)],
    ("ip-192-0-2-7-8000.tf.test", dns.A): ["ip-192-0-2-7-8000.tf.test 2 A 192.0.2.7"],
    ("IP-2001-db8--1-8000.tf.test", dns.AAAA): ["IP-2001-db8--1-8000.tf.test 2 AAAA 2001:db8::1"],
    ("tf.test", dns.NS): ["tf.test 2 NS ns.tf.test"],
    ("tf.test", dns.SOA): [SOA],
    ("tf.test", dns.ALL_RECORDS): ["tf.test 2 NS ns.tf.test", SOA],
    ("ns.tf.test", dns.A): ["ns.tf.test 2 A 127.0.0.1"],
}


@pytest.mark.parametrize(("asked", "records"), ANSWERS.items(), ids=str)
def test_a_name_of_the_zone_has_these_records(asked: tuple[str, int], records: list[str]) -> None:
    """The owner has the letters of the question: some resolvers compare them."""
    message = answered(question(*asked))
    assert texts(message.answers) == sorted(records)
    assert (message.rCode, message.auth, message.trunc) == (dns.OK, 1, 0)


def test_the_addresses_of_the_hosts_are_added() -> None:
    """Each worker has a name of its own, also beside others on its host."""
    message = answered(question(ALL))
    assert texts(message.additional) == [
        "ip-192-0-2-7-8000.tf.test 2 A 192.0.2.7",
        "ip-192-0-2-7-8001.tf.test 2 A 192.0.2.7",
        "ip-2001-db8--1-8000.tf.test 2 AAAA 2001:db8::1",
    ]


EMPTY = {
    (ALL, dns.A): dns.OK,
    ("_tcp.tf.test", dns.SRV): dns.OK,
    (f"v2.{ALL}", dns.SRV): dns.OK,  # a part of a model's name, for resolvers that ask step by step
    ("ip-192-0-2-7-8000.tf.test", dns.AAAA): dns.OK,
    ("tf.test", dns.A): dns.OK,
    ("ns.tf.test", dns.AAAA): dns.OK,
    ("ip-192-0-2-7-8002.tf.test", dns.A): dns.ENAME,
    ("_http._tcp.tf.test", dns.SRV): dns.ENAME,
    ("other.tf.test", dns.A): dns.ENAME,
}


@pytest.mark.parametrize(("asked", "code"), EMPTY.items(), ids=str)
def test_an_answer_without_records_has_that_of_the_zone(asked: tuple[str, int], code: int) -> None:
    """It limits how long a resolver may remember that there are none."""
    message = answered(question(*asked))
    assert (message.rCode, message.auth, texts(message.answers)) == (code, 1, [])
    assert texts(message.authority) == [SOA]


def changed(data: bytes, **bytes_at: int) -> bytes:
    """Return *data* with other bytes at these places, such as ``at2``."""
    copy = bytearray(data)
    for place, value in bytes_at.items():
        copy[int(place[2:])] = value
    return bytes(copy)


REFUSED = {
    "another zone": (question("example.org", dns.A), dns.EREFUSED),
    "a name that only ends alike": (question("nottf.test", dns.A), dns.EREFUSED),
    "the root": (question("", dns.NS), dns.EREFUSED),
    "a zone transfer": (question("tf.test", dns.AXFR), dns.EREFUSED),
    "another class": (changed(question(ALL), **{"at-1": 3}), dns.EREFUSED),
    "an update": (changed(question(ALL), at2=5 << 3 | 1), dns.ENOTIMP),
    "no question": (changed(question(ALL), at5=0), dns.EFORMAT),
    "fewer questions than announced": (changed(question(ALL), at5=0)[:12], dns.EFORMAT),
    "two options": (question(ALL, edns=4096, opt=2), dns.EFORMAT),
}


@pytest.mark.parametrize(("data", "code"), REFUSED.values(), ids=REFUSED)
def test_a_question_that_is_not_answered_gets_a_code(data: bytes, code: int) -> None:
    """And no record."""
    message = answered(data)
    assert (message.rCode, message.answers, message.authority) == (code, [], [])
    assert message.auth == 0


def test_a_question_with_a_newer_version_of_edns_gets_badvers() -> None:
    """Its upper bits are in the option of the answer."""
    message = answered(question(ALL, edns=4096, version=1))
    (option,) = message.additional
    assert (message.rCode, option.ttl >> 24, option.type) == (0, 1, dns.OPT)


IGNORED = {
    "nothing": b"",
    "half a header": question(ALL)[:7],
    "an answer": changed(question(ALL), at2=0x80),
    "a compression loop": question("")[:12] + b"\xc0\x0c\x00\x21\x00\x01",
    "a label of 100 bytes": question("")[:12] + b"\x64" + b"a" * 100 + b"\0\x00\x21\x00\x01",
    "a label that begins with a dot": question("")[:12] + b"\x03.ab\0\x00\x21\x00\x01",
    "a large message": question(ALL) + bytes(1100),
}


@pytest.mark.parametrize("data", IGNORED.values(), ids=IGNORED)
def test_a_message_that_is_no_question_gets_no_answer(data: bytes) -> None:
    """So two name servers never answer each other forever."""
    assert answer(WorkerZone(Workers(WORKERS), ZONE), data, over_tcp=False) is None


#: The longest zone of the settings, and one that is longer than they allow.
LONG_ZONES = ["a" * 55 + "." + "b" * (MAX_ZONE_BYTES - 56), ".".join(["a" * 49] * 4)]


@pytest.mark.parametrize("zone_name", [ZONE, *LONG_ZONES], ids=len)
@pytest.mark.parametrize("over_tcp", [False, True])
@pytest.mark.parametrize("edns", [None, 1232])
def test_any_bytes_are_an_answer_or_none(zone_name: str, over_tcp: bool, edns: int | None) -> None:
    """Random bytes, and questions in any case with random changes, raise nothing."""
    random = Random(5)  # noqa: S311 - no secret
    zone = WorkerZone(Workers(WORKERS), zone_name)
    asked = question(f"_tensorferry._tcp.{zone_name}".upper(), edns=edns)
    for _ in range(200):
        data = bytearray(asked if random.random() < 0.9 else random.randbytes(60))
        for _ in range(random.randrange(4)):
            data[random.randrange(len(data))] = random.randrange(256)
        reply = answer(zone, bytes(data[: random.randrange(12, len(data) + 1)]), over_tcp=over_tcp)
        assert reply is None or reply[:2] == data[:2]


@pytest.mark.parametrize(("zone_name", "has_soa"), [(LONG_ZONES[0], True), (LONG_ZONES[1], False)])
def test_the_longest_name_is_answered_over_udp_without_options(
    zone_name: str, has_soa: bool
) -> None:
    """In other letters than those of the zone; the SOA record is left out if it has no room."""
    below = ".".join(["X" * (61 - it) for it in range(4)])[: 252 - len(zone_name)]
    data = question(f"{below}.{zone_name.upper()}", dns.A)
    encoded = answer(WorkerZone(Workers(WORKERS), zone_name), data, over_tcp=False)
    assert encoded is not None
    message = dns.Message()
    message.fromStr(encoded)
    assert len(encoded) <= 512
    assert (message.rCode, len(message.authority), message.trunc) == (
        dns.ENAME,
        int(has_soa),
        int(not has_soa),
    )


@pytest.mark.parametrize(
    ("edns", "limit", "least"),
    [(None, 512, 7), (100, 512, 7), (1232, 1232, 20), (65535, 1232, 20)],
)
def test_an_answer_over_udp_has_as_many_workers_as_fit(
    edns: int | None, limit: int, least: int
) -> None:
    """It is marked as truncated, and has whole records alone."""
    data = question(ALL, edns=edns)
    encoded = answer(WorkerZone(Workers(fleet(200)), ZONE), data, over_tcp=False)
    assert encoded is not None
    message = answered(data, fleet(200))
    assert len(encoded) <= limit
    assert (message.trunc, len(message.answers) >= least) == (1, True)
    assert [it.type for it in message.additional] == ([] if edns is None else [dns.OPT])


def test_an_answer_without_room_for_addresses_is_complete() -> None:
    """The client asks for the addresses that it needs."""
    message = answered(question(ALL), fleet(8))
    assert (message.trunc, len(message.answers), message.additional) == (0, 8, [])


def test_an_answer_over_tcp_has_a_thousand_workers() -> None:
    """Each on a host of its own."""
    message = answered(question(ALL), fleet(1000), over_tcp=True)
    assert (message.trunc, len({str(it.payload) for it in message.answers})) == (0, 1000)


def test_the_workers_are_looked_at_once_for_all_questions() -> None:
    """Until they change."""
    reads = 0

    class Counting(list[WorkerRecord]):
        def __iter__(self) -> Iterator[WorkerRecord]:
            nonlocal reads
            reads += 1
            return super().__iter__()

    workers = Workers(Counting(WORKERS))
    zone = WorkerZone(workers, ZONE)
    asked = [(ALL, dns.SRV), (MODEL, dns.SRV), (f"_other.{ALL}", dns.SRV), ("ip-a.tf.test", dns.A)]
    for name, kind in asked:
        assert answer(zone, question(name, kind), over_tcp=False)
    first = reads
    for name, kind in asked * 10:
        assert answer(zone, question(name, kind), over_tcp=False)
    assert reads == first
    workers.listed = [*WORKERS, WorkerRecord("g", "192.0.2.8", 1)]
    message = dns.Message()
    message.fromStr(answer(zone, question("ip-192-0-2-8-1.tf.test", dns.A), over_tcp=False) or b"")
    assert len(message.answers) == 1


def test_the_order_of_the_workers_changes() -> None:
    """Clients that use the first record are spread."""
    firsts = {texts(answered(question(ALL), fleet(4)).answers[:1])[0] for _ in range(100)}
    assert len(firsts) == 4


AWAY = {
    (ALL, dns.SRV): dns.OK,
    (MODEL, dns.SRV): dns.OK,
    (f"_other.{ALL}", dns.SRV): dns.ESERVER,
    ("ip-192-0-2-7-8002.tf.test", dns.A): dns.ESERVER,
    ("ip-192-0-2-7-8000.tf.test", dns.AAAA): dns.OK,
    (ALL, dns.A): dns.OK,
    ("_tcp.tf.test", dns.SRV): dns.OK,
    ("ns.tf.test", dns.AAAA): dns.OK,
    ("_http._tcp.tf.test", dns.SRV): dns.ENAME,
}


@pytest.mark.parametrize(("asked", "code"), AWAY.items(), ids=str)
@pytest.mark.parametrize("reason", ["not read yet", "no answer"])
def test_without_its_worker_a_source_that_is_away_makes_the_answer_a_failure(
    asked: tuple[str, int], code: int, reason: str
) -> None:
    """A client then keeps the workers that it had."""
    source = Members("a source", Clock().seconds)
    source.is_away(reason)
    zone = WorkerZone(Workers([WORKERS[0]], [source]), ZONE)
    message = dns.Message()
    message.fromStr(answer(zone, question(*asked), over_tcp=False) or b"")
    assert message.rCode == code
    assert bool(message.answers) == (asked in [(ALL, dns.SRV), (MODEL, dns.SRV)])


def test_without_workers_the_answer_is_a_failure_until_all_sources_are_read() -> None:
    """Then the answer is that there are none."""
    source = Members("a source", Clock().seconds)
    zone = WorkerZone(Workers((), [source]), ZONE)
    codes = []
    for _ in range(2):
        message = dns.Message()
        message.fromStr(answer(zone, question(ALL), over_tcp=False) or b"")
        codes.append(message.rCode)
        source.is_current()
    assert codes == [dns.ESERVER, dns.OK]


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64, "ö"])
def test_a_name_that_no_zone_can_have_is_an_error(name: str) -> None:
    """It is one of the settings."""
    with pytest.raises(ValueError, match=r"is no name|ascii"):
        WorkerZone(Workers(), name)
