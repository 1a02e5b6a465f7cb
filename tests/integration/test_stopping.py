"""The requests of a server that gets a stop signal."""

import socket
import threading
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPResponse
from math import inf
from pathlib import Path
from time import monotonic

import pytest

from tests.integration.clients import (
    Answer,
    open_socket,
    read_answer,
    receive_answer,
    request_bytes,
)
from tests.integration.photos import KNOWN, jpeg, mixed
from tests.integration.servers import (
    SERVE,
    START,
    TWISTD_N,
    Server,
    readiness,
    serving,
    started,
    wait_for,
    with_gpu_listed,
)

pytestmark = pytest.mark.full

CLIENTS = 32


@dataclass(slots=True)
class Attempt:
    """One request and its outcome."""

    written: float = inf  #: when the whole request was written, by the monotonic clock
    answer: Answer | None = None  #: None if the connection ended before the first byte of an answer


class ClientThread:
    """
    A thread that posts one photo after the other until the server no longer listens.

    A connection carries one request, or with *keep_alive* as many as the server allows.
    """

    def __init__(self, port: int, name: str, *, keep_alive: bool) -> None:
        self.name = name
        self.attempts: list[Attempt] = []
        self._port = port
        self._request = request_bytes(jpeg(name), close=not keep_alive)
        self._refused = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the thread has ended; fail if it ended for another reason."""
        self._thread.join(30)
        assert self._refused, "a client still runs, or received an invalid answer"

    def _run(self) -> None:
        while not self._refused:
            try:
                raw = open_socket(self._port)
            except ConnectionError:
                self._refused = True
            else:
                with raw:
                    while self._can_send_another_after_attempt(raw):
                        pass

    def _can_send_another_after_attempt(self, raw: socket.socket) -> bool:
        attempt = Attempt()
        self.attempts.append(attempt)
        with closing(HTTPResponse(raw, method="POST")) as response:
            try:
                raw.sendall(self._request)
                attempt.written = monotonic()
                response.begin()
            except ConnectionError:
                return False
            # From here on an error fails the test: half an answer is worse than none.
            attempt.answer = read_answer(response, attempt.written)
            return not response.will_close


def stop_under_load(server: Server) -> tuple[list[ClientThread], float]:
    """Stop *server* under load; return the ended clients, and when the signal was sent."""
    clients = [
        ClientThread(server.port, name, keep_alive=number % 2 == 0)
        for number, (name, _) in enumerate(mixed(CLIENTS))
    ]
    wait_for(lambda: all(len(each.attempts) > 3 for each in clients), "three answers for all")
    signalled = monotonic()
    server.signal()
    for each in clients:
        each.wait()
    return clients, signalled


class Systemd:
    """The socket of a service manager, and the lines received on it."""

    def __init__(self, folder: Path) -> None:
        self.variables = {"NOTIFY_SOCKET": str(folder / "notify")}
        self.received: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.variables["NOTIFY_SOCKET"])
        self._socket.settimeout(START)

    def wait_for(self, line: str) -> None:
        """Receive until *line* arrives."""
        while line not in self.received:
            self.received.extend(self._socket.recv(4096).decode().splitlines())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@pytest.mark.usefixtures("server")
def test_a_stop_under_load_answers_every_request_that_was_sent(
    cache_home: Path, tmp_path: Path
) -> None:
    """
    A request that was written before the signal is answered, on every connection.

    A later one is answered as well, or its connection ends before the first byte of an answer.
    The start beside modules of a user is a second one, which converts and measures nothing; and
    systemd gets the lines of its protocol.
    """
    for name in ("model", "server", "batcher", "scripts", "twisted"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('of another project')\n")
    with (
        closing(Systemd(tmp_path)) as systemd,
        started(
            "--port=0", "--default-timeout=none", cache_home=cache_home, folder=tmp_path,
            variables=systemd.variables,
        ) as server,
    ):  # fmt: skip
        systemd.wait_for("READY=1")
        clients, signalled = stop_under_load(server)
        assert server.exit_code() == 0
        systemd.wait_for("STOPPING=1")
    for client in clients:
        for attempt in client.attempts:
            assert attempt.answer is not None or attempt.written > signalled
            if attempt.answer is not None:
                assert attempt.answer.best in KNOWN[client.name]
    answers = [it.answer for each in clients for it in each.attempts if it.answer is not None]
    under_way = [it for it in answers if it.began < signalled < it.ended]
    assert len(under_way) >= CLIENTS / 2, "the load was too low"
    assert any(it.headers.get("connection") == "close" for it in under_way)
    assert "stopped; every accepted request was answered" in server.log
    assert "converting" not in server.log
    received = systemd.received
    assert received.index("STATUS=loading TensorFlow") < received.index("READY=1")
    assert received.index("STATUS=ready") < received.index("STATUS=draining")


@pytest.mark.parametrize("command", [SERVE, TWISTD_N], ids=["serve", "twistd"])
def test_requests_half_sent_before_the_stop_are_answered_until_a_second_signal(
    cache_home: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """
    During `--drain-delay` a new request is answered too, and `/readyz` answers 503.

    The server waits for the rest of a request; the second signal ends it, not with 0.
    """
    with serving(
        "--drain-delay=2", "--device=cpu", cache_home=cache_home, folder=tmp_path, command=command,
        variables=with_gpu_listed(tmp_path),
    ) as server:  # fmt: skip
        request = request_bytes(jpeg("coffee.png"))
        with (
            open_socket(server.port) as half,
            open_socket(server.port) as late,
            open_socket(server.port) as slow,
        ):
            for raw in (half, slow):
                raw.sendall(request[:1000])
            server.signal()
            server.wait_for(lambda: readiness(server.port) == 503, "a drain")
            late.sendall(request)
            assert receive_answer(late, monotonic()).best == "espresso"
            server.wait_for(lambda: readiness(server.port) is None, "a port that is closed")
            half.sendall(request[1000:])
            assert receive_answer(half, monotonic()).best == "espresso"
            assert server.running
            server.signal()
            began = monotonic()
            assert server.exit_code(10) != 0
            assert monotonic() - began < 5
        assert "stopped at once; requests were dropped" in server.log
