"""A registry of one worker, over HTTP: what a server writes to ``registry://``, and when."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket

from server.discovery.worker_record import WorkerRecord, from_json


@dataclass(slots=True)
class HTTPRegistry:
    """The calls so far; the token and the hook can be changed while it runs."""

    token: str = ""  #: refuse calls without it
    on_withdraw: Callable[[], object] = lambda: None  #: called before a removal is answered
    calls: list[str] = field(default_factory=list)  #: the methods of the calls that were answered
    leases: set[str] = field(default_factory=set)
    records: dict[str, WorkerRecord] = field(default_factory=dict)
    connections: set[socket] = field(default_factory=set)  #: those that have made calls
    port: int = 0  #: the same one after a restart

    @property
    def record(self) -> WorkerRecord | None:
        """The only record."""
        assert len(self.records) <= 1
        return next(iter(self.records.values()), None)

    @contextmanager
    def running(self) -> Iterator["HTTPRegistry"]:
        """Listen, and end with the block."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            """Answers the calls."""

            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                """Keep the record."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if registry.token and self.headers["Authorization"] != f"Bearer {registry.token}":
                    self._answer(401, b'{"error": "expected the token"}')
                    return
                record = from_json(body)
                assert self.path == f"/workers/{record.id}"
                registry.records[record.id] = record
                registry.leases.add(self.headers["X-Lease-Seconds"])
                registry.connections.add(self.connection)
                self._answer(204)

            def do_DELETE(self) -> None:
                """Remove the record."""
                registry.on_withdraw()
                registry.records.pop(self.path.removeprefix("/workers/"), None)
                self._answer(204)

            def _answer(self, status: int, body: bytes = b"") -> None:
                registry.calls.append(f"{self.command} {status}")
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = True
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            for connection in self.connections:
                with suppress(OSError):  # the client has closed it
                    connection.shutdown(SHUT_RDWR)
