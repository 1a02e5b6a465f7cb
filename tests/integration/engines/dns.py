"""
A name server of workers as a process, and questions by dig.

`python -m tests.integration.engines.dns FILE PORT` is the process: it answers for the workers whose
records are in FILE, one a line, which it reads again every 20 ms.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.internet.task import LoopingCall

from server.clock import MonotonicTime
from server.discovery.members import Members
from server.discovery.worker_record import WorkerRecord, from_json
from server.process.logs import begin_logging
from server.registry.dns_service import dns_service
from tests.fakes.dns import ALL, ZONE, Workers
from tests.integration.engines.programs import needed
from tests.integration.servers import Server, started, wait_for

#: Seconds between two looks at the file.
INTERVAL = 0.02


class NameServer:
    """The workers that a name server has; changes are answered after `INTERVAL`."""

    def __init__(self, server: Server, records: Path) -> None:
        self._records = records
        self._workers: dict[str, WorkerRecord] = {}
        self.server = server
        self.port = server.wait_for(lambda: port_in(server.log), "name server")

    def put(self, *records: WorkerRecord) -> None:
        """Add workers, or replace those of the same ids."""
        self._workers |= {it.id: it for it in records}
        self._write()

    def remove(self, *ids: str) -> None:
        """Remove workers."""
        for id_ in ids:
            del self._workers[id_]
        self._write()

    def _write(self) -> None:
        new = self._records.with_suffix(".new")
        new.write_bytes(b"".join(it.to_json() + b"\n" for it in self._workers.values()))
        new.rename(self._records)

    def dig(self, *arguments: str) -> str:
        """Return what dig prints for a question to this server."""
        return subprocess.run(
            [needed("dig"), "@127.0.0.1", "-p", str(self.port), "+tries=1", *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many workers are answered."""
        wait_for(
            lambda: len(self.dig("+short", ALL, "SRV").splitlines()) == count, "workers by DNS"
        )


def port_in(log: str) -> int | None:
    """Return the port in the *log* of a name server, or None."""
    found = re.search(r"answering DNS for \S+ on 127\.0\.0\.1:(\d+)", log)
    return int(found[1]) if found else None


@contextmanager
def name_server(folder: Path, port: int = 0) -> Iterator[NameServer]:
    """Start a name server without workers, on any free port, or on *port*."""
    folder.mkdir()
    records = folder / "records"
    records.touch()
    command = (sys.executable, "-P", "-m", __name__, str(records), str(port))
    with started(cache_home=folder, folder=folder, command=command) as server:
        yield NameServer(server, records)


def main(file: str, port: str) -> None:
    """Answer for the workers in *file* until a signal."""
    from twisted.internet import reactor

    begin_logging("plain").start(reactor)
    members = Members("a file", MonotonicTime(reactor).seconds)
    workers = Workers([], [members])
    path, read = Path(file), [""]

    def read_again() -> None:
        text = path.read_text()
        if text != read[0]:
            read[0] = text
            workers.listed = [from_json(line.encode()) for line in text.splitlines()]

    members.is_current()
    service = dns_service(workers, ZONE, reactor, ("127.0.0.1", int(port)))
    service.privilegedStartService()
    LoopingCall(read_again).start(INTERVAL)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
