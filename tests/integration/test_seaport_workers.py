"""Workers and clients of Node, with the npm package seaport, and a registry."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

import orjson
import pytest

from tests.integration.clients import get
from tests.integration.engines.node import Ports, Program, registered, registering, running
from tests.integration.servers import ROOT, wait_for

pytestmark = pytest.mark.full

PHOTO = next((ROOT / "docs" / "photos").glob("*.jpg"))

#: The two lines of a client, in one: ask the registry for a port, and post a photo to it.
POST = "curl -sS -XPOST localhost:$(curl -s localhost:{port}) -F data=@{photo}"


def post(ports: Ports) -> list[int]:
    """Post the photo to the next worker by curl; return its process and the bytes."""
    line = POST.format(port=ports.http, photo=PHOTO)
    ran = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, check=False, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    return [int(it) for it in ran.stdout.split()]


@contextmanager
def three_workers(ports: Ports, folder: Path) -> Iterator[list[Program]]:
    """Run three workers; yield when they are registered."""
    with ExitStack() as stack:
        yield [stack.enter_context(registered(ports, folder)) for _ in range(3)]


def test_posts_reach_workers_that_register_by_seaport(tmp_path: Path) -> None:
    """All three in turn; a worker that is killed gets none from then on."""
    ports = Ports()
    with registering(ports, tmp_path), three_workers(ports, tmp_path) as workers:
        pids = {worker.pid for worker in workers}
        reached: set[int] = set()
        for _ in range(20):
            pid, size = post(ports)
            assert size > PHOTO.stat().st_size  # a form
            reached.add(pid)
        assert reached == pids
        assert get(ports.http, "/?model=tensor").status == 200
        assert get(ports.http, "/?model=other").status == 404
        workers[0].signal(signal.SIGKILL)
        wait_for(lambda: len(ports.workers()) == 2, "end of a worker that was killed", 1)
        assert {post(ports)[0] for _ in range(10)} == pids - {workers[0].pid}


def test_workers_register_again_at_a_new_registry(tmp_path: Path) -> None:
    """By themselves; one that has ended meanwhile is not listed, though others state it."""
    ports = Ports()
    with ExitStack() as stack:
        registry = stack.enter_context(registering(ports, tmp_path))
        workers = stack.enter_context(three_workers(ports, tmp_path))
        finder = stack.enter_context(running("find", ports.seaport, tmp_path))
        wait_for(lambda: finder.lines and finder.lines[-1].count("tensor ") == 3, "three found")
        before = ports.workers()
        os.kill(registry.pid, signal.SIGKILL)
        workers[0].signal(signal.SIGKILL)
        (tmp_path / "second").mkdir()
        stack.enter_context(registering(ports, tmp_path / "second"))
        began = monotonic()
        wait_for(lambda: len(ports.workers()) == 2, "the two that are left", 5)
        assert set(ports.workers()) < set(before)
        expected = [f"tensor {port}" for port in ports.workers()]
        wait_for(lambda: orjson.loads(finder.lines[-1]) == expected, "two found", 5)
        assert monotonic() - began < 5


def test_a_client_of_seaport_finds_the_workers_of_other_sources(tmp_path: Path) -> None:
    """Here one that has registered over HTTP; its model is the role."""
    ports = Ports()
    record = {"id": "w-1", "host": "127.0.0.1", "port": 81, "models": {"flowers": {}}}
    with (
        registering(ports, tmp_path),
        three_workers(ports, tmp_path),
        running("find", ports.seaport, tmp_path) as finder,
    ):
        subprocess.run(
            ["curl", "-sf", "-XPUT", f"localhost:{ports.http}/workers/w-1", "-d", "@-"],
            input=orjson.dumps(record), check=True,
        )  # fmt: skip
        wait_for(lambda: finder.lines and "flowers 81" in orjson.loads(finder.lines[-1]), "flowers")


def test_a_stopped_worker_is_gone_and_comes_back(tmp_path: Path) -> None:
    """A process that is stopped keeps its connection, and sends no heartbeat."""
    ports = Ports()
    command = (sys.executable, "-m", "tests.integration.engines.impatient_registry", "registry")
    with (
        registering(ports, tmp_path, command),
        registered(ports, tmp_path, "attentive_worker") as worker,
    ):
        began = monotonic()
        while monotonic() < began + 2:
            assert len(ports.workers()) == 1  # its heartbeats keep it
        worker.signal(signal.SIGSTOP)
        wait_for(lambda: not ports.workers(), "end of the stopped worker", 5)
        worker.signal(signal.SIGCONT)
        wait_for(lambda: len(ports.workers()) == 1, "the worker again", 5)


def test_lines_of_no_protocol_and_many_connections_harm_no_worker(tmp_path: Path) -> None:
    """The registry refuses more than 1,000 connections, and answers meanwhile."""
    ports = Ports()
    with (
        registering(ports, tmp_path) as registry,
        three_workers(ports, tmp_path) as workers,
        ExitStack() as stack,
    ):
        for count in range(1500):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", ports.seaport), 5))
            if count % 3 == 0:
                client.sendall(os.urandom(1 << 10) + b"\n")
        assert {post(ports)[0] for _ in range(20)} == {worker.pid for worker in workers}
        assert "is closed: a line is no JSON" in registry.log
        assert registry.log.count("\n") < 40
        stack.close()
        with registered(ports, tmp_path):
            assert len(ports.workers()) == 4
