"""
A server whose answers take a known time, to test programs that measure times.

Each connection has a thread of its own, so that no request waits for another one.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

#: How much too long a sleep may last, in seconds.
MAX_OVERSLEEP_SECONDS = 0.0005

#: Returns the bytes of the answer to the request of this number, counted from 1.
Answer = Callable[[int], bytes]


def plain(body: bytes = b"ok", status: str = "200 OK", head: str = "") -> bytes:
    """Return an HTTP answer; *head* holds further header lines, each ended by CR LF."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


@dataclass(slots=True)
class TimedServer:
    """Answers each request *delay* seconds after it has been read."""

    delay: float = 0.0  #: seconds
    answer: Answer = lambda _: plain()
    stall_at: int = 0  #: the request at whose arrival it stalls; 0: none
    stall: float = 0.0  #: seconds for which nothing at all is answered then
    requests: int = 0  #: how many it has read
    port: int = 0
    _stalled_until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            waiting = b""
            while data := connection.recv(1 << 16):
                waiting += data
                head, found, rest = waiting.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split()[0])
                if found and len(rest) >= length:
                    connection.sendall(self._answer_in_time(time.monotonic()))
                    waiting = b""

    def _answer_in_time(self, now: float) -> bytes:
        with self._lock:
            self.requests += 1
            number = self.requests
            if number == self.stall_at:
                self._stalled_until = now + self.stall
            due = max(now + self.delay, self._stalled_until)
        time.sleep(max(0.0, due - time.monotonic() - MAX_OVERSLEEP_SECONDS))
        while time.monotonic() < due:
            pass  # a sleep alone would be too long, compared with the delays that are measured
        return self.answer(number)


@contextmanager
def timed_server(
    server: TimedServer, secured: ssl.SSLContext | None = None
) -> Iterator[TimedServer]:
    """Run *server* on a port of its own while the block runs."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server.port = listening.getsockname()[1]

    def accept() -> None:
        with suppress(OSError):  # the socket is shut down at the end
            while True:
                connection, _ = listening.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=greet, args=(connection,), daemon=True).start()

    def greet(connection: socket.socket) -> None:
        with suppress(OSError):  # a client that refuses the certificate
            if secured is not None:
                connection = cast(
                    "socket.socket", secured.wrap_socket(connection, server_side=True)
                )
            server._serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)
