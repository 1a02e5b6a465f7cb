"""deploy/ and its pages: Prometheus accepts the files, and a server has every series they name."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from server.metrics.declared import OF_WORKERS
from tests.integration.clients import get, open_socket, post, request_bytes
from tests.integration.faults import PATIENT, image, row, serving_faulty
from tests.integration.faulty_server import FaultyModel
from tests.integration.prometheus import (
    ALERTS,
    DASHBOARD,
    SCALED_OBJECT,
    SCRAPE,
    alerts,
    needs_prometheus,
    promtool,
)
from tests.integration.series import Series, selectors, series_of, unknown_labels
from tests.integration.servers import ROOT, Server

pytestmark = pytest.mark.full

CASES = ROOT / "tests" / "data" / "alert_cases.yaml"
PAGES = (ROOT / "docs" / "operations.md", ROOT / "docs" / "metrics.md")

#: Grafana's own variable, in the expressions of panels.
INTERVAL = "$__rate_interval"


def panel_expressions() -> list[str]:
    """Return the expressions of all panels."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def scaling_expression() -> str:
    """Return the query of the ScaledObject."""
    (trigger,) = yaml.safe_load(SCALED_OBJECT.read_text())["spec"]["triggers"]
    return str(trigger["metadata"]["query"])


def expressions() -> list[str]:
    """Return the expressions of all files."""
    rules = [rule["expr"] for rule in alerts().values()]
    return [*rules, *panel_expressions(), scaling_expression()]


# --- Prometheus' own checks


@needs_prometheus
def test_prometheus_accepts_the_files(tmp_path: Path) -> None:
    """The alerts, the jobs, and each expression of the dashboard and of the ScaledObject."""
    promtool("check", "rules", ALERTS)
    content = yaml.safe_load(SCRAPE.read_text())
    for job in content["scrape_configs"]:
        if job.pop("kubernetes_sd_configs", None):  # Debian's Prometheus has no Kubernetes
            job["static_configs"] = [{"targets": ["127.0.0.1:12480"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(content))
    (tmp_path / ALERTS.name).write_text(ALERTS.read_text())
    assert "SUCCESS: 15 rules found" in promtool("check", "config", tmp_path / "prometheus.yml")
    rules = [
        {"record": f"panel:{number}", "expr": each.replace(INTERVAL, "5m")}
        for number, each in enumerate([*panel_expressions(), scaling_expression()])
    ]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]})
    )
    promtool("check", "rules", tmp_path / "rules.yml")


@needs_prometheus
def test_the_alerts_fire_for_faults_alone() -> None:
    """For the series of tests/data/alert_cases.yaml."""
    promtool("test", "rules", CASES)


# --- the series of a real server


def cause_every_outcome(server: Server) -> None:
    """Send requests that are answered, fail, expire, are refused and are cancelled."""
    port = server.port
    assert post(port, image(0), path="/models/photos").status == 200
    assert post(port, row(0), path="/models/slow").status == 200
    assert post(port, row(-1), path="/models/slow").status == 500
    assert post(port, b"{}", path="/models/slow").status == 400
    hurry = {"X-Request-Timeout-Ms": "200", "X-Request-Priority": "low"}
    with open_socket(port) as busy, open_socket(port) as waits:
        busy.sendall(request_bytes(row(1), path="/models/slow", headers=PATIENT))
        time.sleep(0.2)
        waits.sendall(request_bytes(row(0), path="/models/slow", headers=PATIENT))
        time.sleep(0.2)
        waits.shutdown(socket.SHUT_RDWR)  # cancelled in the queue
        assert post(port, row(0), path="/models/slow", headers=hurry).status == 504
        assert busy.recv(1024)
    with open_socket(port) as busy:
        busy.sendall(request_bytes(row(0, rows=400), path="/models/slow", headers=PATIENT))
        time.sleep(0.2)
        assert post(port, row(0), path="/models/slow", headers=hurry).status == 429
        assert busy.recv(1024)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Series]]:
    """The series of a server after requests of every outcome, and after a load that failed."""
    models = {
        "slow": FaultyModel(),
        "photos": FaultyModel(takes_images=True),
        "broken": FaultyModel(fails=True),
    }
    with serving_faulty(tmp_path_factory.mktemp("deploy"), models) as server:
        cause_every_outcome(server)
        yield series_of(get(server.port, "/metrics").body.decode())


def missing(text: str, series: list[Series]) -> set[str]:
    """Return the selectors in *text* without series, except those of a GPU and of workers."""
    return {
        f"{each.name}{{{each.matchers}}}"
        for each in selectors(text)
        if not each.name.startswith("tensorferry_gpu_")
        and each.name not in {it.name for it in OF_WORKERS}
        and not any(map(each.selects, series))
        # a page names a histogram without the suffix of its samples
        and not any(it.name == f"{each.name}_count" for it in series)
    }


def test_every_expression_selects_series_of_a_server(series: list[Series]) -> None:
    """By names, labels and the values of labels; and groups by labels that these series have."""
    for each in expressions():
        assert missing(each, series) == set(), each
        assert unknown_labels(each, series) == set() or "gpu" in each, each


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_metric_of_a_page_is_one_of_a_server(page: Path, series: list[Series]) -> None:
    """With the labels that the page names."""
    text = page.read_text()
    assert list(selectors(text)), page
    assert missing(text, series) == set()


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("tensorferry_queue_row", {"tensorferry_queue_row{}"}),
        ('tensorferry_queue_rows{modell="slow"}', {'tensorferry_queue_rows{modell="slow"}'}),
        (
            'tensorferry_requests_ended_total{outcome="refuse"}',
            {'tensorferry_requests_ended_total{outcome="refuse"}'},
        ),
        ('tensorferry_queue_rows{model=~"$model"} > 1', set()),
    ],
)
def test_the_check_finds_a_mistake(expression: str, wrong: set[str], series: list[Series]) -> None:
    """In the name, in a label, or in the value of a label."""
    assert missing(expression, series) == wrong
    assert unknown_labels("sum by (phases) (tensorferry_queue_rows)", series) == {"phases"}
