"""
`python -m benchmarks.registrations`: a registry process with 1,000 workers.

The workers are connections of this process: each registers over HTTP, and writes its record again
every second with another wait.  States what that costs the registry, how many requests for a
worker it answers meanwhile, and when a worker that dies is no longer listed, in `GET /workers` and
in the DNS.  The exit code is 1 if a bound does not hold.
"""

import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, Popen
from tempfile import TemporaryDirectory
from typing import Any

import click
import orjson
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.internet.threads import deferToThread
from twisted.names.client import Resolver
from twisted.names.error import DNSNameError
from twisted.python.failure import Failure

from benchmarks.kept import json_option, stamped, write
from benchmarks.machine import process_cpu_seconds, resident_bytes
from benchmarks.served import free_port, is_ready
from benchmarks.tables import table
from benchmarks.wrk import closed_loop
from server.clock import MonotonicTime
from server.discovery.worker_record import ModelLoad, WorkerRecord

LEASE = 10.0  #: seconds
REPORT_SECONDS = 1.0
MODELS = ("classifier", "detector")
ZONE = "benchmark.internal"

#: The model that only the worker which dies has.
MORTAL = "mortal"

#: Clients that ask for a worker, each on a connection of its own.
CLIENTS = 16

#: How often it is asked whether a worker that died is still listed, in seconds.
POLL_SECONDS = 0.2

#: At most so many bytes pass through the registry for each request to a worker, in both directions;
#: a worker that died is listed for at most so many seconds beyond its lease.
MAX_REQUEST_BYTES, MAX_LATE_SECONDS = 1024, 1.0

#: The request of curl for a worker.
CURL = b"GET / HTTP/1.1\r\nHost: localhost:12480\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"

PATIENCE = 30.0  #: seconds for the registry to start, and for an answer

Figures = dict[str, Any]


class Exchange(Protocol):
    """A connection that is kept: one request at a time, with all bytes counted."""

    transport: Any  # Any: of TCP

    def __init__(self) -> None:
        self.sent = self.received = 0  #: bytes
        self._buffer = b""
        self._waiting: Deferred[bytes] | None = None

    def ask(self, request: bytes) -> Deferred[bytes]:
        """Send *request*; the Deferred fires with the body of the answer, which must be of 2xx."""
        self._waiting = Deferred()
        self.sent += len(request)
        self.transport.write(request)
        return self._waiting

    def dataReceived(self, data: bytes) -> None:
        """Called with bytes of an answer."""
        self.received += len(data)
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        length = int((head.lower().partition(b"content-length: ")[2].split() or [b"0"])[0])
        if found and len(rest) >= length and self._waiting is not None:
            self._buffer = b""
            waiting, self._waiting = self._waiting, None
            if head.split()[1][:1] != b"2":
                waiting.errback(Failure(click.ClickException(f"the registry answered {head!r}")))
            else:
                waiting.callback(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is lost."""
        if self._waiting is not None:
            self._waiting.errback(reason)


@dataclass(slots=True)
class SimulatedWorker:
    """One worker, which writes its record on a connection of its own."""

    number: int
    connection: Exchange
    models: tuple[str, ...] = MODELS
    reports: int = 0
    loop: LoopingCall | None = None

    @property
    def id(self) -> str:
        """The id of its record."""
        return f"w-{self.number}"

    def report(self) -> Deferred[bytes]:
        """Write the record, with another wait than before."""
        self.reports += 1
        wait = (self.number * 7 + self.reports * 13) % 97 / 1e3
        loads = {name: ModelLoad(wait, 0.001, ("1",)) for name in self.models}
        port = 1024 + self.number
        body = WorkerRecord(self.id, "127.0.0.1", port, loads).to_json()
        head = (
            f"PUT /workers/{self.id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            f"X-Lease-Seconds: {LEASE:g}\r\n\r\n"
        )
        return self.connection.ask(head.encode() + body)

    def die(self) -> None:
        """End without a word: the record is written no more."""
        if self.loop is not None:
            self.loop.stop()
            self.loop = None
        self.connection.transport.abortConnection()


@dataclass(slots=True)
class Fleet:
    """The workers, and their registry."""

    reactor: Any
    port: int
    dns_port: int
    pid: int
    workers: list[SimulatedWorker] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    async def connect(self) -> Exchange:
        """Return a new connection to the registry."""
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.port)
        connected: Exchange = await connectProtocol(endpoint, Exchange())
        return connected

    async def register(self, count: int) -> Figures:
        """Register *count* workers as fast as the registry answers."""
        for number in range(count):
            models = MODELS if number else (*MODELS, MORTAL)
            self.workers.append(SimulatedWorker(number, await self.connect(), models))
        began = time.monotonic()
        cpu = process_cpu_seconds(self.pid)
        await gatherResults([worker.report() for worker in self.workers], consumeErrors=True)
        seconds = time.monotonic() - began
        used = process_cpu_seconds(self.pid) - cpu
        return {"registered_s": round(seconds, 3), "registration_us": round(used / count * 1e6)}

    async def begin_reports(self) -> None:
        """Let each worker report every `REPORT_SECONDS`, all at different times."""
        for worker in self.workers:
            worker.loop = LoopingCall(worker.report)
            worker.loop.clock = MonotonicTime(self.reactor)
            worker.loop.start(REPORT_SECONDS, now=False).addErrback(self.failures.append)
            await deferLater(self.reactor, REPORT_SECONDS / len(self.workers))

    async def over(self, wait: Callable[[], Awaitable[Figures]]) -> Figures:
        """Return what the registry has used in each second of *wait*, and the figures of that."""
        began, cpu, reports, size = time.monotonic(), process_cpu_seconds(self.pid), *self._sums()
        figures = await wait()
        seconds = time.monotonic() - began
        reports_after, size_after = self._sums()
        return {
            "reports_per_s": round((reports_after - reports) / seconds),
            "cores": round((process_cpu_seconds(self.pid) - cpu) / seconds, 3),
            "report_bytes_per_s": round((size_after - size) / seconds),
            "memory_mib": round(resident_bytes(self.pid) / 2**20, 1),
            **figures,
        }

    def _sums(self) -> tuple[int, int]:
        connections = [worker.connection for worker in self.workers]
        size = sum(it.sent + it.received for it in connections)
        return sum(it.reports for it in self.workers), size

    async def idle(self, seconds: float) -> Figures:
        """Let the workers alone report."""
        await deferLater(self.reactor, seconds)
        return {}

    async def asked(self, seconds: float) -> Figures:
        """Let clients ask for workers, as fast as they are answered."""
        url = f"http://127.0.0.1:{self.port}/?model={MODELS[0]}"
        figures = await deferToThread(closed_loop, url, CLIENTS, seconds, 0, method="GET")
        if figures.refused or figures.broken:
            raise click.ClickException(f"not all requests were answered: {figures}")
        return {"answers_per_s": round(figures.rate), "p99_ms": figures.p99_ms}

    async def request_bytes(self) -> int:
        """Return the bytes of a request of curl for a worker, with its answer."""
        connection = await self.connect()
        await connection.ask(CURL)
        connection.transport.loseConnection()
        return connection.sent + connection.received

    async def death(self) -> Figures:
        """End the first worker; return after how many seconds it is listed nowhere."""
        connection = await self.connect()
        died = self.workers.pop(0)
        died.die()
        began = time.monotonic()
        gone: Figures = {}
        while len(gone) < 2 and time.monotonic() < began + LEASE + 10 * MAX_LATE_SECONDS:
            if "http_gone_s" not in gone and not await self._lists(connection, died.id):
                gone["http_gone_s"] = round(time.monotonic() - began, 2)
            if "dns_gone_s" not in gone and await self._is_no_name():
                gone["dns_gone_s"] = round(time.monotonic() - began, 2)
            await deferLater(self.reactor, POLL_SECONDS)
        connection.transport.loseConnection()
        return gone

    async def _lists(self, connection: Exchange, worker_id: str) -> bool:
        answer = orjson.loads(await connection.ask(b"GET /workers HTTP/1.1\r\nHost: a\r\n\r\n"))
        return any(it["id"] == worker_id for it in answer["workers"])

    async def _is_no_name(self) -> bool:
        resolver = Resolver(servers=[("127.0.0.1", self.dns_port)], timeout=(1, 3))
        try:
            answers, _, _ = await resolver.lookupService(f"_{MORTAL}._tensorferry._tcp.{ZONE}")
        except DNSNameError:
            return True
        return not answers

    def stop(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.die()


@contextmanager
def registry(folder: Path) -> Iterator[tuple[int, int, int]]:
    """Context manager: run a registry; yield its process id, and its ports of HTTP and DNS."""
    port, dns_port = free_port(), free_port()
    with (folder / "registry.log").open("wb") as log:
        process = Popen(  # noqa: S603 - ours
            [
                sys.executable, "-m", "tensorferry", "registry", "--seaport-listen=none",
                f"--listen=tcp:{port}:interface=127.0.0.1", f"--dns-listen=127.0.0.1:{dns_port}",
                f"--zone={ZONE}",
            ],
            stdin=DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not is_ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException((folder / "registry.log").read_text())
            time.sleep(0.1)
        yield process.pid, port, dns_port
    finally:
        process.terminate()
        process.wait(PATIENCE)


async def measure(fleet: Fleet, count: int, seconds: float) -> Figures:
    """Return the figures of *count* workers."""
    registered = await fleet.register(count)
    await fleet.begin_reports()
    reporting = await fleet.over(lambda: fleet.idle(seconds))
    asked = await fleet.over(lambda: fleet.asked(seconds))
    size = await fleet.request_bytes()
    gone = await fleet.death()
    fleet.stop()
    if fleet.failures:
        raise click.ClickException(f"{len(fleet.failures)} workers failed: {fleet.failures[0]}")
    phases = [{"phase": "reports", **reporting}, {"phase": "and requests", **asked}]
    return {**registered, "request_bytes": size, **gone, "phases": phases}


def verdicts(figures: Mapping[str, Any]) -> list[Figures]:
    """Return the bounds; a figure that was not measured fails."""
    bounds = {
        "request_bytes": MAX_REQUEST_BYTES,
        "http_gone_s": LEASE + MAX_LATE_SECONDS,
        "dns_gone_s": LEASE + MAX_LATE_SECONDS,
    }
    return [
        {
            "figure": name, "bound": bound, "measured": figures.get(name),
            "": "pass" if figures.get(name, bound + 1) <= bound else "FAIL",
        }
        for name, bound in bounds.items()
    ]  # fmt: skip


@click.command()
@click.option("--workers", default=1000, show_default=True, help="Workers that register.")
@click.option("--seconds", default=10.0, show_default=True, help="Of each phase.")
@json_option
def main(workers: int, seconds: float, file: Path | None) -> None:
    """Measure a registry with many workers."""
    stamp = stamped("registrations", {"workers": workers, "lease_s": LEASE})

    async def run(reactor: Any) -> None:
        with TemporaryDirectory() as folder, registry(Path(folder)) as (pid, port, dns_port):
            figures = await measure(Fleet(reactor, port, dns_port, pid), workers, seconds)
        judged = verdicts(figures)
        once = {name: value for name, value in figures.items() if name != "phases"}
        click.echo("\n\n".join(table(rows) for rows in ([once], figures["phases"], judged)))
        if file is not None:
            write(file, {**stamp, **figures, "verdicts": judged})
        if any(it[""] == "FAIL" for it in judged):
            raise SystemExit(1)

    react(lambda reactor: ensureDeferred(run(reactor)))


if __name__ == "__main__":
    main()
