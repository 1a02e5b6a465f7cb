"""An HAProxy that follows the workers by DNS, with real servers."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
import orjson
import pytest

from server.discovery.worker_record import WorkerRecord
from server.registry.settings import DEFAULT_ZONE
from tests.fakes.dns import ZONE
from tests.fakes.numpy_backend import LinearModel
from tests.integration.clients import post
from tests.integration.engines.dns import NameServer, name_server, port_in
from tests.integration.engines.haproxy import HAProxy, haproxy
from tests.integration.moody_server import SLOW_ROW
from tests.integration.registries import running_registry
from tests.integration.servers import START, Server, started, wait_for
from tests.integration.steady_load import SteadyLoad

pytestmark = pytest.mark.full

MOODY_SERVER = (sys.executable, "-P", "-m", "tests.integration.moody_server")

#: Any free port, and no seaport.
WITH_DNS = (
    *("--listen", "tcp:0:interface=127.0.0.1", "--seaport-listen", "none"),
    *("--dns-listen", "127.0.0.1:0"),
)

CLIENTS = 16

#: The most seconds until a killed worker takes no request; 0.2 is usual.
MAX_SECONDS_UNTIL_OUT = 5.0


def body(number: float) -> bytes:
    """Return a request of one row; the row `SLOW_ROW` takes 0.4 s."""
    return orjson.dumps({"signature_name": "numbers", "inputs": {"x": [[number, 1.0]]}})


#: Half of the clients wait for a slow run, so that each worker always has requests in a run.
BODIES = [body(SLOW_ROW if number % 2 else 1.0) for number in range(CLIENTS)]


def starting(folder: Path, *options: str) -> AbstractContextManager[Server]:
    """Start a server of a small model in the new *folder*."""
    folder.mkdir()
    model = folder / "model.npz"
    LinearModel(np.zeros((1, 1, 3, 1), np.float32), np.ones((2, 1), np.float32)).save(model)
    return started(
        f"--model={model}", "--max-batch-size=8", "--default-timeout=none", *options,
        cache_home=folder, folder=folder, command=MOODY_SERVER,
    )  # fmt: skip


class Fleet:
    """Workers of one model; those that are announced have a record in the DNS."""

    def __init__(self, folder: Path, names: NameServer) -> None:
        self._folder = folder
        self._names = names
        self._ends = ExitStack()
        self._started = 0
        self.announced: list[Server] = []

    def start(self, count: int) -> list[Server]:
        """Start workers, and return them when they are ready."""
        workers = [self._ends.enter_context(self._starting()) for _ in range(count)]
        for worker in workers:
            worker.wait_until_ready()
        return workers

    def _starting(self) -> AbstractContextManager[Server]:
        self._started += 1
        # As by default with --announce: HAProxy needs time to notice the stop.
        options = ("--port=0", "--drain-delay=3")
        return starting(self._folder / f"worker-{self._started}", *options)

    def announce(self, worker: Server) -> None:
        """Add the record of *worker*."""
        self.announced.append(worker)
        self._names.put(WorkerRecord(f"w{worker.pid}", "127.0.0.1", worker.port))

    def withdraw(self, worker: Server) -> None:
        """Remove the record of *worker*."""
        self.announced.remove(worker)
        self._names.remove(f"w{worker.pid}")

    def fill(self, count: int) -> list[Server]:
        """Announce workers until there are *count*; return them."""
        for worker in self.start(count - len(self.announced)):
            self.announce(worker)
        return list(self.announced)

    def end(self) -> None:
        """End all workers."""
        self._ends.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all programs of this module."""
    return tmp_path_factory.mktemp("haproxy")


@pytest.fixture(scope="module")
def names(folder: Path) -> Iterator[NameServer]:
    """A name server."""
    with name_server(folder / "dns") as server:
        yield server


@pytest.fixture(scope="module")
def proxy(folder: Path, names: NameServer) -> Iterator[HAProxy]:
    """An HAProxy that asks the name server."""
    with haproxy(folder / "haproxy", names.port, ZONE) as it:
        yield it


@pytest.fixture(scope="module")
def fleet(folder: Path, names: NameServer) -> Iterator[Fleet]:
    """The workers before the HAProxy."""
    workers = Fleet(folder, names)
    yield workers
    workers.end()


def ports(workers: Sequence[Server]) -> set[int]:
    """Return where *workers* listen."""
    return {it.port for it in workers}


def test_without_workers_haproxy_answers_503(proxy: HAProxy) -> None:
    """As JSON, and soon there may be one."""
    nothing = post(proxy.port, body(1))
    assert (nothing.status, nothing.headers["retry-after"]) == (503, "1")
    assert orjson.loads(nothing.body) == {"error": "no worker takes requests now", "status": 503}


def test_haproxy_follows_the_workers_without_a_reload(proxy: HAProxy, fleet: Fleet) -> None:
    """A worker that comes takes requests; one that leaves takes none."""
    leaving, staying = fleet.start(2)
    for worker in (leaving, staying):
        fleet.announce(worker)
        proxy.wait_for_workers(ports(fleet.announced))
        assert post(proxy.port, body(1)).status == 200
    fleet.withdraw(leaving)
    leaving.signal()
    assert leaving.exit_code() == 0
    proxy.wait_for_workers({staying.port})
    assert [post(proxy.port, body(1)).status for _ in range(8)] == [200] * 8


@pytest.mark.parametrize("withdrawn", [True, False], ids=["withdrawn first", "just stopped"])
def test_a_rolling_restart_loses_no_request(proxy: HAProxy, fleet: Fleet, withdrawn: bool) -> None:
    """Each worker stops when its successor takes requests."""
    workers = fleet.fill(3)
    successors = fleet.start(3)
    proxy.wait_for_workers(ports(workers))
    with SteadyLoad(proxy.port, BODIES) as load:
        for old, new in zip(workers, successors, strict=True):
            load.wait_for_answers(100)
            fleet.announce(new)
            proxy.wait_for_workers(ports(fleet.announced))
            if withdrawn:
                fleet.withdraw(old)
            old.signal()
            assert old.exit_code() == 0
            if not withdrawn:
                fleet.withdraw(old)
        load.wait_for_answers(100)
        assert load.failures == []


def test_a_killed_worker_fails_its_own_requests_alone(proxy: HAProxy, fleet: Fleet) -> None:
    """Those that were sent to it; its record stays, and the health check takes it out."""
    killed, *others = fleet.fill(3)
    proxy.wait_for_workers(ports(fleet.announced))
    with SteadyLoad(proxy.port, BODIES) as load:
        load.wait_for_answers(100)
        killed.signal(signal.SIGKILL)
        proxy.wait_for_workers(ports(others), MAX_SECONDS_UNTIL_OUT)
        load.wait_for_answers(200)
        assert len(load.failures) <= CLIENTS


@pytest.mark.parametrize("slots", [32, 500])
def test_the_workers_stay_while_the_name_server_is_away(tmp_path: Path, slots: int) -> None:
    """As many as there are slots for; later it is asked again."""
    fleet = [WorkerRecord(f"w{n}", "127.0.0.1", 1 + n) for n in range(slots)]
    with ExitStack() as ends:
        names = ends.enter_context(name_server(tmp_path / "dns"))
        names.put(*fleet[1:])
        options = (names.port, ZONE, f"--workers-max={slots}")
        proxy = ends.enter_context(haproxy(tmp_path / "haproxy", *options))
        wait_for(lambda: len(proxy.states()) == slots - 1, "workers in HAProxy")
        names.server.end()
        unanswered = proxy.unanswered
        wait_for(lambda: proxy.unanswered > unanswered + 2, "questions without an answer")
        assert len(proxy.states()) == slots - 1
        ends.enter_context(name_server(tmp_path / "successor", names.port)).put(*fleet)
        wait_for(lambda: len(proxy.states()) == slots, "the last worker in HAProxy")


def test_announced_workers_leave_haproxy_without_a_loss(tmp_path: Path) -> None:
    """With the real registry: a stopped worker withdraws its record, and ends."""
    with ExitStack() as ends:
        registry = ends.enter_context(running_registry(tmp_path, *WITH_DNS)).process
        announce = f"--announce=registry://127.0.0.1:{registry.port}"
        folders = [tmp_path / name for name in ("one", "two", "three")]
        workers = [ends.enter_context(starting(folder, announce)) for folder in folders]
        dns_port = registry.wait_for(lambda: port_in(registry.log), "name server")
        options = (dns_port, DEFAULT_ZONE, "--model=default")
        proxy = ends.enter_context(haproxy(tmp_path / "haproxy", *options))
        proxy.wait_for_workers(ports(workers), START)
        with SteadyLoad(proxy.port, BODIES) as load:
            for count, worker in enumerate(workers[:2], 1):
                load.wait_for_answers(50)
                worker.signal()
                assert worker.exit_code() == 0
                proxy.wait_for_workers(ports(workers[count:]))
            load.wait_for_answers(50)
            assert load.failures == []
