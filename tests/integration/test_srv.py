"""Workers from the DNS, read from a real name server over UDP and TCP."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

from server.discovery.engine_url import parse_engine_url
from server.discovery.engines.srv import SRVWatch
from server.discovery.worker_record import WorkerRecord
from tests.fakes.dns import ALL, ZONE
from tests.integration.engines.dns import name_server
from tests.integration.watched import in_reactor

pytestmark = pytest.mark.full


async def until(condition: Callable[[], bool]) -> None:
    """Wait for *condition*; fail after ten seconds."""
    for _ in range(500):
        if condition():
            return
        await deferLater(reactor, 0.02)
    raise AssertionError("not within 10 s")


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[SRVWatch]:
    """Read *url* during the block."""
    watch = SRVWatch(parse_engine_url(url), reactor)
    watch.start()
    try:
        yield watch
    finally:
        await watch.stop()


def ends(watch: SRVWatch) -> set[tuple[str, int]]:
    """Return where the workers are."""
    return {(it.host, it.port) for it in watch.members.workers.values()}


@in_reactor
async def test_the_workers_follow_a_name(tmp_path: Path) -> None:
    """Also if their list needs TCP, and after the name server was away."""
    fleet = [WorkerRecord(f"w{n}", f"192.0.2.{n}", 8000) for n in range(100)]
    places = {(it.host, it.port) for it in fleet}
    with name_server(tmp_path / "dns") as names:
        names.put(*fleet[:2])
        async with watching(f"srv://localhost:{names.port}/{ALL}") as watch:
            await until(lambda: ends(watch) == {("192.0.2.0", 8000), ("192.0.2.1", 8000)})
            names.put(*fleet)
            await until(lambda: ends(watch) == places)
            names.remove("w7")
            await until(lambda: ends(watch) == places - {("192.0.2.7", 8000)})
            names.server.end()
            await until(lambda: bool(watch.members.away))
            assert watch.members.away == "the name server does not answer"
            assert len(ends(watch)) == 99
            with name_server(tmp_path / "successor", names.port) as successor:
                successor.put(fleet[3])
                await until(lambda: ends(watch) == {("192.0.2.3", 8000)})
                assert not watch.members.away


@in_reactor
async def test_the_workers_are_the_addresses_of_a_name(tmp_path: Path) -> None:
    """Here that of one worker; a name that does not exist has no workers."""
    with name_server(tmp_path / "dns") as names:
        names.put(WorkerRecord("w", "2001:db8::7", 8000))
        name = f"ip-2001-db8--7-8000.{ZONE}"
        async with watching(f"srv://127.0.0.1:{names.port}/{name}:80") as watch:
            await until(lambda: ends(watch) == {("2001:db8::7", 80)})
            names.remove("w")
            await until(lambda: ends(watch) == set())
            assert not watch.members.away
