"""
Post images as clients do, one or many at a time, and read the answers.

A failure in the thread of a client fails the test that waits for it.
"""

import re
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from itertools import cycle
from time import monotonic

import orjson

#: Seconds for which a client waits for a byte.
SOCKET_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """One entry ``batch`` of Server-Timing."""

    rows: int
    cap: int
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer."""

    status: int
    headers: Mapping[str, str]  #: names in lower case
    body: bytes
    began: float  #: when its first byte was sent, by the monotonic clock
    ended: float  #: when the last byte of the answer was read

    @property
    def seconds(self) -> float:
        """Seconds that the client waited."""
        return self.ended - self.began

    @property
    def labels(self) -> list[tuple[str, float]]:
        """The labels and their scores, the best first."""
        assert self.status == 200, f"{self.status} {self.body!r}"
        return [(label, score) for label, score in orjson.loads(self.body)]

    @property
    def best(self) -> str:
        """The best label."""
        return self.labels[0][0]

    @property
    def error(self) -> str:
        """The message of an error answer; its status and request id are checked."""
        content = orjson.loads(self.body)
        assert content["status"] == self.status
        assert content["request_id"] == self.headers["x-request-id"]
        return str(content["error"])

    @property
    def batches(self) -> list[BatchEntry]:
        """The batches in which the rows of the request ran."""
        timing = self.headers.get("server-timing", "")
        found = re.findall(r'batch;desc="(\d+)/(\d+) ([\w-]+)"', timing)
        return [BatchEntry(int(rows), int(cap), reason) for rows, cap, reason in found]


def read_answer(response: HTTPResponse, began: float) -> Answer:
    """Read *response* to the request that was sent at *began*."""
    body = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body, began, monotonic())


def connect(port: int) -> HTTPConnection:
    """Return an open connection."""
    connection = HTTPConnection("127.0.0.1", port, timeout=SOCKET_TIMEOUT)
    connection.connect()
    return connection


def ask(
    connection: HTTPConnection,
    body: bytes,
    *,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Post *body* over *connection*, which stays open."""
    began = monotonic()
    connection.request("POST", path, body, dict(headers or {}))
    return read_answer(connection.getresponse(), began)


def post(
    port: int, body: bytes, *, path: str = "/", headers: Mapping[str, str] | None = None
) -> Answer:
    """Post *body* over a connection of its own."""
    connection = connect(port)
    try:
        return ask(connection, body, path=path, headers=headers)
    finally:
        connection.close()


def get(port: int, path: str) -> Answer:
    """Get *path*."""
    connection = connect(port)
    try:
        began = monotonic()
        connection.request("GET", path)
        return read_answer(connection.getresponse(), began)
    finally:
        connection.close()


def post_all(
    port: int,
    bodies: Sequence[bytes],
    connections: int,
    *,
    path: str = "/",
    on_start: Callable[[], None] | None = None,
) -> list[Answer]:
    """
    Post *bodies* over *connections* connections, which start together; return the answers in order.

    Each connection posts its share, one body after the other.  *on_start* is called at the start.
    """
    together = threading.Barrier(connections, on_start)

    def post_share(start: int) -> list[Answer]:
        connection = connect(port)
        try:
            together.wait(SOCKET_TIMEOUT)
            return [ask(connection, body, path=path) for body in bodies[start::connections]]
        except BaseException:
            together.abort()
            raise
        finally:
            connection.close()

    answers: list[Answer | None] = [None] * len(bodies)
    with ThreadPoolExecutor(connections) as threads:
        for start, share in enumerate(threads.map(post_share, range(connections))):
            answers[start::connections] = share
    return [answer for answer in answers if answer is not None]


def mean_rows(answers: Iterable[Answer]) -> float:
    """
    Return the mean rows of the batches that *answers* list.

    A batch of n rows is listed in n answers, so each of them counts for an n-th of it.
    """
    batches = [batch for answer in answers for batch in answer.batches]
    return len(batches) / sum(1 / batch.rows for batch in batches)


def form(*files: bytes, fields: Sequence[str] = ("data",)) -> tuple[bytes, dict[str, str]]:
    """Return the body and the header of a form with *files*, in the *fields* by turns."""
    names = cycle(fields)
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="a.jpg"\r\n\r\n'.encode()
        + file
        + b"\r\n"
        for name, file in zip(names, files, strict=False)
    )
    return body + b"--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}


def request_bytes(
    body: bytes,
    *,
    path: str = "/",
    close: bool = False,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of a request that posts *body*."""
    head = f"POST {path} HTTP/1.1\r\nHost: ferry\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return head.encode() + (b"Connection: close\r\n" if close else b"") + b"\r\n" + body


def open_socket(port: int) -> socket.socket:
    """Return a raw connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=SOCKET_TIMEOUT)


def receive_answer(raw: socket.socket, began: float) -> Answer:
    """Read one answer from a socket."""
    response = HTTPResponse(raw, method="POST")
    try:
        response.begin()
        return read_answer(response, began)
    finally:
        response.close()


def send_until_answered(port: int, parts: Iterator[bytes]) -> Answer:
    """Send *parts* until there is an answer, as a client that reads while it sends."""
    began = monotonic()
    with open_socket(port) as raw:
        for part in parts:
            unsent = memoryview(part)
            while unsent:
                answered, room, _ = select.select([raw], [raw], [], SOCKET_TIMEOUT)
                assert answered or room, "the server neither reads nor answers"
                if answered:
                    return receive_answer(raw, began)
                unsent = unsent[raw.send(unsent) :]
        return receive_answer(raw, began)
