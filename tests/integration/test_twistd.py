"""The server as a daemon of twistd, with a folder of a frozen graph and a model.toml."""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import orjson
import pytest

from model.signature import Signature, TensorSpec, blank_feed
from server.api.samples import sample_command
from tests.integration.clients import get, post
from tests.integration.daemons import daemon_port, has_ended, killed_after, write_model
from tests.integration.graphs import SCORES
from tests.integration.servers import TWISTD, wait_for
from tests.integration.supervised import worker_pids

pytestmark = pytest.mark.full


def check_numbers(port: int, folder: Path) -> None:
    """Check batches of at most four rows, and the command of a sample, short or computed."""
    body = {"inputs": [[row, 0, 0, 1] for row in range(10)]}
    answer = post(port, orjson.dumps(body))
    rows = orjson.loads(answer.body)["outputs"][SCORES]
    assert [row[0] for row in rows] == list(range(1, 11))
    assert rows[0][1] is None
    assert [(batch.rows, batch.cap) for batch in answer.batches] == [(4, 4), (4, 4), (2, 4)]
    assert answer.headers["x-model-version"] == "sums/3"
    sample = orjson.loads(get(port, "/status").body)["signatures"]["serving_default"]
    assert orjson.loads(post(port, sample["sample"].encode()).body) == {
        "outputs": {SCORES: [[0, None]]}
    }
    shown = []
    for columns in (4, 400):
        x = TensorSpec("x", np.dtype(np.float32), (None, columns))
        url = f"http://127.0.0.1:{port}/"
        command = sample_command(blank_feed(Signature((x,), ())), "serving_default", url)
        ran = subprocess.run(
            ["sh", "-c", command], cwd=folder, capture_output=True, check=True, timeout=60
        )
        shown.append(orjson.loads(ran.stdout))
    assert shown[0] == {"outputs": {SCORES: [[0, None]]}}
    assert shown[1]["error"] == "input 'x': expected float32[?, 4], got float32[1, 400]"


def test_a_daemon_serves_until_sigterm(tmp_path: Path) -> None:
    """It answers numbers, drains at SIGTERM, logs the drain, and removes its pidfile."""
    pidfile, logfile = tmp_path / "ferry.pid", tmp_path / "ferry.log"
    write_model(tmp_path)
    command = [
        *(*TWISTD, f"--pidfile={pidfile}", f"--logfile={logfile}"),
        *("tensorferry", "--port=0", "--model=.", "--lanes=1", "--max-batch-size=4"),
    ]
    with killed_after(pidfile):
        port = daemon_port(command, logfile, tmp_path)
        pid = int(pidfile.read_text())
        check_numbers(port, tmp_path)
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: has_ended(pid), "the end of the daemon")
    assert not pidfile.exists()
    log = logfile.read_text()
    assert log.index("] draining\n") < log.index("] stopped; every accepted request was answered\n")
    assert "Traceback" not in log


def test_a_daemon_supervises_workers(tmp_path: Path) -> None:
    """Their lines are in its log file, and they end with it."""
    pidfile, logfile = tmp_path / "ferry.pid", tmp_path / "ferry.log"
    write_model(tmp_path)
    command = [
        *(*TWISTD, f"--pidfile={pidfile}", f"--logfile={logfile}"),
        *("tensorferry", "--port=0", "--model=.", "--max-batch-size=4", "--workers=2"),
    ]
    with killed_after(pidfile):
        daemon_port(command, logfile, tmp_path)
        pid = int(pidfile.read_text())
        wait_for(lambda: "2 of 2 workers are ready" in logfile.read_text(), "workers", 60)
        workers = worker_pids(pid)
        assert len(workers) == 2
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: has_ended(pid), "the end of the daemon")
        assert all(map(has_ended, workers))
    assert not pidfile.exists()
    log = logfile.read_text()
    for worker in (0, 1):
        assert f" worker {worker}: stopped; every accepted request was answered\n" in log
    assert "] all workers have ended\n" in log
    assert "Traceback" not in log
