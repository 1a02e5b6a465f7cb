"""A server with a model repository, in a thread; the test sets its answers."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer, TCPServer, UnixStreamServer
from threading import Thread
from typing import Any, Self

#: A JSON value for status 200, a status with the bytes of a body, or all bytes of an answer.
Answer = Mapping[str, Any] | tuple[int, bytes] | bytes


def version(number: int, state: str, reason: str = "", *labels: str) -> dict[str, Any]:
    """Return a version as the server reports it."""
    return {"version": str(number), "state": state, "reason": reason, "labels": list(labels)}


def model(*versions: dict[str, Any], name: str = "flowers", problem: str = "") -> dict[str, Any]:
    """Return a model as the server reports it; its default is the newest version that serves."""
    serving = [it["version"] for it in versions if it["state"] == "serving"]
    return {
        "name": name,
        "default_version": serving[0] if serving else None,
        "labels": {label: it["version"] for it in versions for label in it["labels"]},
        "weight": 1.0,
        "problem": problem,
        "notes": [],
        "versions": list(versions),
    }


def refused(status: int, problem: str) -> tuple[int, bytes]:
    """Return an error answer of the server."""
    return status, json.dumps({"error": problem, "status": status, "request_id": "ab"}).encode()


@dataclass(frozen=True, slots=True)
class Received:
    """A request that the server has received."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]


class FakeModelServer:
    """
    Gives *answers* in their order, and the last one again to all further requests.

    It listens at *path*, a unix socket, or without one on a free TCP port, with *tls* if given.
    """

    def __init__(
        self, *answers: Answer, path: Path | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.received: list[Received] = []
        self._answers = list(answers)
        self._server: BaseServer
        if path is not None:
            self._server = UnixStreamServer(str(path), self._request_class())
            self.address = f"unix:{path}"
        else:
            server = TCPServer(("127.0.0.1", 0), self._request_class())
            self.address = f"http://127.0.0.1:{server.server_address[1]}"
            if tls is not None:
                server.socket = tls.wrap_socket(server.socket, server_side=True)
                self.address = f"https://localhost:{server.server_address[1]}"
            self._server = server
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that closes early
        self._thread = Thread(target=self._server.serve_forever, args=(0.005,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next_answer(self, request: Received) -> Answer:
        """Record *request*, and return its answer."""
        self.received.append(request)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def _request_class(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Request(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = fake.next_answer(
                    Received(self.command, self.path, body, dict(self.headers.items()))
                )
                if isinstance(answer, bytes):
                    self.wfile.write(answer)
                    return
                if isinstance(answer, Mapping):
                    answer = 200, json.dumps(answer).encode()
                status, data = answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as overridden
                """Log nothing."""

        return Request
