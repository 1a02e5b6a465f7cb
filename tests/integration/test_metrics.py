"""The metrics of real servers: promtool accepts them, and a scrape costs the reactor little."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.numpy_backend import LinearModel
from tests.images import coloured, encoded
from tests.integration.clients import get, post
from tests.integration.prometheus import needs_prometheus, promtool
from tests.integration.servers import run_program, serving
from tests.integration.supervised import NUMPY_SERVER

pytestmark = pytest.mark.full


#: The most CPU time of the reactor thread for a scrape of 50 models, in milliseconds.
MAX_REACTOR_MS = 50.0


@needs_prometheus
def test_promtool_finds_nothing_wrong_with_the_metrics_of_a_server(tmp_path: Path) -> None:
    """After answers and an error."""
    weights = np.ones((4, 4, 3, 2), np.float32), np.ones((2, 3), np.float32)
    LinearModel(*weights).save(tmp_path / "model.npz")
    (tmp_path / "model.toml").write_text('name = "pets"\nversion = 1\n')
    with serving(
        "--model", "model.npz", cache_home=tmp_path, folder=tmp_path, command=NUMPY_SERVER,
        patience=30,
    ) as server:  # fmt: skip
        tensors = json.dumps({"signature_name": "numbers", "inputs": {"x": [[1.0, 2.0]]}}).encode()
        json_headers = {"Content-Type": "application/json"}
        assert post(server.port, tensors, headers=json_headers).status == 200
        assert post(server.port, b"no image").status == 400
        assert post(server.port, encoded(coloured(9, 9), "PNG")).status == 200
        answer = get(server.port, "/metrics")
    assert answer.status == 200
    assert promtool("check", "metrics", text=answer.body.decode()) == ""
    for series in (
        b'tensorferry_requests_ended_total{cause="invalid",model="pets",outcome="failed"} ',
        b'tensorferry_rows_total{model="pets",outcome="answered",stage="",version="1"} ',
        b'tensorferry_http_responses_total{code="400"} ',
        b"tensorferry_event_loop_lag_seconds_count ",
    ):
        assert series in answer.body, series


def test_a_scrape_of_fifty_models_takes_little_time_of_the_reactor(tmp_path: Path) -> None:
    """With traffic before: each model has all of its series."""
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.scrape", "--models", "50", "--json", str(file)]
    done = run_program(command, cache_home=tmp_path, folder=Path(__file__).parents[2], seconds=120)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    assert figures["series"] > 50 * 100
    assert figures["reactor_ms"] < MAX_REACTOR_MS
