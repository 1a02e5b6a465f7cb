"""The registry beside a real ZooKeeper and a real etcd: their workers, also while they are away."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from server.process.signals import DROPPED
from tests.integration.engines.engine_process import EngineProcess
from tests.integration.engines.etcd import Etcd
from tests.integration.engines.zookeeper import ZooKeeper
from tests.integration.registries import HTTP_ALONE, Registry, running_registry
from tests.integration.servers import started, wait_for
from tests.integration.supervised import NUMPY_SERVER
from tests.integration.test_numpy_backend import MODEL

pytestmark = pytest.mark.full


@pytest.fixture(params=[ZooKeeper, Etcd])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EngineProcess]:
    """An engine that runs."""
    folder = tmp_path / "engine"
    folder.mkdir()
    with request.param(folder) as running:
        yield running


def state_of(registry: Registry, source: str) -> str:
    """Return the state of *source* in the report."""
    sources = orjson.loads(registry.ask("GET", "/workers")[1])["sources"]
    return str({it["name"]: it for it in sources}[source]["state"])


def test_a_worker_is_handed_out_while_its_engine_is_away(
    engine: ZooKeeper | Etcd, tmp_path: Path
) -> None:
    """And the report says so; a worker that stops is handed out no longer."""
    model = tmp_path / "model.npz"
    MODEL.save(model)
    options = (f"--model={model}", f"--announce={engine.url}?lease=3")
    folder = tmp_path / "server"
    folder.mkdir()
    with (
        running_registry(tmp_path, *HTTP_ALONE, "--engine", engine.url) as registry,
        started(*options, cache_home=folder, folder=folder, command=NUMPY_SERVER) as server,
    ):
        place = f"{server.port}\n".encode()
        wait_for(lambda: registry.ask("GET", "/?model=default") == (200, place), "the worker")
        assert state_of(registry, engine.url) == "current"
        engine.kill()
        wait_for(lambda: state_of(registry, engine.url) == "away", "the loss of the engine")
        assert registry.ask("GET", "/?model=default") == (200, place)
        wait_for(lambda: f"{engine.url}: away: " in registry.process.log, "a line of the log", 5)
        engine.restart()
        wait_for(lambda: state_of(registry, engine.url) == "current", "the engine again")
        wait_for(lambda: registry.ask("GET", "/?model=default") == (200, place), "the worker")
        server.signal()
        assert server.exit_code() == 0
        wait_for(lambda: registry.ask("GET", "/")[0] == 503, "the end of the worker", 10)


def test_a_second_signal_ends_a_withdrawal_that_hangs(
    engine: ZooKeeper | Etcd, tmp_path: Path
) -> None:
    """At once: the server does not drain after it."""
    model = tmp_path / "model.npz"
    MODEL.save(model)
    options = (f"--model={model}", f"--announce={engine.url}?lease=30")
    folder = tmp_path / "server"
    folder.mkdir()
    with started(*options, cache_home=folder, folder=folder, command=NUMPY_SERVER) as server:
        server.wait_for(lambda: " registered with " in server.log, "record", 30)
        engine.stop_running()
        server.signal()
        server.wait_for(lambda: "a second signal" in server.log, "line", 30)
        server.signal()
        assert server.exit_code() == DROPPED
        assert server.log.count("stopped at once") == 1
        assert "draining" not in server.log
