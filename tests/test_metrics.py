"""The metrics of a whole server, as a scrape reads them: server/metrics/."""

import gzip
from collections.abc import Iterable, Mapping
from functools import partial

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics_families,
)
from prometheus_client.parser import text_string_to_metric_families as text_families

from server.metrics.declared import METRICS, OF_WORKERS
from server.metrics.gpu import GPUs
from server.metrics.readings import Readings
from server.metrics.server_metrics import ServerMetrics
from tests.fakes.gpu import FakeNVML
from tests.fakes.http import Answer, Client, request
from tests.fakes.service import ServiceHarness
from tests.images import coloured, encoded

pytestmark = pytest.mark.usefixtures("log", "surroundings")

IMAGE = encoded(coloured(16, 16), "PNG")
SCRAPE = request("GET", "/metrics")
OPEN = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3"}

#: Labels and values, by the name of a sample.
Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ServiceHarness:
    """Return a server that is not started, on a machine with a GPU."""
    monkeypatch.setattr("server.service.GPUs", partial(GPUs, load=FakeNVML))
    return ServiceHarness(monkeypatch)


def scraped(harness: ServiceHarness, scrape: bytes = SCRAPE) -> Answer:
    """Return the answer to *scrape* on a connection of its own."""
    client = harness.connect()
    client.send(scrape)
    harness.turn()
    client.hang_up()
    return client.answer


def series_of(families: Iterable[Family]) -> Series:
    """Return the values of all series."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    """Return the value of the series *name* with *labels*; fails if there is none."""
    return series[f"tensorferry_{name}", frozenset(labels.items())]


def classify(harness: ServiceHarness, body: bytes = IMAGE) -> Client:
    """Send an image to the server, and let it answer."""
    client = harness.connect()
    client.send(request(body=body))
    harness.turn()
    return client


@pytest.mark.parametrize("open_metrics", [False, True])
def test_every_metric_has_its_type_and_labels(harness: ServiceHarness, open_metrics: bool) -> None:
    """In both formats, as the parsers of prometheus_client read them."""
    classify(harness.started())
    text = scraped(harness, request("GET", "/metrics", headers=OPEN if open_metrics else {}))
    parse = open_metrics_families if open_metrics else text_families
    found = {}
    for family in parse(text.body.decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {*family.samples[0].labels} - {"le"}
        assert all({*sample.labels} - {"le"} == labels for sample in family.samples)
        assert family.documentation.endswith(".") or not name.startswith("tensorferry_")
        found[name] = family.type, labels
    ours = {name for name in found if name.startswith("tensorferry_")}
    assert {name: found[name] for name in ours} == {
        metric.name: (metric.kind.value, {*metric.labels})
        for metric in METRICS
        if metric not in OF_WORKERS
    }
    assert {"process_cpu_seconds_total", "python_gc_collections_total"} <= found.keys()


def test_the_values_are_those_of_the_traffic(harness: ServiceHarness) -> None:
    """One image is answered, one refused; one is being received, one is answered."""
    classify(harness.started())
    assert classify(harness, b"no image").answer.status == 400
    sending = harness.connect()
    sending.send(request(body=IMAGE)[:-7])
    series = series_of(text_families(scraped(harness).body.decode()))
    version = {"model": "pets", "version": "7"}
    assert value(series, "requests_total", model="pets") == 3
    assert value(series, "requests_in_progress", model="pets") == 1
    ended = {"model": "pets", "cause": ""}
    assert value(series, "requests_ended_total", outcome="answered", **ended) == 1
    assert value(series, "request_phase_seconds_count", phase="whole", **version) == 1
    assert value(series, "batch_rows_bucket", le="1.0", **version) == 1
    assert value(series, "launches_total", reason="idle", **version) == 1
    assert value(series, "run_seconds_total", **version) == 1 / 64
    assert value(series, "rows_total", outcome="answered", stage="", **version) == 1
    assert value(series, "expected_wait_seconds", **version) == pytest.approx(0.1 / 64)
    assert value(series, "model_versions", model="pets", state="serving") == 1
    assert value(series, "loads_total", model="pets", outcome="loaded") == 1
    assert value(series, "lane_busy_seconds_total", lane="0") >= 1 / 64
    assert value(series, "decode_jobs_total") == 2
    assert value(series, "http_responses_total", code="200") == 1
    assert value(series, "http_responses_total", code="400") == 1
    assert value(series, "connections_open") == 4
    assert value(series, "request_body_bytes") == len(IMAGE) - 7
    assert value(series, "ready") == 1
    assert value(series, "gpu_memory_used_bytes", gpu="0") == 1000


def test_waiting_rows_show_in_the_queue_and_in_the_expected_wait(harness: ServiceHarness) -> None:
    """Those of a version whose lane hangs, until its run is given up."""
    harness.started()
    harness.threads.hung.add("model-0")
    for _ in range(3):
        classify(harness)
    harness.reactor.advance(1 / 128)  # half of the time of a run
    series = series_of(text_families(scraped(harness).body.decode()))
    version = {"model": "pets", "version": "7"}
    assert value(series, "queue_rows", **version) == 2
    assert value(series, "queue_oldest_seconds", **version) == 1 / 128
    assert value(series, "expected_wait_seconds", **version) == pytest.approx(
        (1 / 128 + 3 / 64) * 1.1 - 1 / 64  # of the run under way, the waiting rows and the new one
    )
    harness.reactor.advance(0.25)
    series = series_of(text_families(scraped(harness).body.decode()))
    assert value(series, "expected_wait_seconds", **version) == 0.25 + 1 / 128  # the oldest
    harness.reactor.advance(harness.service.settings.run_timeout)
    series = series_of(text_families(scraped(harness).body.decode()))
    assert value(series, "queue_rows", **version) == 0
    assert value(series, "expected_wait_seconds", **version) == float("inf")
    assert (value(series, "lanes_hung"), value(series, "ready")) == (1, 0)


def test_a_decode_pool_that_hangs_shows_in_the_metrics(harness: ServiceHarness) -> None:
    """The text is not made on its threads."""
    harness.started()
    for _ in range(2):
        harness.connect().send(request(body=IMAGE))
    harness.reactor.advance(0.25)
    client = harness.connect()
    client.send(SCRAPE)
    while harness.threads.step():
        harness.reactor.from_threads.drain()
    series = series_of(text_families(client.answer.body.decode()))
    assert value(series, "decode_jobs_waiting") == 2
    assert value(series, "decode_oldest_job_seconds") == 0.25


@pytest.mark.parametrize(
    ("accept", "encodings", "is_open", "zipped"),
    [
        (None, None, False, False),
        ("*/*", "gzip", False, True),
        (OPEN["Accept"], "", True, False),
        ("Application/OpenMetrics-Text; version=x", "br, gzip;q=1", True, True),
        ("application/openmetrics-text;q=0, text/plain", "gzip;q=0.0", False, False),
        ("text/html", "zip", False, False),
    ],
)
def test_the_format_is_what_the_client_accepts(
    harness: ServiceHarness,
    accept: str | None,
    encodings: str | None,
    is_open: bool,
    zipped: bool,
) -> None:
    """Prometheus' text by default; in the versions that the server writes, whatever is asked."""
    asked = {"Accept": accept, "Accept-Encoding": encodings}
    headers = {name: text for name, text in asked.items() if text is not None}
    answer = scraped(harness.started(), request("GET", "/metrics", headers=headers))
    kind = "application/openmetrics-text; version=1.0.0" if is_open else "text/plain; version=0.0.4"
    assert (answer.status, answer.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    assert (answer.headers.get("content-encoding") == "gzip") is zipped
    text = gzip.decompress(answer.body) if zipped else answer.body
    assert text.startswith(b"# HELP tensorferry_")
    assert text.endswith(b"# EOF\n") is is_open


def test_a_server_that_starts_or_drains_has_metrics(harness: ServiceHarness) -> None:
    """Without those of the models, before one is loaded."""
    harness.service.privilegedStartService()
    harness.service.startService()
    client = harness.connect()
    client.send(SCRAPE)
    harness.threads.hung.add("loading")
    harness.turn()
    assert b"\ntensorferry_ready 0.0\n" in client.answer.body
    assert b'model="pets"' not in client.answer.body
    harness.threads.hung.clear()
    harness.turn()
    client.send(SCRAPE)
    harness.turn()
    assert b"\ntensorferry_ready 1.0\n" in client.answers[-1].body
    stopped = harness.service.stopService()
    client.send(SCRAPE)
    harness.turn()
    assert b"\ntensorferry_ready 0.0\n" in client.answers[-1].body
    harness.wait(1.0)
    assert stopped.called
    assert harness.threads.running == []
    assert harness.reactor.getDelayedCalls() == []


def test_scrapes_that_arrive_meanwhile_share_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """One text of each format; a client that hangs up does not affect the other scrapes."""
    reads: list[Readings] = []

    class Counted(ServerMetrics):
        def read(self) -> Readings:
            reads.append(super().read())
            return reads[-1]

    monkeypatch.setattr("server.service.ServerMetrics", Counted)
    harness = ServiceHarness(monkeypatch).started()
    clients = [harness.connect() for _ in range(4)]
    for client in clients[:3]:
        client.send(SCRAPE)
    clients[3].send(request("GET", "/metrics", headers=OPEN))
    clients[0].hang_up()
    harness.turn()
    assert [client.statuses for client in clients] == [[], [200], [200], [200]]
    first, second = (client.answer for client in clients[1:3])
    assert first.body == second.body
    assert len(reads) == 2
    scraped(harness)
    assert len(reads) == 3


def test_scrapes_of_both_formats_at_one_moment_have_the_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a model that was removed has no loads."""
    monkeypatch.setattr("server.service.GPUs", partial(GPUs, load=FakeNVML))
    harness = ServiceHarness(monkeypatch).started()
    harness.service.reconciler.loads["removed", "failed"] += 1
    clients = [harness.connect() for _ in range(2)]
    clients[0].send(SCRAPE)
    clients[1].send(request("GET", "/metrics", headers=OPEN))
    harness.turn()
    for client in clients:
        assert b"tensorferry_gpu_memory_used_bytes{" in client.answer.body
        assert b'model="pets",outcome="loaded"' in client.answer.body
        assert b'model="removed"' not in client.answer.body


@pytest.mark.full
def test_no_request_adds_a_series(harness: ServiceHarness) -> None:
    """Whatever names of models, versions, paths and methods it makes up."""

    def ask(name: str) -> None:
        json = {"Content-Type": "application/json"}
        client = harness.connect()
        for method, path in (
            ("POST", f"/models/{name}"),
            ("POST", f"/models/pets/versions/{name}"),
            ("POST", f"/v1/models/{name}:predict"),
            ("POST", f"/v2/models/pets/versions/{name}/infer"),
            ("GET", f"/{name}"),
            (name, "/"),
            ("PUT", "/metrics"),
        ):
            client.send(request(method, path, b"{}", json))
            harness.turn()
        client.hang_up()

    classify(harness.started())
    for name in ("made-up", "MADE"):
        ask(name)
    before = series_of(text_families(scraped(harness).body.decode())).keys()
    for number in range(1000):
        ask(f"x{number}")
    after = series_of(text_families(scraped(harness).body.decode())).keys()
    assert after == before
