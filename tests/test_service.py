"""The whole service: start and use: server/service.py."""

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IReactorTime

from model.errors import ModelError
from server.lifecycle import StartError, State
from server.repository.changes import RepositoryChanges
from server.repository.reconciler import Reconciler
from server.settings.table import Settings
from tests.fakes.http import PEER, Client, HalfCloseable, read_answers, request
from tests.fakes.server import Log
from tests.fakes.service import ServiceHarness
from tests.images import coloured, encoded

IMAGE = encoded(coloured(16, 16), "PNG")
POST = request(body=IMAGE)


pytestmark = pytest.mark.usefixtures("log", "surroundings")


# --- start


def test_a_service_is_inert_until_it_starts(harness: ServiceHarness) -> None:
    """No thread, socket, timer or file, because twistd may fork before the start."""
    assert harness.reactor.ports == []
    assert harness.reactor.getDelayedCalls() == []
    assert (harness.threads.started, harness.pool.threads, harness.loader.loads) == ([], [], 0)
    assert harness.service.running == 0


def test_changes_on_all_addresses_are_made_by_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes one at a time: the next is computed from what the one before it has written."""
    made = []

    class Counted(RepositoryChanges):
        def __init__(self, reconciler: Reconciler, clock: IReactorTime) -> None:
            super().__init__(reconciler, clock)
            made.append(self)

    monkeypatch.setattr("server.service.RepositoryChanges", Counted)
    harness = ServiceHarness(monkeypatch, Settings(admin_listen="tcp:12481")).started()
    assert (len(harness.reactor.ports), len(made)) == (2, 1)
    harness.stop()


def test_a_start_without_a_problem_logs_no_warning(harness: ServiceHarness, log: Log) -> None:
    """The first heartbeat is after the start of the decode threads."""
    harness.started()
    assert [line for line in log.lines() if "alive" in line] == []


def test_it_listens_before_it_loads(harness: ServiceHarness) -> None:
    """A taken port is an error at once; a client gets a 503 with Retry-After."""
    harness.service.privilegedStartService()
    assert len(harness.reactor.ports) == 1
    assert harness.loader.loads == 0
    harness.service.startService()
    client = harness.connect()
    client.send(POST)
    assert client.answer.status == 503
    assert client.answer.error == "the server is not ready: starting"
    assert client.answer.headers["retry-after"] == "1"
    assert client.is_open()
    assert harness.readyz() == (503, {"ready": False, "state": "starting", "progress": "starting"})
    for path in ("/status", "/debug/batcher"):
        client.send(request("GET", path))
        assert (client.answers[-1].status, client.answers[-1].error) == (
            503,
            client.answers[0].error,
        )
        assert client.answers[-1].headers["retry-after"] == "1"
    harness.threads.step()
    harness.reactor.from_threads.drain()
    progress = harness.service.lifecycle.progress
    assert progress == "loading pets/7"
    assert harness.readyz()[1] == {"ready": False, "state": "starting", "progress": progress}
    harness.turn()
    assert harness.readyz() == (200, {"ready": True, "state": "ready"})
    client.send(POST)
    harness.turn()
    assert client.statuses == [503, 503, 503, 200]
    assert harness.failures == []


def test_a_file_name_cannot_break_a_line(harness: ServiceHarness) -> None:
    """Of the progress, of the status for systemd, or of the error."""
    harness.loader.error = ModelError("a\nb\udcff.pb: not a model")
    harness.service._progress("converting a\nb\udcff.h5")
    assert harness.service.lifecycle.progress == "converting a\\nb\\udcff.h5"
    harness.start()
    harness.turn()
    assert harness.failures == ["a\\nb\\udcff.pb: not a model"]


def test_on_loaded_is_called_once_after_the_load(harness: ServiceHarness) -> None:
    """Before the server is ready, so that no request waits for it."""
    harness.start()
    harness.threads.step()
    assert harness.states_when_loaded == []
    harness.turn()
    harness.wait(60)
    assert harness.states_when_loaded == [State.STARTING]
    assert harness.service.lifecycle.state is State.READY


def test_the_log_names_the_addresses(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """As URLs where possible."""
    listen = ("tcp:80:interface=127.0.0.1", r"tcp:81:interface=\:\:1", "unix:/run/a.sock")
    harness = ServiceHarness(monkeypatch, Settings(listen=listen))
    harness.service.privilegedStartService()
    assert log.lines() == [
        "listening on http://127.0.0.1:80",
        "listening on http://[::1]:81",
        "listening on /run/a.sock",
    ]


def test_a_taken_port_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the ports that were bound are closed."""
    listen = ("tcp:80:interface=127.0.0.1", "tcp:81:interface=127.0.0.1", "tcp:82")
    harness = ServiceHarness(monkeypatch, Settings(listen=listen))
    harness.reactor.taken.add(81)
    with pytest.raises(StartError) as caught:
        harness.service.privilegedStartService()
    assert str(caught.value) == (
        "cannot listen on tcp:81:interface=127.0.0.1: Address already in use"
    )
    assert [port.stopped for port in harness.reactor.ports] == [True]
    assert harness.loader.loads == 0


@pytest.mark.parametrize("error", [ModelError("no such file: x.pb"), ValueError("one\ntwo")])
def test_a_failed_load_is_reported_once_and_in_one_line(
    error: Exception, harness: ServiceHarness, log: Log
) -> None:
    """An unexpected error is also logged, with its traceback."""
    harness.loader.error = error
    harness.start()
    harness.turn()
    (line,) = harness.failures
    expected = isinstance(error, ModelError)
    assert line == ("no such file: x.pb" if expected else "the start failed: one")
    assert len(log.flush(ValueError)) == (not expected)
    assert harness.readyz()[0] == 503
    harness.stop()
    assert harness.threads.running == []
    assert len(harness.failures) == 1


# --- use


def test_an_image_is_answered_with_labels(harness: ServiceHarness) -> None:
    """Through all parts of the server; the headers report the batch."""
    client = harness.started().connect()
    client.send(request(target="/?k=2", body=IMAGE, headers={"X-Request-Id": "mine"}))
    harness.turn()
    answer = client.answer
    assert answer.status == 200
    (first, score), (second, _) = answer.json()
    assert (first, second) == ("cat", "dog")
    assert score > 0
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-model-version"] == "pets/7"
    assert answer.headers["server-timing"].endswith('batch;desc="1/4 idle"')
    assert client.is_open()
    assert harness.service.site.connections.limits.held == 0


def test_the_server_applies_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that it passes to its parts."""
    settings = Settings(
        max_body_bytes=1000,
        max_queue_bytes=900,
        max_pixels=100,
        keep_alive_timeout=4.0,
        num_top_predictions=1,
        max_batch_size=2,
        max_queue_delay=0.0,
    )
    harness = ServiceHarness(monkeypatch, settings).started()
    half = harness.connect()
    half.send(request(body=bytes(600))[:-1])
    sizes = {600: 429, 901: 413, 1001: 413}
    for size, status in sizes.items():
        client = harness.connect()
        client.send(request(body=bytes(size)))
        harness.turn()
        assert client.answer.status == status
        client.hang_up()
    half.hang_up()
    small = encoded(coloured(8, 8), "PNG")
    for body, status in ((IMAGE, 413), (small, 200)):
        client = harness.connect()
        client.send(request(body=body))
        harness.turn()
        assert client.answer.status == status
    assert len(client.answer.json()) == 1
    assert client.answer.headers["server-timing"].endswith('batch;desc="1/2 fixed"')
    harness.wait(4.0)
    assert not client.is_open()


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("/", {"error", "status", "request_id"}),
        ("/models/pets", {"error", "status", "request_id"}),
        ("/v1/models/pets:predict", {"error"}),
        ("/v2/models/pets/infer", {"error"}),
    ],
)
def test_a_request_over_the_limit_of_those_in_flight_is_refused_in_each_dialect(
    path: str, members: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection stays, it counts as refused, and probes are still answered."""
    harness = ServiceHarness(monkeypatch, Settings(max_requests_in_flight=1)).started()
    first, second = harness.connect(), harness.connect()
    first.send(POST)
    second.send(request("POST", path, b"{}"))
    answer = second.answer
    assert (answer.status, answer.headers["retry-after"], set(answer.json())) == (503, "1", members)
    assert harness.readyz()[0] == 200
    counts = harness.service.models.requests["pets"]
    assert counts.ended == {("refused", "unavailable"): 1}
    harness.turn()
    second.send(POST)
    harness.turn()
    assert (first.statuses, second.statuses) == ([200], [503, 200])


@pytest.mark.parametrize("peer", [PEER, UNIXAddress("/run/client.sock"), UNIXAddress(None)])
def test_the_access_log_has_a_line_for_each_answer(
    peer: IAddress, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """And for each refusal; for each type of client address."""
    harness = ServiceHarness(monkeypatch, Settings(access_log=True)).started()
    client = Client(harness.service.site, harness.reactor, peer=peer)
    client.send(request("GET", "/readyz?x=1", headers={"X-Request-Id": "mine"}))
    client.send(request("POST", "/", IMAGE, headers={"X-Request-Id": "yours"}))
    harness.turn()
    client.send(b"nonsense\r\n")
    assert client.statuses == [200, 200, 400]
    first, second, third = log.lines()[-3:]
    shown = "192.0.2.7" if peer is PEER else "unix"
    sizes = [len(answer.body) for answer in client.answers]
    assert first == f"{shown} GET /readyz?x=1 200 {sizes[0]} mine whole;dur=0.000"
    assert second.startswith(f"{shown} POST / 200 {sizes[1]} yours decode;dur=")
    assert third.startswith(f"{shown} - - 400 {sizes[2]} ")


def test_a_client_behind_a_proxy_has_its_own_address_in_the_access_log(
    monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """The address in the PROXY header; without that header nothing is answered."""
    listen = ("haproxy:tcp:80:interface=127.0.0.1",)
    harness = ServiceHarness(monkeypatch, Settings(access_log=True, listen=listen)).started()
    site: Any = harness.reactor.ports[0].factory  # Any: Twisted's wrapper of a site is untyped
    proxy = IPv4Address("TCP", "127.0.0.1", 5000)
    answers = []
    for head in (b"", b"PROXY TCP4 198.51.100.9 192.0.2.1 5000 80\r\n"):
        transport: Any = HalfCloseable(harness.reactor, proxy)
        transport.protocol = site.buildProtocol(proxy)
        transport.protocol.makeConnection(transport)
        transport.protocol.dataReceived(head + request("GET", "/readyz"))
        answers.append([answer.status for answer in read_answers(transport.value())])
        assert transport.disconnecting == (not head)
    assert answers == [[], [200]]
    assert log.lines()[-1].startswith("198.51.100.9 GET /readyz 200 ")
    assert harness.reactor.ports[0].waiting == 1024


def test_systemd_gets_the_state_of_the_server(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The progress, that it is ready, the watchdog signal, and that it stops."""
    sent: list[str] = []
    monkeypatch.setattr("server.service.notify", sent.append)
    monkeypatch.setattr("server.process.systemd.notify", sent.append)
    harness.start()
    harness.turn()
    beat = "WATCHDOG=1"
    assert "STATUS=loading pets/7" in sent
    # The watchdog signal begins before the server is ready.
    assert [line for line in sent if line != beat][-1] == "READY=1\nSTATUS=ready"
    sent.clear()
    harness.wait(1.0)
    harness.wait(1.0)
    assert sent == [beat, beat]
    for _ in range(31):
        harness.wait(1.0, model=False)
    sent.clear()
    harness.wait(1.0, model=False)
    assert sent == []  # a model thread hangs, so systemd must restart the server
    harness.wait(1.0)
    assert sent == [beat]
    harness.stop()
    assert sent[1] == "STOPPING=1\nSTATUS=draining"


def test_a_server_with_a_dead_decode_thread_is_not_healthy(harness: ServiceHarness) -> None:
    """So that a supervisor can restart it."""
    client = harness.started().connect()
    client.send(request("GET", "/healthz"))
    harness.pool.threads[0].alive = False
    client.send(request("GET", "/healthz"))
    assert client.statuses == [200, 503]


def test_without_an_access_log_requests_are_not_logged(harness: ServiceHarness, log: Log) -> None:
    """Including bad requests."""
    client = harness.started().connect()
    before = log.lines()
    client.send(POST, request("GET", "/none"))
    harness.turn()
    assert client.statuses == [200, 404]
    assert log.lines() == before


def test_a_failed_run_is_a_500_and_is_logged_once(harness: ServiceHarness, log: Log) -> None:
    """With the id of the request; the next request is served."""
    client = harness.started().connect()
    harness.runner.errors.append(ValueError("bad op\n/secret/path"))
    client.send(request(body=IMAGE, headers={"X-Request-Id": "mine"}))
    harness.turn()
    assert client.answer.status == 500
    assert client.answer.error == "the run failed: ValueError: bad op"
    failed = [line for line in log.errors() if line.startswith("request mine failed")]
    assert len(failed) == len(log.errors()) == 1
    log.events.clear()
    client.send(POST)
    harness.turn()
    assert client.statuses == [500, 200]


@pytest.mark.parametrize("moment", ["decoding waits", "it is decoded", "it is queued", "it runs"])
def test_a_hang_up_does_not_affect_other_requests(moment: str, harness: ServiceHarness) -> None:
    """Work that has not begun is skipped, and no error is logged."""
    harness.started()
    busy, gone, other = harness.connect(), harness.connect(), harness.connect()
    runs = len(harness.runner.fed)
    if moment in ("it is queued", "it runs"):
        busy.send(POST)
        harness.turn(model=False)
    gone.send(POST)
    if moment == "it is decoded":
        harness.pool.step()
    elif moment == "it is queued":
        harness.turn(model=False)
    elif moment == "it runs":
        harness.turn(model=False)
        harness.threads.step()  # the run of the busy client
        harness.reactor.from_threads.drain()
        harness.threads.step()  # the run of the client that is gone
    gone.hang_up()
    other.send(POST)
    harness.turn()
    assert gone.received == b""
    assert other.statuses == [200]
    expected = {"decoding waits": 1, "it is decoded": 1, "it is queued": 2, "it runs": 3}
    assert len(harness.runner.fed) - runs == expected[moment]
    assert harness.service.site.connections.limits.held == 0
