"""Several workers on one port, as processes, under load and with faults."""

import os
import signal
import socket
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path
from time import monotonic

import pytest

from tests.integration.daemons import has_ended
from tests.integration.servers import Server, free_port, readiness, reasons, run_program, wait_for
from tests.integration.supervised import (
    NUMPY_SERVER,
    Load,
    answers_of_workers,
    supervising,
    worker_pids,
    write_model,
)

pytestmark = pytest.mark.full


def wait_for_line(server: Server, line: str, count: int = 1) -> None:
    """Wait until *line* is in the log, *count* times."""
    server.wait_for(lambda: server.log.count(line) >= count, line)


def readiness_at(path: Path) -> int:
    """Return the status of `GET /readyz` at the Unix socket *path*, of mode 600."""
    assert path.stat().st_mode & 0o777 == 0o600
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: ferry\r\n\r\n")
        with closing(HTTPResponse(connection)) as response:
            response.begin()
            return response.status


def test_workers_share_a_port_and_are_replaced_without_a_failed_request(tmp_path: Path) -> None:
    """
    Each worker gets requests.  After each of two SIGUSR2 all processes are new; SIGHUP changes
    none.

    A Unix socket, which all workers share, keeps its path and mode until the end.  Then SIGTERM
    under load, to all processes: every request that was accepted is answered, exit code 0.
    """
    with supervising(tmp_path, "--listen=unix:ferry.sock:mode=600") as server:
        load = Load(server.port)
        pids = worker_pids(server.pid)
        for rolls in (1, 2):
            server.signal(signal.SIGUSR2)
            wait_for_line(server, "the workers are replaced, one by one", rolls)
            if rolls == 1:
                server.signal(signal.SIGUSR2)
            wait_for_line(server, "all workers are replaced", rolls)
            load.wait_for_answers(3)
            assert load.failures == []
            assert readiness_at(tmp_path / "ferry.sock") == 200
            before, pids = pids, worker_pids(server.pid)
            assert len(pids) == 2
            assert not {*before} & {*pids}
        assert server.log.count("the workers are not replaced: ") == 1
        server.signal(signal.SIGHUP)
        wait_for_line(server, "there is nothing to read again", 2)
        load.stop()
        assert load.failures == []
        assert worker_pids(server.pid) == pids
        assert set(answers_of_workers(server.log)) == {0, 1}
        load = Load(server.port)
        signalled = monotonic()
        server.signal()
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        assert server.exit_code() == 0
        load.stop()
        assert [failure for failure in load.failures if failure.written < signalled] == []
    assert [path for path in tmp_path.iterdir() if path.name.startswith("ferry.sock")] == []
    assert server.log.count("stopped; every accepted request was answered") == 6
    assert "Traceback" not in server.log


def test_a_killed_worker_fails_only_its_own_requests_and_is_started_again(tmp_path: Path) -> None:
    """No worker is left 2 s after its supervisor was killed."""
    with supervising(tmp_path) as server:
        load = Load(server.port)
        killed, other = worker_pids(server.pid)
        os.kill(killed, signal.SIGKILL)
        wait_for_line(server, "was ended by SIGKILL; it is started again in 1 s")
        load.wait_for_answers(3)
        failed = len(load.failures)
        assert 0 < failed <= 64  # at most two for each client: one in flight, one in the queue
        wait_for_line(server, "2 of 2 workers are ready", 2)
        load.wait_for_answers(3)
        load.stop()
        assert len(load.failures) == failed
        pids = worker_pids(server.pid)
        assert other in pids
        assert killed not in pids
        assert len(pids) == 2
        os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: all(map(has_ended, pids)), "the end of the workers", 2)


def test_a_roll_with_a_broken_model_keeps_the_old_workers(tmp_path: Path) -> None:
    """Its error is in the log, and no request fails."""
    with supervising(tmp_path) as server:
        load = Load(server.port, 4)
        pids = worker_pids(server.pid)
        (tmp_path / "model.npz").write_bytes(b"broken")
        server.signal(signal.SIGUSR2)
        wait_for_line(server, "the workers from 0 on are not replaced")
        load.wait_for_answers(3)
        load.stop()
        assert load.failures == []
        assert worker_pids(server.pid) == pids
        assert "the new worker 0 has ended with exit code 1" in server.log


def test_another_server_on_the_port_is_an_error(tmp_path: Path) -> None:
    """Also if it permits others on its port; no worker is started, and no reason is given twice."""
    write_model(tmp_path)
    port = free_port()
    command = [*NUMPY_SERVER, "--model=model.npz", "--workers=2", f"--port={port}"]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        refused = run_program(command, cache_home=tmp_path, folder=tmp_path)
    assert refused.returncode == 1
    reason = f"cannot listen on tcp:{port}:interface=127.0.0.1: Address already in use"
    lines = reasons(refused.stderr)
    assert lines[0].endswith(f" critical {reason}")
    assert "worker" not in refused.stderr


def test_a_first_worker_that_fails_ends_the_start(tmp_path: Path) -> None:
    """With exit code 1 and the worker's own reason, once."""
    (tmp_path / "model.npz").write_bytes(b"broken")
    command = [*NUMPY_SERVER, "--model=model.npz", "--workers=2", "--port=0"]
    failed = run_program(command, cache_home=tmp_path, folder=tmp_path)
    assert failed.returncode == 1
    critical = [line for line in failed.stderr.splitlines() if " critical " in line]
    assert len(critical) == 1
    assert " critical worker 0: " in critical[0]


def test_a_second_signal_ends_all_workers_at_once(tmp_path: Path) -> None:
    """With exit code 1, although a request is not received completely."""
    with supervising(tmp_path) as server:
        pids = worker_pids(server.pid)
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(b"POST / HTTP/1.1\r\nHost: ferry\r\nContent-Length: 10\r\n\r\n")
            server.signal()
            server.wait_for(lambda: readiness(server.port) is None, "a port that is closed")
            server.signal()
            assert server.exit_code(10) == 1
        assert all(map(has_ended, pids))
