"""The routes of the registry: server/registry/registry_api.py and permit.py."""

from pathlib import Path

import pytest

from server.discovery.members import Members
from server.discovery.worker_record import ModelLoad, WorkerRecord
from server.lifecycle import State
from server.registry.own_addresses import is_own
from tests.fakes.http import Answer, request
from tests.fakes.registry import OWN_ADDRESS, FakeRegistry, worker

pytestmark = pytest.mark.usefixtures("log")


def text(answer: Answer) -> str:
    """Return the line that a text answer has."""
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.body.endswith(b"\n")
    return answer.body.decode().removesuffix("\n")


@pytest.mark.parametrize(
    ("worker_host", "peer", "host", "place"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", "8001"),
        ("localhost", "::ffff:127.0.0.1", "127.0.0.1", "8001"),
        (OWN_ADDRESS, "127.0.0.1", "127.0.0.1", "8001"),
        (OWN_ADDRESS, OWN_ADDRESS, OWN_ADDRESS, "8001"),
        ("127.0.0.1", "192.0.2.9", OWN_ADDRESS, "127.0.0.1:8001"),
        ("192.0.2.9", "192.0.2.9", OWN_ADDRESS, "192.0.2.9:8001"),
        ("192.0.2.9", "127.0.0.1", "127.0.0.1", "192.0.2.9:8001"),
        ("2001:db8::9", "127.0.0.1", "127.0.0.1", "[2001:db8::9]:8001"),
    ],
)
def test_the_next_worker_is_a_port_if_client_and_worker_are_on_this_machine(
    worker_host: str, peer: str, host: str, place: str
) -> None:
    """Else HOST:PORT, which `GET /worker` answers in every case."""
    registry = FakeRegistry()
    registry.leases.put(worker(1, host=worker_host, m=1.0), 8)
    for model in ("", "?model=m"):
        assert text(registry.ask("GET", f"/{model}", peer=peer, host=host)) == place
    full = place if ":" in place else f"{worker_host}:8001"
    assert text(registry.ask("GET", "/worker?model=m", peer=peer, host=host)) == full
    assert registry.ask("HEAD", "/").body == b""


def test_without_a_worker_the_answer_is_503_and_without_the_model_404() -> None:
    """With Retry-After, or with the models that there are."""
    registry = FakeRegistry()
    none = registry.ask("GET", "/?model=m")
    assert (none.status, none.headers["retry-after"]) == (503, "1")
    registry.register(worker(1, m=1.0))
    unknown = registry.ask("GET", "/worker?model=n")
    assert (unknown.status, unknown.error) == (
        404,
        "no worker has the model 'n'; there are: m",
    )


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/?modle=m", 400),
        ("GET", "/?model=m&model=n", 400),
        ("GET", "/worker?model=", 400),
        ("GET", "/none", 404),
        ("POST", "/", 405),
        ("POST", "/workers/w-1", 405),
        ("GET", "/workers/w-1", 405),
    ],
)
def test_other_requests_are_refused(method: str, target: str, status: int) -> None:
    """As the server refuses them."""
    answer = FakeRegistry().ask(method, target)
    assert (answer.status, answer.json()["status"]) == (status, status)


def test_a_worker_registers_renews_and_withdraws() -> None:
    """By PUT and DELETE of its id; both may be repeated."""
    registry = FakeRegistry()
    for _ in range(2):
        assert registry.register(worker(1, m=1.0), X_Lease_Seconds="8").status == 204
        registry.clock.advance(4)
    assert text(registry.ask("GET", "/")) == "8001"
    for _ in range(2):
        assert registry.ask("DELETE", "/workers/w-1").status == 204
    assert registry.ask("GET", "/").status == 503


@pytest.mark.parametrize(("headers", "lease"), [({}, 10), ({"X_Lease_Seconds": "2.5"}, 2.5)])
def test_a_worker_is_listed_for_its_lease(headers: dict[str, str], lease: float) -> None:
    """Of ten seconds by default."""
    registry = FakeRegistry()
    registry.register(worker(1, m=1.0), **headers)
    registry.clock.advance(lease - 0.5)
    assert registry.ask("GET", "/").status == 200
    registry.clock.advance(0.5)
    assert registry.ask("GET", "/").status == 503


@pytest.mark.parametrize(
    ("path", "body", "lease", "status", "message"),
    [
        ("w-2", worker(1).to_json(), "8", 400, "the path has the id 'w-2', the record 'w-1'"),
        ("w-1", b"[]", "8", 400, "the record is no JSON object"),
        ("w-1", worker(1).to_json(), "0.5", 400, "X-Lease-Seconds: expected 1 to 3600, got '0.5'"),
        ("w-1", worker(1).to_json(), "nan", 400, "X-Lease-Seconds: expected 1 to 3600, got 'nan'"),
        ("w-1", worker(1).to_json(), "", 400, "X-Lease-Seconds: expected 1 to 3600, got ''"),
        ("w-1", b" " * (1 << 18) + b"1", "8", 413, "the body is 262145 bytes, the limit is 262144"),
    ],
    ids=["id", "record", "short lease", "no number", "empty", "too long"],
)
def test_a_wrong_registration_is_refused(
    path: str, body: bytes, lease: str, status: int, message: str
) -> None:
    """And what was registered stays as it was."""
    registry = FakeRegistry()
    registry.register(worker(1, m=3.0))
    answer = registry.ask("PUT", f"/workers/{path}", body, {"X-Lease-Seconds": lease})
    assert (answer.status, answer.error) == (status, message)
    assert registry.directory.workers() == [worker(1, m=3.0)]


def test_a_worker_too_many_is_refused_with_429(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may try again later."""
    registry = FakeRegistry()
    monkeypatch.setattr(registry.leases, "_max_workers", 1)
    assert [registry.register(worker(it)).status for it in (1, 1)] == [204, 204]
    answer = registry.register(worker(2))
    assert (answer.status, answer.headers["retry-after"]) == (429, "10")


TOKEN = {"Authorization": "Bearer secret"}


@pytest.mark.parametrize(
    ("token", "trusted", "peer", "headers", "status"),
    [
        (False, (), "127.0.0.1", {}, 204),
        (False, (), "::1", {}, 204),
        (False, (), "::ffff:127.0.0.1", {}, 204),
        (False, (), "192.0.2.9", {}, 403),
        (False, (), "192.0.2.9", TOKEN, 403),
        (False, (), "192.0.2.9", {"X-Forwarded-For": "127.0.0.1"}, 403),
        (False, (), "127.0.0.1", {"Origin": "http://a"}, 403),
        (False, ("192.0.2.0/24",), "192.0.2.9", {}, 204),
        (False, ("192.0.2.0/24",), "::ffff:192.0.2.9", {}, 204),
        (False, ("192.0.2.0/24",), "198.51.100.1", {}, 403),
        (True, (), "127.0.0.1", {}, 401),
        (True, (), "127.0.0.1", {"Authorization": "Bearer wrong"}, 401),
        (True, (), "127.0.0.1", TOKEN, 204),
        (True, (), "192.0.2.9", TOKEN, 204),
        (True, ("127.0.0.0/8",), "127.0.0.1", {}, 204),
        (True, ("127.0.0.0/8",), "127.0.0.1", {"Origin": "http://a"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/workers/w-1", "/worker%73/w-1"], ids=["plain", "escaped"])
def test_a_registration_needs_a_permit(
    token: bool,
    trusted: tuple[str, ...],
    peer: str,
    headers: dict[str, str],
    status: int,
    method: str,
    path: str,
    tmp_path: Path,
) -> None:
    """A withdrawal as well; every client may ask for the next worker."""
    file = tmp_path / "token"
    file.write_text("secret\n")
    registry = FakeRegistry(file if token else None, *trusted)
    registry.leases.put(worker(1, m=1.0), 8)
    body = worker(1, m=2.0).to_json() if method == "PUT" else b""
    assert registry.ask(method, path, body, headers, peer=peer).status == status
    changed = [] if method == "DELETE" else [worker(1, m=2.0)]
    assert registry.directory.workers() == (changed if status == 204 else [worker(1, m=1.0)])
    if status != 204:
        assert registry.ask("GET", "/worker", peer=peer).status == 200


def test_a_refused_registration_is_answered_before_its_body() -> None:
    """The client need not send it."""
    registry = FakeRegistry()
    answer = registry.ask(
        "PUT", "/workers/w-1", headers={"Content-Length": "1000"}, peer="192.0.2.9"
    )
    assert answer.status == 403
    assert answer.error == (
        "registration from 192.0.2.9 needs the registry's option --token-file or --trusted"
    )


def test_the_report_has_all_workers_and_sources() -> None:
    """With their loads and ages; those of a source that is away stay, and the report says so."""
    registry = FakeRegistry()
    seconds = registry.clock.seconds
    away = Members("zk://a", seconds)
    away.replace({"z": WorkerRecord("z", "192.0.2.9", 1)})
    registry.directory.add(away)
    registry.clock.advance(2)
    away.is_away("no answer")
    registry.leases.put(WorkerRecord("w", "127.0.0.1", 2, {"m": ModelLoad(0.25, 0.5, ("3",))}), 8)
    registry.clock.advance(1)
    load = {"versions": ["3"], "expected_wait_ms": 250.0, "added_wait_ms": 500.0}
    assert registry.ask("GET", "/workers").json() == {
        "workers": [
            {"id": "w", "host": "127.0.0.1", "port": 2, "models": {"m": load}}
            | {"source": "leases", "age_s": 1.0, "state": "current"},
            {"id": "z", "host": "192.0.2.9", "port": 1}
            | {"source": "zk://a", "age_s": 3.0, "state": "away"},
        ],
        "sources": [
            {"name": "leases", "state": "current", "workers": 1},
            {"name": "zk://a", "state": "away", "workers": 1, "reason": "no answer", "for_s": 3.0},
        ],
    }
    ready = registry.ask("GET", "/readyz")
    assert (ready.status, ready.json()["away"]) == (200, ["zk://a"])


def test_the_registry_is_ready_until_it_stops() -> None:
    """It is alive in every state."""
    registry = FakeRegistry()
    assert registry.ask("GET", "/readyz").status == 200
    registry.lifecycle.move(State.DRAINING)
    ready = registry.ask("GET", "/readyz")
    assert (ready.status, ready.headers["connection"]) == (503, "close")
    assert registry.ask("GET", "/healthz").status == 200


def test_the_metrics_count_choices_refusals_and_leases() -> None:
    """In the text format of Prometheus."""
    registry = FakeRegistry()
    registry.ask("GET", "/")
    registry.register(worker(1, m=1.0))
    registry.ask("GET", "/")
    registry.ask("PUT", "/workers/w-1", b"")
    registry.ask("DELETE", "/workers/w-1", peer="192.0.2.9")
    registry.register(worker(2, m=1.0), X_Lease_Seconds="1")
    registry.clock.advance(1)
    answer = registry.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = dict(
        line.rsplit(" ", 1)
        for line in answer.body.decode().splitlines()
        if line.startswith("tensorferry_registry_")
    )
    prefix = "tensorferry_registry_"
    assert {name.removeprefix(prefix): float(value) for name, value in found.items()} == {
        'workers{source="leases"}': 1,
        'source_current{source="leases"}': 1,
        "choices_total": 1,
        "not_found_total": 1,
        "refused_registrations_total": 2,
        "leases_ended_total": 1,
    }


def test_addresses_of_this_machine_are_its_own() -> None:
    """Other addresses and names are not; nothing is sent."""
    assert is_own("127.0.0.1")
    assert is_own("127.8.8.8")
    assert is_own("::1")
    assert is_own("LOCALHOST")
    assert not is_own("192.0.2.1")
    assert not is_own("2001:db8::1")
    assert not is_own("elsewhere.example")


def test_one_connection_serves_many_registrations() -> None:
    """A 204 has no body, so that the next answer is read correctly."""
    registry = FakeRegistry()
    record = worker(1, m=1.0)
    put = request("PUT", "/workers/w-1", record.to_json())
    assert put.count(b"\r\n\r\n") == 1
    answers = registry.send(put * 3 + request("GET", "/"))
    assert [it.status for it in answers] == [204, 204, 204, 200]
