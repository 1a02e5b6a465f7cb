"""Run Prometheus' own programs: promtool, and a server that scrapes one of ours."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from tests.integration.clients import get
from tests.integration.servers import ROOT, free_port, wait_for

DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus-alerts.yaml"
SCRAPE = DEPLOY / "prometheus-scrape.yaml"
DASHBOARD = DEPLOY / "grafana-dashboard.json"
SCALED_OBJECT = DEPLOY / "keda-scaledobject.yaml"

SCRAPE_INTERVAL = 0.5  #: seconds, so that a test needs few of them

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)


def promtool(*arguments: str | Path, text: str = "") -> str:
    """Return the output of promtool, which reads *text*; fail with it if it finds a mistake."""
    ran = subprocess.run(
        ["promtool", *arguments], input=text, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def alerts() -> Mapping[str, Mapping[str, Any]]:
    """Return the rules of the alerts, by name."""
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


class Prometheus:
    """A Prometheus that scrapes one server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def query(self, expression: str) -> list[Mapping[str, Any]]:
        """Return the series of the result, each with ``metric`` and ``value``."""
        answer = get(self._port, f"/api/v1/query?{urlencode({'query': expression})}")
        assert answer.status == 200, (expression, answer.body)
        found: list[Mapping[str, Any]] = json.loads(answer.body)["data"]["result"]
        return found

    def is_ready(self) -> bool:
        """Return whether a scrape has succeeded."""
        try:
            if get(self._port, "/-/ready").status != 200:
                return False
        except OSError:
            return False
        return bool(self.query('up{job="tensorferry"} == 1'))


@contextmanager
def scraping(port: int, folder: Path) -> Iterator[Prometheus]:
    """Scrape the server at *port* with the job in our own file; end Prometheus with the block."""
    job = yaml.safe_load(SCRAPE.read_text())["scrape_configs"][0]
    job["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
    interval = f"{SCRAPE_INTERVAL * 1000:.0f}ms"
    job["scrape_interval"] = job["scrape_timeout"] = interval
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    own = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=prometheus",
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    prometheus = Prometheus(own)
    try:
        wait_for(prometheus.is_ready, f"scrape: {folder / 'prometheus.log'}")
        yield prometheus
    finally:
        process.terminate()
        process.wait(20)
