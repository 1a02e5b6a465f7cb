"""The wire cases over real sockets: through both front ends, over TCP and TLS."""

import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.certificates import certified
from tests.fakes.http import Answer, chunk, head, request
from tests.fakes.wire import WireServer
from tests.integration.servers import ROOT
from tests.wire_cases import BODY, BUSY_HEAD, CASES, CHUNKED, GET, POST, End
from tests.wire_judge import judged
from tests.wire_rules import RULES

pytestmark = pytest.mark.full

#: The most seconds for one step of a case.
PATIENCE = 10.0

LAST = request("GET", "/state", headers={"Connection": "close", "X-Request-Id": "last"})

#: Requests of both kinds: some are answered by the express front end, the others by Klein's routes.
KINDS = [
    *(GET, POST, request("GET", "/%73tate"), request("GET", "/none"), request("HEAD", "/state")),
    *(request("HEAD", "/none"), request("DELETE", "/state"), request("GET", "/empty")),
    *(request("GET", "/%65mpty"), CHUNKED + chunk(b"x") + chunk(b""), BUSY_HEAD + BODY),
    *(request("GET", "/same"), request("POST", "/?k=%ff"), head("Content-Length: 0")),
]


@dataclass(frozen=True)
class Reference:
    """What a client sends, and what a server without sockets answers."""

    name: str
    steps: tuple[bytes, ...]
    #: Bytes received after each step.
    lengths: tuple[int, ...]
    methods: tuple[str, ...]
    answers: tuple[Answer, ...]
    end: End


def comparable(answers: list[Answer]) -> tuple[Answer, ...]:
    """Return *answers* with equal ids and dates."""
    return tuple(
        Answer(
            answer.status,
            {name: _plain(value) for name, value in answer.headers.items() if name != "date"},
            _plain(answer.body.decode("latin-1")).encode("latin-1"),
        )
        for answer in answers
    )


def _plain(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{32}\b", "ID", text)


def reference(name: str, steps: tuple[bytes, ...], end: End, server: WireServer) -> Reference:
    """Return what *server* answers to *steps*; a connection that stays open gets a last request."""
    if end is End.OPEN:
        steps, end = (*steps, LAST), End.CLOSED
    server.entries.clear()
    client = server.connect()
    lengths = []
    for step in steps:
        client.send(step)
        lengths.append(len(client.received))
    if steps[-1] is LAST and b"X-Request-Id: last" not in client.received:
        end = End.BUSY  # it was read as a part of a body
    methods = tuple(it.method if it.method.isalpha() else "GET" for it in server.entries)
    answers = comparable(judged(client.received, methods, closed=end is not End.BUSY))
    client.hang_up()
    return Reference(name, steps, tuple(lengths), methods, answers, end)


def references() -> list[Reference]:
    """Return the cases that are bytes alone, and pipelines that mix the front ends."""
    server = WireServer()
    random = Random(5)  # noqa: S311  # the same pipelines each time
    found = [
        reference(name, tuple(step for step in steps if isinstance(step, bytes)), end, server)
        for name, steps, _, end in CASES + RULES
        if all(isinstance(step, bytes) for step in steps)
    ]
    for number in range(40):
        pipeline = b"".join(random.choices(KINDS, k=12))
        found.append(reference(f"pipeline {number}", (pipeline,), End.OPEN, server))
    return found


@contextmanager
def wire_site(folder: Path) -> Iterator[tuple[Mapping[str, int], int]]:
    """Serve as `tests.integration.wire_site` does; yields the ports by name, and the pid."""
    certified(folder)
    command = (sys.executable, "-m", "tests.integration.wire_site", str(folder))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        ports: dict[str, int] = {}
        while "ready" not in ports:
            name, port = process.stdout.readline().split()
            ports[name] = int(port)
        yield ports, process.pid
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mapping[str, int], int]]:
    """The ports of both front ends, by name, and the pid of their process."""
    with wire_site(tmp_path_factory.mktemp("wire")) as found:
        yield found


def connect(port: int, *, tls: bool) -> socket.socket:
    """Return a new connection."""
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
    if not tls:
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)


def differs(case: Reference, port: int, *, tls: bool) -> str:
    """Return how the answers to *case* differ from the reference; empty if they do not."""
    received = b""
    with connect(port, tls=tls) as client:
        try:
            for step, length in zip(case.steps, case.lengths, strict=True):
                client.sendall(step)
                while len(received) < length:
                    data = client.recv(1 << 16)
                    if not data:
                        return f"{case.name}: it ends early: {received!r}"
                    received += data
            # Without a close of one direction, TLS closes at the end of the linger.
            if case.end is not End.BUSY and not (tls and case.end is End.LINGERS):
                while data := client.recv(1 << 16):
                    received += data
        except OSError as error:
            return f"{case.name}: {error!r} after {received!r}"
    answers = comparable(judged(received, case.methods, closed=case.end is not End.BUSY))
    return "" if answers == case.answers else f"{case.name}: {answers} for {case.answers}"


@pytest.mark.parametrize("name", ["express", "klein", "express-tls", "klein-tls"])
def test_the_answers_over_sockets_are_those_without(
    name: str, site: tuple[Mapping[str, int], int]
) -> None:
    """The same status, fields and body, but for dates and ids, and the same end."""
    cases = references()
    with ThreadPoolExecutor(16) as pool:
        tls = name.endswith("-tls")
        found = list(pool.map(lambda case: differs(case, site[0][name], tls=tls), cases))
    assert not [each for each in found if each]
    assert len(cases) > 400
