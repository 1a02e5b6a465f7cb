"""
Start servers as processes of their own, and load them by `tensorferry loadtest`.

The bodies and the graph are the yardstick's, so that figures can be laid beside each other.
"""

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import click

PATIENCE = 120.0  #: seconds until a server must be ready, or have ended
SETTLING = 3.0  #: seconds that a load runs before anything counts


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked, of which model, by how many clients at once."""

    model: str  #: of `benchmarks.peer`: null or net
    body: str  #: a file of the yardstick's data
    content_type: str
    clients: int


WORKLOADS = {
    "A": Workload("null", "small.bin", "application/octet-stream", 64),
    "B": Workload("net", "photo.jpg", "image/jpeg", 32),
    "D": Workload("net", "tensor.bin", "application/octet-stream", 32),
}


#: The files of the yardstick's data that are used here.
GRAPH = "graph.pb"
DATA = (GRAPH, *sorted({workload.body for workload in WORKLOADS.values()}))

#: A command: files are paths.
Command = Sequence[str | Path]


def load_test(
    workload: Workload, url: str, data: Path, file: Path, *options: str | Path
) -> Command:
    """Return the command that loads *url* and writes its figures to *file*."""
    given: Mapping[str, str | Path] = {
        "--body": data / workload.body,
        "--content-type": workload.content_type,
        "--warmup": str(SETTLING),
        "--json": file,
    }
    words = [word for option in given.items() for word in option]
    return [sys.executable, "-m", "scripts.cli", "loadtest", url, *words, *options]


def shown(load_test: Command) -> str:
    """Return a command of `load_test` as a person types it, who is where the files are."""
    options = [word.name if isinstance(word, Path) else word for word in load_test[5:]]
    return shlex.join(["tensorferry", "loadtest", "URL", *options])


@contextmanager
def serving(model: str, data: Path, folder: Path) -> Iterator[tuple[int, str]]:
    """Give the process id and the URL of a server that is ready, and end it afterwards."""
    port = free_port()
    variables = {
        "PEER_PORT": str(port),
        "PEER_MODEL": model,
        "PEER_GRAPH": str(data / GRAPH),
        "CUDA_VISIBLE_DEVICES": "",
    }
    with _running("benchmarks.peer", folder, lambda: is_ready(port), variables) as pid:
        yield pid, f"http://127.0.0.1:{port}/"


@contextmanager
def known_times(folder: Path, *options: str) -> Iterator[str]:
    """Give the URL of a `benchmarks.known_server` with *options*, and end it afterwards."""
    port = free_port()
    known = ("--port", str(port), *options)
    with _running("benchmarks.known_server", folder, lambda: accepts(port), {}, *known):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def sleeping(folder: Path, latency: Path, *options: str) -> Iterator[tuple[int, str]]:
    """
    Give the process id and the URL of a `benchmarks.sleeping`, ready, and end it afterwards.

    What it measures of its model it keeps in *folder*, for nobody else.
    """
    port = free_port()
    given = ("serve", "--port", str(port), "--latency", str(latency), *options)
    cache = {"XDG_CACHE_HOME": str(folder)}
    with _running("benchmarks.sleeping", folder, lambda: is_ready(port), cache, *given) as pid:
        yield pid, f"http://127.0.0.1:{port}/"


@contextmanager
def _running(
    module: str,
    folder: Path,
    ready: Callable[[], bool],
    variables: Mapping[str, str],
    *options: str,
) -> Iterator[int]:
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, "-m", module, *options],
            env={**os.environ, **variables}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if server.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException((folder / "server.log").read_text())
            time.sleep(0.1)
        yield server.pid
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE)
        finally:
            server.kill()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def accepts(port: int) -> bool:
    """Return whether anybody listens on *port*."""
    try:
        socket.create_connection(("127.0.0.1", port), 5.0).close()
    except OSError:
        return False
    return True


def is_ready(port: int) -> bool:
    """Return whether the server on *port* takes requests."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
