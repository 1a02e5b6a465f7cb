"""A stop under clients that open a connection for each request: none is reset."""

import socket
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest

from server.http.syn_filter import refuse_new_connections, take_new_connections
from tests.fakes.numpy_backend import LinearModel
from tests.integration.clients import open_socket, request_bytes
from tests.integration.servers import serving, wait_for

pytestmark = pytest.mark.full

MOODY_SERVER = (sys.executable, "-P", "-m", "tests.integration.moody_server")

CLIENTS = 64
STOPS = 5

BODY = orjson.dumps({"signature_name": "numbers", "inputs": {"x": [[1.0, 1.0]]}})


class Clients:
    """Threads that each post on a new connection, again and again, until one is refused."""

    def __init__(self, port: int) -> None:
        #: Of the connections that ended, how many were "answered", "refused", or "reset".
        self.ends: Counter[str] = Counter()
        self._port = port
        self._request = request_bytes(BODY, close=True)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Wait until all have been refused."""
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _run(self) -> None:
        end = ""
        while end != "refused":
            end = self._post()
            with self._lock:
                self.ends[end] += 1

    def _post(self) -> str:
        """Return how the connection of a request has ended."""
        try:
            raw = open_socket(self._port)
        except ConnectionRefusedError:
            return "refused"
        except ConnectionError:
            return "reset"
        with raw:
            try:
                raw.sendall(self._request)
                answer = raw.makefile("rb").read()
            except ConnectionError:
                return "reset"
        return "answered" if answer.startswith(b"HTTP/1.1 200 ") else "reset"


def stop_under_clients(folder: Path, *options: str) -> Counter[str]:
    """Start a server with *options*, stop it under clients, and return how connections ended."""
    folder.mkdir()
    model = folder / "model.npz"
    LinearModel(np.zeros((1, 1, 3, 1), np.float32), np.ones((2, 1), np.float32)).save(model)
    with serving(
        f"--model={model}", "--max-batch-size=64", *options,
        cache_home=folder, folder=folder, command=MOODY_SERVER,
    ) as server:  # fmt: skip
        clients = Clients(server.port)
        wait_for(lambda: clients.ends["answered"] > 5 * CLIENTS, "answers for all")
        server.signal()
        clients.wait()
        assert server.exit_code() == 0
    return clients.ends


def test_a_filtered_socket_takes_new_connections_again() -> None:
    """A worker that succeeds one that was stopped alone listens on the same socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, 5) as queued:
            assert refuse_new_connections(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, 0.2)
            accepted, _ = listener.accept()
            with accepted:
                queued.sendall(b"a request")
                assert accepted.recv(16) == b"a request"
        take_new_connections(listener)
        take_new_connections(listener)  # without a filter it does nothing
        socket.create_connection(address, 5).close()


def test_a_stop_resets_no_connection(tmp_path: Path) -> None:
    """Each is answered, or refused before it is made."""
    ends: Counter[str] = Counter()
    for stop in range(STOPS):
        ends += stop_under_clients(tmp_path / str(stop))
    assert ends["reset"] == 0
    assert ends["refused"] == STOPS * CLIENTS
