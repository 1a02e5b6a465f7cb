"""What registries have of workers: URLs, records, and the members of a source."""

import pytest
from twisted.internet.task import Clock

from server.discovery.engine_url import ANNOUNCED, EngineURL, parse_engine_url
from server.discovery.members import Members
from server.discovery.worker_record import ModelLoad, RecordError, WorkerRecord, from_json

WORKER = WorkerRecord("a-1", "127.0.0.1", 8000, {"m": ModelLoad(0.25, 0.005, ("1", "3"))})

URLS = {
    "zk://a": EngineURL("zk", (("a", 2181),)),
    "zk://a:1,[::1]:2/x/y/": EngineURL("zk", (("a", 1), ("::1", 2)), "x/y"),
    "etcd://u%40:p%3A@h/tf?lease=2.5": EngineURL("etcd", (("h", 2379),), "tf", 2.5, "u@", "p:"),
    "registry://h": EngineURL("registry", (("h", 12480),)),
}


@pytest.mark.parametrize(("text", "url"), URLS.items(), ids=str)
def test_a_url_has_these_parts(text: str, url: EngineURL) -> None:
    """Its text for logs has no password."""
    assert parse_engine_url(text) == url
    assert "p:" not in str(url)


BAD_URLS = {
    "http://a": "it does not begin with zk:// or etcd:// or registry://",
    "srv://a": "it does not begin with zk:// or etcd:// or registry://",
    "zk://": "'' is not HOST or HOST:PORT",
    "zk://a:99999": "the port 99999 is not from 1 to 65535",
    "zk://u@a": "what precedes @ is not USER:PASSWORD",
    "zk://a?ttl=3": "it has no option 'ttl'; the only one is lease=SECONDS",
    "zk://a?lease=x": "lease: expected 1 to 3600 seconds, got x",
    "registry://u:p@a": (
        "registry:// takes no user and password; a server gives its token with "
        "--announce-token-file FILE"
    ),
    "etcd://a/tf#b": "it has a #, which begins no part of it; in a password it is %23",
}


@pytest.mark.parametrize(("text", "reason"), BAD_URLS.items(), ids=str)
def test_a_wrong_url_is_refused_with_the_reason(text: str, reason: str) -> None:
    """In one line."""
    with pytest.raises(ValueError, match=r"[a-z]") as error:
        parse_engine_url(text, ANNOUNCED)
    assert str(error.value) == reason


BAD_SOURCES = {
    "srv://u:p@a/n": "srv:// takes no user and password",
    "srv://a/n?lease=3": "srv:// takes no lease",
}


@pytest.mark.parametrize(("text", "reason"), BAD_SOURCES.items(), ids=str)
def test_a_part_that_a_source_cannot_use_is_refused(text: str, reason: str) -> None:
    """It would have no effect."""
    with pytest.raises(ValueError, match=reason):
        parse_engine_url(text)


@pytest.mark.parametrize("record", [WORKER, WorkerRecord("b", "::1", 1)], ids=["models", "none"])
def test_a_record_can_be_read_back(record: WorkerRecord) -> None:
    """From its JSON."""
    assert from_json(record.to_json()) == record


BAD_RECORDS = {
    b"[": "the record is no JSON: unexpected end of data: line 1 column 2 (char 1)",
    b"[]": "the record is no JSON object",
    b'{"id": "a b", "host": "h", "port": 1}': (
        "id: expected up to 128 letters, digits, '.', '_' and '-', got 'a b'"
    ),
    b'{"id": "a", "host": "h:1", "port": 1}': (
        "host: expected a host name or an address, got 'h:1'"
    ),
    b'{"id": "a", "host": "h", "port": true}': (
        "port: expected a whole number from 1 to 65535, got true"
    ),
    b'{"id": "a", "host": "h", "port": 1, "models": [1]}': "models: expected an object, got a list",
    b'{"id": {"a": 1}, "host": "h", "port": 1}': (
        "id: expected up to 128 letters, digits, '.', '_' and '-', got an object"
    ),
    b'{"id": "a", "host": "h", "port": 1, "models": {"m": {"versions": "1"}}}': (
        "versions of 'm': expected a list, got '1'"
    ),
    b'{"id": "a", "host": "h", "port": 1, "models": {"m": {"versions": [2]}}}': (
        "versions of 'm': expected texts of up to 128 characters, got 2"
    ),
    b'{"id": "a", "host": "h", "port": 1, "models": {"m": {"expected_wait_ms": -1}}}': (
        "expected_wait_ms of 'm': expected milliseconds of at least 0, got -1"
    ),
}


@pytest.mark.parametrize(("text", "reason"), BAD_RECORDS.items(), ids=str)
def test_what_is_no_record_is_refused_with_the_reason(text: bytes, reason: str) -> None:
    """In one line."""
    with pytest.raises(RecordError) as error:
        from_json(text)
    assert str(error.value) == reason


DEEP = b"[" * 1000 + b"]" * 1000
LARGE_RECORDS = {
    "deep models": (b'"models": %b' % DEEP, "models: expected an object, got a list"),
    "a deep model": (
        b'"models": {"m": %b}' % DEEP, "the model 'm': expected an object, got a list",
    ),
    "a deep version": (
        b'"models": {"m": {"versions": [%b]}}' % DEEP,
        "versions of 'm': expected texts of up to 128 characters, got a list",
    ),
    "a deep wait": (
        b'"models": {"m": {"added_wait_ms": %b}}' % DEEP,
        "added_wait_ms of 'm': expected milliseconds of at least 0, got a list",
    ),
    "a long version": (
        b'"models": {"m": {"versions": ["%b"]}}' % (b"9" * 5000),
        f"versions of 'm': expected texts of up to 128 characters, got '{'9' * 76}...",
    ),
    "many models": (
        b'"models": {%b}' % b",".join(b'"%d": {}' % it for it in range(1001)),
        "models: expected up to 1000, got 1001",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("member", "reason"), LARGE_RECORDS.values(), ids=LARGE_RECORDS)
def test_a_record_that_is_deep_or_large_is_refused(member: bytes, reason: str) -> None:
    """Also if no more can be said of the value than what it is."""
    with pytest.raises(RecordError) as error:
        from_json(b'{"id": "a", "host": "h", "port": 1, %b}' % member)
    assert str(error.value) == reason


HOSTS = {
    **dict.fromkeys(["h", "a_b.example.", "10.0.0.1", "::1", "fd00::a", "1and1.example"], True),
    **dict.fromkeys(["", "-a", "a..b", ".a", "a" * 254, ":", ":::::", "1", "127.1", "."], False),
    **dict.fromkeys(["0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1"], False),  # noqa: S104 - not bound
}


@pytest.mark.parametrize(("host", "taken"), HOSTS.items(), ids=str)
def test_a_host_is_a_name_or_the_address_of_one_machine(host: str, taken: bool) -> None:
    """No client can connect to another one."""
    text = WorkerRecord("a", host, 1).to_json()
    if taken:
        assert from_json(text).host == host
    else:
        with pytest.raises(RecordError, match="host: expected a host name or an address"):
            from_json(text)


def test_a_worker_serves_its_models() -> None:
    """One whose models are not known may serve any."""
    assert [WORKER.serves(it) for it in (None, "m", "n")] == [True, True, False]
    assert WorkerRecord("b", "h", 1).serves("n")


def test_members_change_their_version_with_addresses_models_and_source() -> None:
    """A new wait is no new version; members stay while their source does not answer."""
    clock = Clock()
    members = Members("zk://a", clock.seconds)
    assert members.away
    members.replace({WORKER.id: WORKER})
    members.is_current()
    version = members.version
    clock.advance(3)
    busier = WorkerRecord("a-1", "127.0.0.1", 8000, {"m": ModelLoad(9.0)})
    members.put(busier)
    assert members.version == version
    assert members.written == {"a-1": 3.0}
    members.is_away("no answer")
    assert members.version > version
    version = members.version
    clock.advance(2)
    members.is_away("still no answer")
    assert members.version == version
    assert (members.away, members.away_since) == ("still no answer", 3.0)
    assert members.workers == {"a-1": busier}
    members.remove("a-1")
    assert members.version > version
    assert not members.workers
