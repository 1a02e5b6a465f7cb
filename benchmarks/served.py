"""
Start servers as processes of their own, and load them with `tensorferry loadtest`.

The bodies and the graph are those of the comparison with other servers (benchmarks/peers), so that
figures can be compared.
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
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import click

PATIENCE = 120.0  #: seconds in which a server must become ready, or end
SETTLING = 3.0  #: seconds of a load before anything counts


@dataclass(frozen=True, slots=True)
class Workload:
    """A model, the body that clients post to it, and the number of clients in a closed loop."""

    model: str  #: a model of `benchmarks.peer`: null or net
    body: str  #: a file of the data folder
    content_type: str
    clients: int


#: The workloads, by their letters in benchmarks/peers.
WORKLOADS = {
    "A": Workload("null", "small.bin", "application/octet-stream", 64),
    "B": Workload("net", "photo.jpg", "image/jpeg", 32),
    "D": Workload("net", "tensor.bin", "application/octet-stream", 32),
}

#: The files of the data folder.
GRAPH = "graph.pb"
DATA = (GRAPH, *sorted({workload.body for workload in WORKLOADS.values()}))

#: A command line; the files in it are paths.
Command = Sequence[str | Path]


def peers_work() -> Path:
    """Return the folder in which benchmarks/peers keeps its virtualenvs and data."""
    return Path(os.environ.get("PEERS_WORK") or Path(__file__).parent / "peers/.work").resolve()


def checked_data(
    _context: click.Context | None, _option: click.Parameter | None, folder: Path | None
) -> Path:
    """
    Return *folder*, or the data folder of benchmarks/peers if *folder* is None.

    Raises `click.UsageError` if one of the files `DATA` is missing.
    """
    data = folder or peers_work() / "data"
    missing = [name for name in DATA if not (data / name).exists()]
    if missing:
        raise click.UsageError(
            f"{data} has no {', '.join(missing)}: run"
            " python -m benchmarks.peers.run setup --peers tensorferry"
        )
    return data


#: The option that names the folder of the graph and the bodies.
data_option = click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), callback=checked_data,
    help="The folder of the graph and the bodies.  [default: benchmarks/peers/.work/data]",
)  # fmt: skip


def load_test(
    workload: Workload, url: str, data: Path, file: Path, *options: str | Path
) -> Command:
    """
    Return the command of a load test: it sends *workload* to *url* and its figures to *file*.

    The folder *data* has the bodies; *options* are further options of the command.
    """
    given: Mapping[str, str | Path] = {
        "--body": data / workload.body,
        "--content-type": workload.content_type,
        "--warmup": str(SETTLING),
        "--json": file,
    }
    words = [word for option in given.items() for word in option]
    return [sys.executable, "-m", "scripts.cli", "loadtest", url, *words, *options]


def shown(load_test: Command) -> str:
    """Return the command *load_test* as a user types it in the folder that has its files."""
    options = [word.name if isinstance(word, Path) else word for word in load_test[5:]]
    return shlex.join(["tensorferry", "loadtest", "URL", *options])


@contextmanager
def serving(model: str, data: Path, folder: Path) -> Iterator[tuple[int, str]]:
    """
    Context manager: start `benchmarks.peer`, yield its process id and URL when ready, then end it.
    """
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
    """
    Context manager: start `benchmarks.known_server` with *options*, yield its URL, then end it.
    """
    port = free_port()
    known = ("--port", str(port), *options)
    with _running("benchmarks.known_server", folder, lambda: accepts(port), {}, *known):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def sleeping(folder: Path, latency: Path, *options: str) -> Iterator[tuple[int, str]]:
    """
    Context manager: start `benchmarks.sleeping serve`, yield its process id and URL, then end it.

    The server is ready at the yield.  Its cache is in *folder*, so that servers do not share the
    run times that they measure.
    """
    port = free_port()
    given = ("serve", "--port", str(port), "--latency", str(latency), *options)
    cache = {"XDG_CACHE_HOME": str(folder)}
    with _running("benchmarks.sleeping", folder, lambda: is_ready(port), cache, *given) as pid:
        yield pid, f"http://127.0.0.1:{port}/"


@contextmanager
def switching(folder: Path) -> Iterator[tuple[int, str]]:
    """
    Context manager: start `benchmarks.accounting serve`, yield its process id and URL, then end it.

    The server is ready at the yield.
    """
    port = free_port()
    given = ("serve", "--port", str(port))
    with _running("benchmarks.accounting", folder, lambda: is_ready(port), {}, *given) as pid:
        yield pid, f"http://127.0.0.1:{port}/"


@contextmanager
def serving_models(
    root: Path,
    folder: Path,
    *options: str,
    module: str = "scripts.cli",
    patience: float = PATIENCE,
) -> Iterator[tuple[int, str]]:
    """
    Context manager: serve the repository *root*, yield the process id and URL, then end the server.

    The server is ready at the yield, after at most *patience* seconds.  *module* has the command
    `serve`, which takes *options*.  The cache and the log of the server are in *folder*.
    """
    port = free_port()
    given = ("serve", "--models", str(root), "--port", str(port), *options)
    variables = {"XDG_CACHE_HOME": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    ready = partial(is_ready, port)
    with _running(module, folder, ready, variables, *given, patience=patience) as pid:
        yield pid, f"http://127.0.0.1:{port}/"


@contextmanager
def _running(
    module: str,
    folder: Path,
    ready: Callable[[], bool],
    variables: Mapping[str, str],
    *options: str,
    patience: float = PATIENCE,
) -> Iterator[int]:
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, "-m", module, *options],
            env={**os.environ, **variables}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + patience
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
    """Return a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def accepts(port: int) -> bool:
    """Return whether *port* accepts connections."""
    try:
        socket.create_connection(("127.0.0.1", port), 5.0).close()
    except OSError:
        return False
    return True


def is_ready(port: int) -> bool:
    """Return whether the server on *port* reports that it is ready for requests."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
