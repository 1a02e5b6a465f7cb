"""Workers in a real ZooKeeper and a real etcd: what a registry process sees of them."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.discovery.engine import CALL_TIMEOUT, EngineError
from server.discovery.worker_record import WorkerRecord
from tests.integration.engines.discovery import discovery, pause, until, until_put, worker
from tests.integration.engines.engine_process import EngineProcess
from tests.integration.engines.etcd import Etcd
from tests.integration.engines.zookeeper import ZooKeeper
from tests.integration.servers import ROOT, free_port
from tests.integration.watched import in_reactor

pytestmark = pytest.mark.full

#: Seconds; etcd has none that is shorter.
LEASE = 2.0

#: How much later than its lease a worker may be removed: ZooKeeper and etcd look for leases that
#: have ended every 0.5 s, and this machine may be busy.
LATE = 3.0


Start = Callable[[Path], ZooKeeper | Etcd]


@pytest.fixture(scope="module", params=[ZooKeeper, Etcd], ids=["zookeeper", "etcd"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineProcess]:
    """A server of each kind."""
    start: Start = request.param
    with start(tmp_path_factory.mktemp("engine")) as running:
        yield running


def by_id(*workers: WorkerRecord) -> dict[str, WorkerRecord]:
    """Return *workers* as the members of a source."""
    return {it.id: it for it in workers}


@in_reactor
async def test_watches_have_the_workers_that_registered(engine: ZooKeeper | Etcd) -> None:
    """With their changes; one that withdraws is gone at once, and may come back."""
    async with discovery(f"{engine.url}/seen?lease={LEASE}") as opened:
        first, second = opened.registrar(), opened.registrar()
        await first.put(worker(1))
        early, late = opened.watch(), opened.watch()
        assert early.members.away
        await until(lambda: not early.members.away, "answer")
        assert early.members.workers == by_id(worker(1))
        await second.put(worker(2))
        await first.put(worker(1, 0.25))
        both = by_id(worker(1, 0.25), worker(2))
        for watch in (early, late):
            await until(lambda it=watch: it.members.workers == both, "change")  # type: ignore[misc]  # bound
        await first.withdraw()
        await first.withdraw()
        assert await until(lambda: early.members.workers == by_id(worker(2)), "withdrawal") < LEASE
        await first.put(worker(1))
        await until(lambda: late.members.workers == by_id(worker(1), worker(2)), "return")


@in_reactor
async def test_a_put_without_a_change_writes_nothing(engine: ZooKeeper | Etcd) -> None:
    """It renews the lease, for longer than one lease."""
    async with discovery(f"{engine.url}/kept?lease={LEASE}") as opened:
        watch, registrar = opened.watch(), opened.registrar()
        await registrar.put(worker(1))
        await until(lambda: bool(watch.members.workers), "worker")
        written = dict(watch.members.written)
        for _ in range(6):
            await pause(LEASE / 4)
            await registrar.put(worker(1))
        assert watch.members.written == written


@in_reactor
async def test_a_record_that_was_replaced_or_removed_is_written_again(
    engine: ZooKeeper | Etcd,
) -> None:
    """Here by another registrar of the same id, as of a session that has not ended yet."""
    async with discovery(f"{engine.url}/again?lease={LEASE}") as opened:
        watch, first, second = opened.watch(), opened.registrar(), opened.registrar()
        await first.put(worker(1))
        await second.put(worker(1, 0.25))
        await until(lambda: watch.members.workers == by_id(worker(1, 0.25)), "replacement")
        await second.withdraw()
        await until(lambda: not watch.members.away and not watch.members.workers, "withdrawal")
        await first.put(worker(1))
        await until(lambda: watch.members.workers == by_id(worker(1)), "record")


@in_reactor
async def test_a_worker_that_is_killed_is_gone_within_its_lease(engine: ZooKeeper | Etcd) -> None:
    """Its process ends by SIGKILL; others stay."""
    url = f"{engine.url}/killed?lease={LEASE}"
    async with discovery(url) as opened:
        watch, registrar = opened.watch(), opened.registrar()
        await registrar.put(worker(2))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.engines.registering", url, "1"],
            cwd=ROOT, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await until(lambda: len(watch.members.workers) == 2, "worker")
        finally:
            process.kill()
            process.wait()
        start = time.monotonic()
        while "worker-1" in watch.members.workers:
            assert time.monotonic() < start + LEASE + LATE
            await registrar.put(worker(2))
            await pause(0.1)
        assert watch.members.workers == by_id(worker(2))


@in_reactor
async def test_a_watch_has_what_it_last_knew_while_the_registry_is_away(
    engine: ZooKeeper | Etcd,
) -> None:
    """The registry is killed and starts again; afterwards new workers are seen, too."""
    async with discovery(f"{engine.url}/away?lease=10") as opened:
        watch, registrar = opened.watch(), opened.registrar()
        await registrar.put(worker(1))
        await until(lambda: bool(watch.members.workers), "worker")
        engine.kill()
        assert await until(lambda: bool(watch.members.away), "notice") < CALL_TIMEOUT
        assert watch.members.workers == by_id(worker(1))
        start = time.monotonic()
        with pytest.raises(EngineError):
            await registrar.put(worker(1, 0.5))
        assert time.monotonic() - start < CALL_TIMEOUT + 1
        engine.restart()
        await until_put(registrar, worker(1, 0.5))
        await until(lambda: not watch.members.away, "recovery")
        await until(lambda: watch.members.workers == by_id(worker(1, 0.5)), "change")


@in_reactor
async def test_a_registry_that_was_stopped_for_longer_than_the_lease_is_current_again(
    engine: ZooKeeper | Etcd,
) -> None:
    """Calls fail in time; the next put writes the record anew."""
    async with discovery(f"{engine.url}/stopped?lease={LEASE}") as opened:
        watch, registrar, closed = opened.watch(), opened.registrar(), opened.registrar()
        await registrar.put(worker(1))
        await closed.put(worker(2))
        await until(lambda: len(watch.members.workers) == 2, "worker")
        engine.stop_running()
        try:
            start = time.monotonic()
            with pytest.raises(EngineError):
                await registrar.put(worker(1, 0.5))
            assert time.monotonic() - start < CALL_TIMEOUT + 1
            await until(lambda: bool(watch.members.away), "notice", 2 * CALL_TIMEOUT)
            assert watch.members.workers == by_id(worker(1), worker(2))
            closing = time.monotonic()
            await closed.close()
            assert time.monotonic() - closing < CALL_TIMEOUT + 1
            await pause(max(0, start + 2 * LEASE - time.monotonic()))
        finally:
            engine.resume()
        await until_put(registrar, worker(1, 0.5))
        expected = by_id(worker(1, 0.5))
        await until(
            lambda: not watch.members.away and watch.members.workers == expected, "recovery"
        )


@in_reactor
async def test_a_server_that_does_not_answer_is_passed_over(engine: ZooKeeper | Etcd) -> None:
    """One takes no connections, and one takes them and is silent."""
    closed_port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_port = silent.getsockname()[1]
        places = f"127.0.0.1:{closed_port},127.0.0.1:{silent_port},127.0.0.1:{engine.port}"
        scheme = engine.url.partition(":")[0]
        async with discovery(f"{scheme}://{places}/hosts?lease={LEASE}") as opened:
            watch, registrar = opened.watch(), opened.registrar()
            await until_put(registrar, worker(1))
            await until(lambda: watch.members.workers == by_id(worker(1)), "worker")


@pytest.mark.parametrize("scheme", ["zk", "etcd"])
@in_reactor
async def test_a_registry_that_never_answers_is_stated_as_away(scheme: str) -> None:
    """Calls fail in time, and everything can be ended."""
    async with discovery(f"{scheme}://127.0.0.1:{free_port()}/none") as opened:
        watch, registrar = opened.watch(), opened.registrar()
        start = time.monotonic()
        with pytest.raises(EngineError):
            await registrar.put(worker(1))
        assert time.monotonic() - start < CALL_TIMEOUT + 1
        await until(
            lambda: watch.members.away not in {"", "not read yet"}, "reason", CALL_TIMEOUT + 1
        )
        await registrar.withdraw()
