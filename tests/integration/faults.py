"""Serve models of `tests.integration.faulty_server`, and load them as clients do."""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle
from pathlib import Path

import orjson

from tests.integration.clients import Answer, ask, connect
from tests.integration.faulty_server import FaultyModel
from tests.integration.repositories import with_manifest
from tests.integration.servers import Server, serving

FAULTY_SERVER = (sys.executable, "-P", "-m", "tests.integration.faulty_server")

#: With these a server is ready soon, one thread is all threads, and slow requests are logged.
OPTIONS = (
    *("--lanes", "1", "--decode-threads", "1", "--max-batch-size", "2"),
    *("--access-log", "--slow-request-ms", "300"),
)

#: More than any fault takes, so that requests end with their answers.
PATIENT = {"X-Request-Timeout-Ms": "60000"}


@contextmanager
def serving_faulty(
    folder: Path, models: Mapping[str, FaultyModel], weights: Mapping[str, float] | None = None
) -> Iterator[Server]:
    """Serve *models*, with their *weights*, from the repository ``models`` in *folder*."""
    for name, model in models.items():
        version = folder / "models" / name / "1"
        model.save(version)
        with_manifest(version)
    for name, weight in (weights or {}).items():
        set_weight(folder, name, weight)
    (folder / "cache").mkdir()
    with serving(
        "--models", "models", *OPTIONS,
        cache_home=folder / "cache", folder=folder, command=FAULTY_SERVER,
    ) as server:  # fmt: skip
        yield server


def set_weight(folder: Path, name: str, weight: float) -> None:
    """Write the weight of the model *name* into its serving.toml."""
    staged = folder / "serving.toml"
    staged.write_text(f"weight = {weight}\n")
    staged.rename(folder / "models" / name / "serving.toml")


def row(seconds: float, rows: int = 1) -> bytes:
    """Return a body with equal *rows*, which lengthen a run by *seconds*; negative: it fails."""
    return orjson.dumps({"inputs": {"x": [[seconds]] * rows}})


def image(seconds: float) -> bytes:
    """Return an image whose decoding takes *seconds*."""
    return b"sleep %.3f" % seconds


class Load:
    """Clients that post to the server until the load ends; each has a connection of its own."""

    def __init__(self, port: int) -> None:
        self.answers: list[Answer] = []
        self._port = port
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, clients: int, model: str, *bodies: bytes) -> None:
        """Start *clients* clients of *model*; each posts *bodies* in turn, again and again."""
        for _ in range(clients):
            self._threads.append(threading.Thread(target=self._post, args=(model, bodies)))
            self._threads[-1].start()

    def end(self) -> None:
        """Wait until each client has its last answer."""
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _post(self, model: str, bodies: tuple[bytes, ...]) -> None:
        headers = {"Content-Type": "application/octet-stream", **PATIENT}
        with closing(connect(self._port)) as connection:
            for body in cycle(bodies):
                path = f"/models/{model}"
                self.answers.append(ask(connection, body, path=path, headers=headers))
                if self._ended.is_set():
                    return


@contextmanager
def loaded(port: int) -> Iterator[Load]:
    """Load the server at *port* while the block runs."""
    load = Load(port)
    with ExitStack() as stack:
        stack.callback(load.end)
        yield load
