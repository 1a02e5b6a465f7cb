"""
Start `scripts.peer` as a process of its own, and load it by `tensorferry loadtest`.

The bodies and the graph are the yardstick's, so that figures can be laid beside each other.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
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

    model: str  #: of `scripts.peer`: null or net
    body: str  #: a file of the yardstick's data
    content_type: str
    clients: int


WORKLOADS = {
    "A": Workload("null", "small.bin", "application/octet-stream", 64),
    "B": Workload("net", "photo.jpg", "image/jpeg", 32),
    "D": Workload("net", "tensor.bin", "application/octet-stream", 32),
}


def load_test(workload: Workload, url: str, data: Path, file: Path, *options: str) -> list[str]:
    """Return the command that loads *url* and writes its figures to *file*."""
    given = {
        "--body": data / workload.body,
        "--content-type": workload.content_type,
        "--warmup": SETTLING,
        "--json": file,
    }
    words = [str(word) for option in given.items() for word in option]
    return [sys.executable, "-m", "scripts.cli", "loadtest", url, *words, *options]


@contextmanager
def serving(model: str, data: Path, folder: Path) -> Iterator[tuple[int, str]]:
    """Give the process id and the URL of a server that is ready, and end it afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {
        "PEER_PORT": str(port),
        "PEER_MODEL": model,
        "PEER_GRAPH": str(data / "graph.pb"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "scripts.peer"],
            env={**os.environ, **variables}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not is_ready(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException((folder / "server.log").read_text())
            time.sleep(0.1)
        yield server.pid, f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE)
        finally:
            server.kill()


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
