"""The log of a server in a process of its own: JSON lines, bursts of errors, slow requests."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
import pytest

from tests.fakes.numpy_backend import LinearModel
from tests.integration.clients import Answer, get, post, post_all
from tests.integration.daemons import daemon_port, has_ended, killed_after, write_model
from tests.integration.moody_server import SLOW, SLOW_ROW
from tests.integration.servers import (
    TWISTD,
    Server,
    environment,
    port_in,
    serving,
    wait_for,
)

pytestmark = pytest.mark.full

MOODY_SERVER = (sys.executable, "-P", "-m", "tests.integration.moody_server")
OPTIONS = ("--model", "model.npz", "--access-log", "--log-format", "json")

#: Any: a line of the log, as parsed.
Line: TypeAlias = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a linear model."""
    LinearModel(np.ones((4, 4, 3, 2), np.float32), np.ones((2, 3), np.float32)).save(
        tmp_path / "model.npz"
    )
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """A server with a JSON log, an access log, and slow requests."""
    options = (*OPTIONS, "--slow-request-ms", str(SLOW * 500))
    with serving(
        *options, cache_home=folder, folder=folder, command=MOODY_SERVER, patience=30
    ) as ready:
        yield ready


def body(*rows: float) -> bytes:
    """Return a request with a row of numbers for each of *rows*."""
    inputs = {"x": [[row, 0.0] for row in rows]}
    return orjson.dumps({"signature_name": "numbers", "inputs": inputs})


def lines_of(log: str) -> list[Line]:
    """Return the lines of a JSON log; fails if one is no JSON, or has no time."""
    lines = [orjson.loads(line) for line in log.splitlines()]
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
    assert all(stamp.fullmatch(line["time"]) for line in lines)
    assert all({"level", "logger", "message"} <= line.keys() for line in lines)
    return lines


def ended(server: Server) -> list[Line]:
    """Stop the server, and return all lines of its log."""
    server.signal()
    assert server.exit_code() == 0, server.log
    return lines_of(server.log)


def check_entry(line: Line, answer: Answer) -> None:
    """Check the line of the access log for *answer*."""
    assert (line["request_id"], line["status"]) == (answer.headers["x-request-id"], answer.status)
    assert line["bytes"] == len(answer.body)
    # The client may have read the answer before the server takes the time for `ms`.
    assert 0.0 < line["whole_ms"] <= min(line["ms"], 1e3 * answer.seconds)
    timing = answer.headers["server-timing"]
    for phase in ("decode", "queue", "encode"):
        assert f"{phase};dur={line[f'{phase}_ms']:.3f}" in timing
    assert line["batch_rows"] == answer.batches[-1].rows
    assert line["batch_reason"] == answer.batches[-1].reason


def test_each_line_is_json_and_each_answer_has_one(server: Server) -> None:
    """With its request id, the trace that the client has named, and the model."""
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace}-{span}-01", "X-Request-Id": "mine"}
    answers = [
        post(server.port, body(1, 2), headers=headers),
        post(server.port, body(3), headers={"traceparent": "00-1-2-3[31m"}),
    ]
    assert answers[0].headers["x-request-id"] == "mine"
    unknown = get(server.port, "/none")
    lines = ended(server)
    entries = [line for line in lines if line["logger"] == "access" and line["path"] != "/readyz"]
    assert len(entries) == 3
    for line, answer in zip(entries, answers, strict=False):
        check_entry(line, answer)
        assert (line["client"], line["method"], line["path"]) == ("127.0.0.1", "POST", "/")
        assert f"{line['model']}/{line['version']}" == answer.headers["x-model-version"]
    assert (entries[0]["trace_id"], entries[0]["span_id"]) == (trace, span)
    assert (entries[0]["rows"], entries[1]["rows"]) == (2, 1)
    assert "trace_id" not in entries[1]
    assert (entries[2]["status"], entries[2]["path"]) == (404, "/none")
    assert entries[2]["request_id"] == unknown.headers["x-request-id"]
    assert lines[-1]["message"] == "stopped; every accepted request was answered"


def test_a_burst_of_failures_is_a_handful_of_lines(server: Server) -> None:
    """The first with its traceback, and then the count; each request has an access line."""
    count = 1000
    answers = post_all(server.port, [body(-1.0 - number) for number in range(count)], 32)
    assert {answer.status for answer in answers} == {500}
    lines = ended(server)
    failures = [line for line in lines if line["logger"] != "access" and "request_id" in line]
    first, *repeated = [line for line in failures if "slow request" not in line["message"]]
    assert first["request_id"] in {answer.headers["x-request-id"] for answer in answers}
    assert first["message"] == f"request {first['request_id']} failed; model {first['model']}/1"
    assert "ValueError: a negative row" in first["traceback"]
    assert 1 <= len(repeated) <= 5
    assert sum(int(line["message"].split()[1]) for line in repeated) == count - 1
    statuses = [line["status"] for line in lines if line["logger"] == "access"]
    assert statuses.count(500) == count


def test_a_slow_request_is_logged_with_its_phases(server: Server) -> None:
    """They add up to about the whole time, which is that of the client."""
    answer = post(server.port, body(SLOW_ROW))
    (line,) = [it for it in ended(server) if it["message"].startswith("slow request")]
    assert (line["level"], line["request_id"]) == ("warn", answer.headers["x-request-id"])
    phases = ("receive", "decode_wait", "decode", "queue", "run", "encode", "write", "other")
    times = {phase: line[f"{phase}_ms"] for phase in phases}
    assert times["run"] >= 1e3 * SLOW
    assert sum(times.values()) == pytest.approx(line["ms"], abs=0.01)
    assert times["other"] < 0.5 * line["ms"]
    assert 1e3 * SLOW <= line["ms"] <= 1e3 * answer.seconds


def test_a_stderr_that_is_not_read_stops_no_answer(folder: Path) -> None:
    """Nor the stop of the server; what fits into memory is written once it is read."""
    with subprocess.Popen(
        [*MOODY_SERVER, "--port", "0", *OPTIONS],
        cwd=folder,
        env=environment(folder, TENSORFERRY_DEFAULT_TIMEOUT="none"),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        try:
            log = b""
            while port_in(log.decode()) is None or b"is ready on" not in log:
                log += os.read(process.stderr.fileno(), 1 << 16)
            port = port_in(log.decode())
            assert port is not None
            bodies = [body(float(number % 7 - 1)) for number in range(2000)]
            answers = post_all(port, bodies, 8)
            assert {answer.status for answer in answers} == {200, 500}
            assert max(answer.seconds for answer in answers) < 5.0
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            rest = process.stderr.read()
        finally:
            process.kill()
    assert len(rest) >= 1 << 15  # a pipe was full


def test_twistd_writes_the_same_lines_to_its_file(tmp_path: Path) -> None:
    """As a daemon; after SIGUSR1 the next line begins a new file, and no line is lost."""
    pidfile, logfile = tmp_path / "ferry.pid", tmp_path / "ferry.log"
    command = [
        *(*TWISTD, f"--pidfile={pidfile}", f"--logfile={logfile}"),
        *("tensorferry", "--port=0", "--model=.", "--access-log", "--log-format=json"),
    ]
    write_model(tmp_path)
    with killed_after(pidfile):
        port = daemon_port(command, logfile, tmp_path)
        pid = int(pidfile.read_text())
        ids = [get(port, "/status").headers["x-request-id"]]
        wait_for(lambda: ids[0] in logfile.read_text(), "the line of the first request")
        os.kill(pid, signal.SIGUSR1)
        rotated = tmp_path / "ferry.log.1"
        ids.append(get(port, "/status").headers["x-request-id"])
        wait_for(rotated.exists, "the next file")
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: has_ended(pid), "the end of the daemon")
    lines = lines_of(rotated.read_text() + logfile.read_text())
    shown = [it["request_id"] for it in lines if it.get("path") == "/status"]
    assert shown == ids
    messages = [line["message"] for line in lines]
    assert "draining" in messages
    assert not any("Server Shut Down" in it or "factory" in it for it in messages)
