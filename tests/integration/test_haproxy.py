"""An HAProxy that follows the workers by DNS, with real servers."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

import numpy as np
import orjson
import pytest

from server.discovery.worker_record import WorkerRecord
from tests.fakes.numpy_backend import LinearModel
from tests.integration.clients import post
from tests.integration.engines.dns import ZONE, NameServer, name_server
from tests.integration.engines.haproxy import HAProxy, haproxy
from tests.integration.moody_server import SLOW_ROW
from tests.integration.servers import Server, serving
from tests.integration.steady_load import SteadyLoad

pytestmark = pytest.mark.full

MOODY_SERVER = (sys.executable, "-P", "-m", "tests.integration.moody_server")

CLIENTS = 16


def body(number: float) -> bytes:
    """Return a request of one row; the row `SLOW_ROW` takes 0.4 s."""
    return orjson.dumps({"signature_name": "numbers", "inputs": {"x": [[number, 1.0]]}})


#: Half of the clients wait for a slow run, so that each worker always has requests in a run.
BODIES = [body(SLOW_ROW if number % 2 else 1.0) for number in range(CLIENTS)]


class Fleet:
    """Workers of one model, each with a record in the DNS while it takes requests."""

    def __init__(self, folder: Path, names: NameServer) -> None:
        self._folder = folder
        self._names = names
        self._ends = ExitStack()
        self._started = 0
        self.workers: list[Server] = []

    def start(self) -> Server:
        """Start a worker, and add its record when it is ready."""
        self._started += 1
        folder = self._folder / f"worker-{self._started}"
        folder.mkdir()
        model = folder / "model.npz"
        LinearModel(np.zeros((1, 1, 3, 1), np.float32), np.ones((2, 1), np.float32)).save(model)
        start = serving(
            f"--model={model}", "--max-batch-size=8",
            cache_home=self._folder, folder=folder, command=MOODY_SERVER, patience=60,
        )  # fmt: skip
        worker = self._ends.enter_context(start)
        self.workers.append(worker)
        self._names.put(WorkerRecord(f"w{worker.pid}", "127.0.0.1", worker.port))
        return worker

    def withdraw(self, worker: Server) -> None:
        """Remove the record of *worker*."""
        self._names.remove(f"w{worker.pid}")

    def end(self) -> None:
        """End all workers."""
        self._ends.close()


@contextmanager
def balanced(folder: Path, workers: int) -> Iterator[tuple[HAProxy, Fleet]]:
    """Start an HAProxy before so many workers."""
    with name_server(folder / "dns") as names:
        fleet = Fleet(folder, names)
        try:
            for _ in range(workers):
                fleet.start()
            with haproxy(folder / "haproxy", names.port, ZONE) as proxy:
                proxy.wait_for_workers(*(it.port for it in fleet.workers))
                yield proxy, fleet
        finally:
            fleet.end()


def test_haproxy_follows_the_workers_without_a_reload(tmp_path: Path) -> None:
    """A worker that comes takes requests; one that leaves takes none."""
    with balanced(tmp_path, 0) as (proxy, fleet):
        nothing = post(proxy.port, body(1))
        assert (nothing.status, nothing.headers["retry-after"]) == (503, "1")
        assert orjson.loads(nothing.body)["error"] == "no worker takes requests now"
        first = fleet.start()
        proxy.wait_for_workers(first.port)
        second = fleet.start()
        proxy.wait_for_workers(first.port, second.port)
        ids = {post(proxy.port, body(1)).headers["x-request-id"] for _ in range(4)}
        assert len(ids) == 4
        fleet.withdraw(first)
        first.signal()
        assert first.exit_code() == 0
        proxy.wait_for_workers(second.port)
        assert [post(proxy.port, body(1)).status for _ in range(8)] == [200] * 8


def test_a_killed_worker_fails_its_own_requests_alone(tmp_path: Path) -> None:
    """Those that were sent to it get 502; its record stays, and the health check takes it out."""
    with balanced(tmp_path, 3) as (proxy, fleet), SteadyLoad(proxy.port, BODIES) as load:
        load.wait_for_answers(100)
        killed, *others = fleet.workers
        at = monotonic()
        killed.signal(signal.SIGKILL)
        proxy.wait_for_workers(*(it.port for it in others))
        out_after = monotonic() - at
        load.wait_for_answers(200)
        assert len(load.failures) <= CLIENTS
        print(
            f"out after {out_after:.2f} s, {len(load.failures)} failures of {load.answered}",
            load.failures,
        )


@pytest.mark.parametrize("withdrawn", [True, False], ids=["withdrawn first", "just stopped"])
def test_a_rolling_restart_loses_no_request(tmp_path: Path, withdrawn: bool) -> None:
    """Each worker stops when its successor takes requests."""
    with balanced(tmp_path, 3) as (proxy, fleet), SteadyLoad(proxy.port, BODIES) as load:
        load.wait_for_answers(100)
        for old in tuple(fleet.workers):
            new = fleet.start()
            proxy.wait_for_worker(new.port)
            if withdrawn:
                fleet.withdraw(old)
            old.signal()
            assert old.exit_code() == 0
            if not withdrawn:
                fleet.withdraw(old)
            load.wait_for_answers(100)
        print(load.answered)
        assert load.failures == []
