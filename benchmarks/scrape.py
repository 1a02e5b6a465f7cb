"""
`python -m benchmarks.scrape`: what one scrape of `GET /metrics` costs, with many models.

States the CPU time of the reactor thread for a scrape, how long its answer takes, and by how much
a timer of 1 ms is late meanwhile: what the reactor waits for the interpreter lock.  The models are
null models, and each has answered requests.  The server and its clients are in this process.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.kept import json_option, stamped, write
from benchmarks.machine import process_cpu_seconds
from benchmarks.tables import table
from model.backend import LoadedModel, OnProgress
from model.repository.serving_toml import ServingFacts
from model.repository.snapshot import ModelOnDisk, Snapshot, VersionOnDisk
from server.model_loading import Loader, load_null
from server.process.collector import freeze_startup_objects
from server.repository.repositories import OneModel
from server.settings.table import Settings

#: A request of one row for a null model.
BODY = json.dumps({"inputs": {"body": ["row"]}}).encode()

#: Seconds of the reactor's timer whose delays are measured.
TIMER_SECONDS = 0.001


class NullModels(OneModel):
    """A repository of *count* null models."""

    def __init__(self, settings: Settings, count: int) -> None:
        super().__init__(settings, load_null)
        self.names = [f"model{number}" for number in range(count)]

    def read(self) -> Snapshot:
        """Return the models."""
        version = VersionOnDisk(1, Path(), stamp="", size=0, complete=True)
        return {it: ModelOnDisk(it, (version,), ServingFacts(), "") for it in self.names}

    def loader_of(self, model: ModelOnDisk, version: VersionOnDisk) -> Loader:
        """Return the loader of a null model with the name of *model*."""

        def load(settings: Settings, on_progress: OnProgress) -> LoadedModel:
            return replace(load_null(settings, on_progress), name=model.name)

        return load


class Delays:
    """How late a timer of a reactor is; `worst` is reset by its reader."""

    def __init__(self, call_later: Callable[..., object]) -> None:
        self.worst = 0.0
        self._call_later = call_later
        self._due = 0.0

    def start(self) -> None:
        """Begin; called on the reactor thread."""
        self._due = time.perf_counter() + TIMER_SECONDS
        self._call_later(TIMER_SECONDS, self._fired)

    def _fired(self) -> None:
        self.worst = max(self.worst, time.perf_counter() - self._due)
        self.start()


def ask(connection: HTTPConnection, method: str, path: str, body: bytes = b"") -> bytes:
    """Return the body of the answer; raises RuntimeError unless its status is 200."""
    headers = {"Content-Type": "application/json"} if body else {}
    connection.request(method, path, body or None, headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{method} {path}: {answer.status} {content[:200]!r}")
    return content


def measure(
    port: int, names: list[str], scrapes: int, reactor_thread: int, delays: Delays
) -> Mapping[str, Any]:
    """Send requests to all models, then scrape; return the figures, times in milliseconds."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    for name in names * 3:
        ask(connection, "POST", f"/models/{name}", BODY)
    ask(connection, "GET", "/metrics")  # imports and starts what the first one needs
    time.sleep(1)
    delays.worst = 0.0
    time.sleep(1)
    idle, cpu, took, late = delays.worst, [], [], []
    for _ in range(scrapes):
        used = process_cpu_seconds(os.getpid(), reactor_thread)
        delays.worst, began = 0.0, time.perf_counter()
        text = ask(connection, "GET", "/metrics")
        took.append(time.perf_counter() - began)
        cpu.append(process_cpu_seconds(os.getpid(), reactor_thread) - used)
        late.append(delays.worst)
        time.sleep(0.1)
    connection.close()
    return {
        "models": len(names),
        "series": sum(not line.startswith(b"#") for line in text.splitlines()),
        "bytes": len(text),
        "reactor_ms": round(median(cpu) * 1e3, 2),
        "answer_ms": round(median(took) * 1e3, 2),
        "late_ms": round(median(late) * 1e3, 2),
        "late_idle_ms": round(idle * 1e3, 2),
    }


def measured(models: int, scrapes: int) -> Mapping[str, Any]:
    """Serve *models* null models on this thread, and return the figures of *scrapes* scrapes."""
    from twisted.internet import reactor as installed  # noqa: PLC0415 - importing it installs one

    from server.http.listening import address_of  # noqa: PLC0415
    from server.service import InferenceService  # noqa: PLC0415 - Klein needs the reactor

    reactor: Any = installed  # Any: Twisted has no type with timers and threads
    figures: dict[str, Any] = {}
    settings = Settings(listen=("tcp:0:interface=127.0.0.1",), max_batch_size=4)
    failures: list[str] = []

    def fail(line: str) -> None:
        failures.append(line)
        reactor.stop()

    def begin() -> None:
        port = int(address_of(service.ports[0]).rpartition(":")[2])
        delays.start()
        threading.Thread(target=partial(run_client, port)).start()

    def run_client(port: int) -> None:
        try:
            figures.update(
                measure(
                    port, repository.names, scrapes, threading.main_thread().native_id or 0, delays
                )
            )
        finally:
            reactor.callFromThread(reactor.stop)

    def loaded() -> None:
        freeze_startup_objects()  # as a server does
        reactor.callLater(0, begin)

    service = InferenceService(settings, reactor, fail=fail, on_loaded=loaded)
    repository = NullModels(settings, models)
    service.reconciler.repository = repository
    delays = Delays(reactor.callLater)
    service.privilegedStartService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.callWhenRunning(service.startService)
    reactor.run()
    if failures or not figures:
        raise click.ClickException(failures[0] if failures else "the scrapes have failed")
    return figures


@click.command()
@click.option("--models", default=50, show_default=True, help="The number of null models.")
@click.option("--scrapes", default=10, show_default=True, help="The number of scrapes.")
@json_option
def main(models: int, scrapes: int, file: Path | None) -> None:
    """Measure the cost of a scrape."""
    with TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        figures = measured(models, scrapes)
    click.echo(table([figures]))
    if file is not None:
        write(file, stamped("scrape", figures))


if __name__ == "__main__":
    main()
