"""Programs for Node that use the npm package seaport, and a registry for them."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.integration.clients import get
from tests.integration.engines.programs import COMMANDS, needed
from tests.integration.servers import (
    ROOT,
    TENSORFERRY,
    Server,
    free_port,
    readiness,
    started,
    wait_for,
)

NODE = ROOT / "tests" / "integration" / "engines" / "node"


REGISTRY = (*TENSORFERRY, "registry")


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a registry, also of its successor."""

    http: int = field(default_factory=free_port)
    seaport: int = field(default_factory=free_port)

    def workers(self) -> list[int]:
        """Return the ports of all workers, sorted."""
        workers = orjson.loads(get(self.http, "/workers").body)["workers"]
        return sorted(worker["port"] for worker in workers)


@contextmanager
def registering(ports: Ports, folder: Path, command: Sequence[str] = REGISTRY) -> Iterator[Server]:
    """Run a registry at *ports*, without the DNS, by *command*; end it with the block."""
    with started(
        f"--listen=tcp:{ports.http}:interface=127.0.0.1",
        f"--seaport-listen=tcp:{ports.seaport}:interface=127.0.0.1",
        "--dns-listen=none",
        cache_home=folder,
        folder=folder,
        command=command,
    ) as registry:
        registry.wait_for(lambda: readiness(ports.http) == 200, "readiness")
        yield registry


class Program:
    """A program of the folder node/ that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self._process = process
        self._output = output
        self.pid = process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    @property
    def lines(self) -> list[str]:
        """The lines that it has printed."""
        return self._output.read_text().splitlines()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        self._process.send_signal(number)


@contextmanager
def running(name: str, port: int, folder: Path) -> Iterator[Program]:
    """Run the program *name*, whose registry takes registrations at *port*; kill it at the end."""
    node = needed("node")
    assert (NODE / "node_modules" / "seaport").is_dir(), (
        f"seaport is missing: {COMMANDS['seaport']}"
    )
    output = folder / f"{name}-{free_port()}.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [node, NODE / f"{name}.js", str(port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield Program(process, output)
    finally:
        process.kill()
        process.wait()


@contextmanager
def registered(ports: Ports, folder: Path, name: str = "worker") -> Iterator[Program]:
    """
    Run the worker *name*; yield when the registry lists it.

    The package picks a port at random, and does not test whether it is free: a worker that has
    ended is started again, as a supervisor does.
    """
    before = len(ports.workers())
    with ExitStack() as stack:
        while True:
            worker = stack.enter_context(running(name, ports.seaport, folder))
            wait_for(
                lambda worker=worker: worker.has_ended or len(ports.workers()) > before,  # type: ignore[misc]  # mypy infers no lambda with a default
                f"registration: {folder}",
            )
            if not worker.has_ended:
                break
            assert "EADDRINUSE" in "".join(worker.lines), worker.lines
        yield worker
