"""Start a registry as a process, and ask it by HTTP."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from server.discovery.worker_record import ModelLoad, WorkerRecord
from tests.integration.servers import TENSORFERRY, Server, port_in, readiness, started

REGISTRY = (*TENSORFERRY, "registry")

#: Any free port, and no other protocol.
HTTP_ALONE = (
    *("--listen", "tcp:0:interface=127.0.0.1"),
    *("--seaport-listen", "none", "--dns-listen", "none"),
)


class Registry:
    """A registry in a process of its own."""

    def __init__(self, process: Server) -> None:
        self.process = process
        self.port = process.port

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Return status and body of the answer; an underscore in a header is a dash."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, body, fields)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def register(self, record: WorkerRecord, lease: float = 60, **headers: str) -> int:
        """Register *record* for *lease* seconds, and return the status."""
        headers["X_Lease_Seconds"] = f"{lease:g}"
        return self.ask("PUT", f"/workers/{record.id}", record.to_json(), **headers)[0]


def worker_at(port: int, name: str = "w") -> WorkerRecord:
    """Return the record of a worker at *port*, with a model whose wait is the same for all."""
    return WorkerRecord(f"{name}-{port}", "127.0.0.1", port, {"m": ModelLoad(0.01, 0.01)})


@contextmanager
def running_registry(
    folder: Path, *options: str, command: Sequence[str] = REGISTRY
) -> Iterator[Registry]:
    """Start a registry in *folder*, wait until it is ready, and end it with the block."""
    with started(
        *(options or HTTP_ALONE), cache_home=folder, folder=folder, command=command
    ) as process:
        process.wait_for(lambda: port_in(process.log), "a port in the log")
        process.wait_for(lambda: readiness(process.port) == 200, "readiness")
        yield Registry(process)
