"""A server that registers itself: server/process/announcing.py, and its place in the service."""

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from server.discovery.announcer import MAX_UNREADY_SECONDS, Announcement
from server.discovery.engine import CALL_TIMEOUT, EngineError
from server.discovery.engine_url import EngineURL, parse_engine_url
from server.discovery.lookups import Lookups
from server.discovery.own_address import address_towards
from server.discovery.worker_record import WorkerRecord
from server.lifecycle import StartError, State
from server.process.announcing import OwnHost, TokenFile, announcing, is_local
from server.service import IDLE_GRACE_SECONDS
from server.settings.table import Settings
from server.withdrawal import ANNOUNCED_DRAIN_SECONDS
from tests.fakes.http import request
from tests.fakes.registrar import FakeRegistrar
from tests.fakes.server import Log
from tests.fakes.service import FakeReactor, ServiceHarness
from tests.fakes.threads import outcomes
from tests.images import coloured, encoded

pytestmark = pytest.mark.usefixtures("log", "surroundings")

URL = "registry://registry.test"
ALL = "0.0.0.0"  # noqa: S104 - not bound
POST = request(body=encoded(coloured(16, 16), "PNG"))


class Announced(ServiceHarness):
    """A server at 127.0.0.1:8123 with a registry of which the test has the only record."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.registrar = FakeRegistrar()
        self.urls: list[EngineURL] = []

        def open_registrar(url: EngineURL, *_: object) -> FakeRegistrar:
            self.urls.append(url)
            return self.registrar

        monkeypatch.setattr("server.process.announcing.open_registrar", open_registrar)
        super().__init__(
            monkeypatch, Settings(port=8123, announce=f"{URL}?lease=6", default_timeout=inf)
        )

    @property
    def record(self) -> WorkerRecord:
        """The record that the registry has."""
        assert self.registrar.record is not None
        return self.registrar.record


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> Announced:
    """Return a server that is not started."""
    return Announced(monkeypatch)


def test_a_server_is_registered_when_it_is_ready(announced: Announced) -> None:
    """With its address, and its model with the version and the expected wait."""
    announced.start()
    assert announced.registrar.calls == []
    announced.turn()
    record = announced.record
    assert (record.host, record.port) == ("127.0.0.1", 8123)
    assert record.models is not None
    load = record.models["pets"]
    assert load.versions == ("7",)
    assert 0.0 < load.added_wait <= load.expected_wait < 0.1
    assert [it.lease for it in announced.urls] == [6.0]
    assert announced.service.announcement == Announcement(is_registered=True)


def test_the_registered_wait_follows_the_queue(announced: Announced) -> None:
    """Within a second."""
    announced.started()
    assert announced.record.models is not None
    idle = announced.record.models["pets"].expected_wait
    announced.threads.hung.add("model-0")
    for _ in range(6):
        announced.connect().send(POST)
    announced.wait(1.0)
    assert announced.record.models["pets"].expected_wait > 4 * idle
    announced.threads.hung.clear()
    announced.wait(1.0)
    assert announced.record.models["pets"].expected_wait == pytest.approx(idle, rel=0.2)


def test_a_server_that_stops_is_withdrawn_before_it_drains(announced: Announced) -> None:
    """It answers as before until the registry has answered."""
    announced.started()
    announced.registrar.hangs = True
    fired = announced.stop()
    assert announced.registrar.calls[-1] == "withdraw"
    client = announced.connect()
    client.send(POST)
    announced.turn()
    assert (client.answer.status, client.answer.headers.get("connection")) == (200, None)
    assert announced.readyz()[0] == 200
    announced.registrar.go_on()
    assert announced.service.lifecycle.state is State.DRAINING
    announced.wait(ANNOUNCED_DRAIN_SECONDS)
    announced.wait(IDLE_GRACE_SECONDS)
    assert fired == [None]
    assert announced.registrar.calls[-2:] == ["withdraw", "close"]
    assert announced.registrar.record is None
    assert announced.reactor.getDelayedCalls() == []


def test_a_server_whose_lanes_hang_is_withdrawn(announced: Announced) -> None:
    """And registered again when the runs have ended."""
    announced.started()
    announced.threads.hung.add("model-0")
    announced.connect().send(POST)
    announced.wait(announced.service.settings.run_timeout)
    assert announced.readyz()[0] == 503
    announced.wait(1.0)
    announced.wait(MAX_UNREADY_SECONDS)
    assert announced.registrar.record is None
    announced.threads.hung.clear()
    announced.wait(1.0)
    assert announced.record.port == 8123


def test_a_server_is_registered_anew_with_each_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of a former start may last until its lease ends."""
    ids = set()
    for _ in range(2):
        announced = Announced(monkeypatch)
        announced.started()
        ids.add(announced.record.id)
    assert len(ids) == 2


def test_a_server_without_a_tcp_address_cannot_be_registered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It binds none; the address for changes of models is not for requests."""
    settings = Settings(listen=("unix:/run/t.sock",), announce=URL, admin_listen="tcp:1")
    harness = ServiceHarness(monkeypatch, settings)
    with pytest.raises(StartError, match="needs an address of TCP, for example --port 0"):
        harness.service.privilegedStartService()
    assert harness.reactor.ports == []


def test_the_first_tcp_address_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a unix socket; --announce-host replaces its host."""
    settings = Settings(announce=URL, announce_host="gpu-1")
    addresses = [UNIXAddress("/run/t.sock"), IPv4Address("TCP", "10.0.0.2", 8001)]
    registrar = FakeRegistrar()
    monkeypatch.setattr("server.process.announcing.open_registrar", lambda *_: registrar)
    announcer = announcing(
        settings,
        addresses,
        loads=no_loads,
        ready=lambda: True,
        announcement=Announcement(),
        clock=Clock(),
        reactor=FakeReactor(),
    )
    assert announcer is not None
    announcer.start()
    assert registrar.record is not None
    assert (registrar.record.host, registrar.record.port) == ("gpu-1", 8001)


async def no_loads() -> dict[str, Any]:
    """Return no model."""
    return {}


HOSTS = {
    "127.0.0.1 for another machine": ("127.0.0.1", URL, True),
    "127.0.0.1 for this one": ("127.0.0.1", "zk://localhost,127.0.0.2,[::1]", False),
    "some interface": ("10.0.0.2", URL, False),
    "a name": ("gpu-1", URL, False),
}


@pytest.mark.parametrize(("host", "url", "warned"), HOSTS.values(), ids=HOSTS)
def test_a_host_that_other_machines_cannot_reach_is_a_warning(
    host: str, url: str, warned: bool, log: Log
) -> None:
    """Logged once, unless the registry is on this machine as well."""
    lookups = Lookups(address_towards, lambda *_: None, lambda *_: None)
    own = OwnHost(host, parse_engine_url(url), lookups, Clock())
    for _ in range(2):
        assert outcomes(ensureDeferred(own.find())) == [host]
    assert len(log.lines()) == warned
    assert all("127.0.0.1, which other machines cannot reach" in it for it in log.lines())


class OnAllInterfaces:
    """The host of a server that listens on all interfaces; the test runs the lookups."""

    def __init__(self, *answers: str | OSError) -> None:
        self.answers = [*answers]
        self.threads = list[Callable[[], None]]()
        self.clock = Clock()
        lookups = Lookups(
            self._towards,
            lambda call, *arguments: call(*arguments),
            lambda call, _name: self.threads.append(call),
        )
        self._host = OwnHost(ALL, parse_engine_url(URL), lookups, self.clock)

    def _towards(self, listening: str, url: EngineURL) -> str:
        assert (listening, url) == (ALL, parse_engine_url(URL))
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def find(self) -> list[object]:
        """Ask for the host, and return the outcome when there is one."""
        return outcomes(ensureDeferred(self._host.find()))

    def step(self) -> None:
        """Let the oldest thread end."""
        self.threads.pop(0)()


def test_on_all_interfaces_the_host_is_the_address_that_leads_to_the_registry() -> None:
    """Asked again while it cannot be found; then kept."""
    own = OnAllInterfaces(OSError(-2, "Name or service not known"), "10.0.0.7")
    found = own.find()
    own.step()
    assert [str(it) for it in found] == [
        "the address of this machine is unknown: Name or service not known; set --announce-host"
    ]
    assert isinstance(found[0], EngineError)
    found = own.find()
    own.step()
    assert found == own.find() == ["10.0.0.7"]
    assert own.threads == []


def test_a_lookup_that_hangs_is_an_error_in_time() -> None:
    """The next tries wait for the same thread."""
    own = OnAllInterfaces("10.0.0.7")
    for _ in range(3):
        found = own.find()
        own.clock.advance(CALL_TIMEOUT)
        assert [type(it) for it in found] == [EngineError]
        assert "the name of the registry is not resolved within 3 s" in str(found[0])
    found = own.find()
    assert len(own.threads) == 1
    own.step()
    assert found == ["10.0.0.7"]
    assert own.clock.getDelayedCalls() == []


@pytest.mark.full
def test_the_address_that_leads_to_a_registry_is_that_of_the_route() -> None:
    """The kernel selects it; a registry without an address of the family is an error."""
    assert address_towards(ALL, parse_engine_url("zk://127.0.0.1")) == "127.0.0.1"
    assert is_local(address_towards("::", parse_engine_url("zk://127.0.0.1")))
    with pytest.raises(OSError, match=r"[Nn]ame|[Aa]ddress"):
        address_towards(ALL, parse_engine_url("zk://[::1]"))


def test_the_token_is_read_from_its_file_for_each_call(tmp_path: Path) -> None:
    """It may be replaced while the server runs."""
    file = tmp_path / "token"
    token = TokenFile(file)
    for text in ("one\n", "two"):
        file.write_text(text)
        assert token() == text.strip()
    file.unlink()
    with pytest.raises(EngineError, match="No such file"):
        token()
    assert TokenFile(None)() is None
