"""The registry in a process of its own: `tensorferry registry`, and under twistd."""

import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import orjson
import pytest

from tests.images import coloured, encoded
from tests.integration.clients import get
from tests.integration.registries import (
    HTTP_ALONE,
    REGISTRY,
    Registry,
    running_registry,
    worker_at,
)
from tests.integration.servers import ROOT, TWISTD, Server, started, wait_for
from tests.integration.supervised import NUMPY_SERVER
from tests.integration.test_numpy_backend import HEIGHT, MODEL, WIDTH

pytestmark = pytest.mark.full

#: The most seconds for a thousand registrations and as many choices, on a slow and busy machine.
MAX_SECONDS_FOR_A_THOUSAND = 20.0


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry; each test removes the workers that it registers."""
    with running_registry(tmp_path_factory.mktemp("registry")) as ready:
        yield ready


@contextmanager
def announced(registry: Registry, folder: Path) -> Iterator[list[Server]]:
    """Start two servers of a small model, and wait until *registry* hands out both."""
    model = folder / "model.npz"
    MODEL.save(model)
    options = (f"--model={model}", f"--announce=registry://127.0.0.1:{registry.port}?lease=3")
    with ExitStack() as stack:
        servers = []
        for name in ("one", "two"):
            own = folder / name
            own.mkdir()
            one = started(*options, cache_home=own, folder=own, command=NUMPY_SERVER)
            servers.append(stack.enter_context(one))
        wait_for(lambda: handed_out(registry) == ports_of(servers), "both servers")
        yield servers


def ports_of(servers: Sequence[Server]) -> set[bytes]:
    """Return what the registry answers for each of *servers*."""
    return {f"{it.port}\n".encode() for it in servers}


def handed_out(registry: Registry) -> set[bytes]:
    """Return the answers to some requests for a worker; empty if there is none."""
    answers = [registry.ask("GET", "/?model=default") for _ in range(20)]
    return {body for status, body in answers if status == 200}


def test_the_line_of_the_article_posts_to_the_servers(registry: Registry, tmp_path: Path) -> None:
    """As written, except for the port of the registry; a server that stops is not named."""
    image = tmp_path / "a.png"
    image.write_bytes(encoded(coloured(WIDTH, HEIGHT), "PNG"))
    line = f"curl -sf -XPOST localhost:$(curl -sf localhost:{registry.port}) -F data=@{image}"
    with announced(registry, tmp_path) as servers:
        shown = [subprocess.check_output(["sh", "-c", line], timeout=60) for _ in range(6)]
        assert len(set(shown)) == 1
        assert orjson.loads(shown[0])
        assert sum(metric(it, "requests_ended_total") for it in servers) == 6
        servers[0].signal()
        assert servers[0].exit_code() == 0
        assert handed_out(registry) == ports_of(servers[1:])
    assert handed_out(registry) == set()


def metric(server: Server, name: str) -> float:
    """Return the sum of the series of a metric of *server*."""
    text = get(server.port, "/metrics").body.decode()
    return sum(map(float, re.findall(rf"^tensorferry_{name}(?:{{.*}})? (.+)$", text, re.MULTILINE)))


def test_a_worker_that_dies_is_gone_when_its_lease_has_ended(registry: Registry) -> None:
    """No earlier, and soon after."""
    began = time.monotonic()
    assert registry.register(worker_at(9001), lease=1) == 204
    assert registry.ask("GET", "/") == (200, b"9001\n")
    wait_for(lambda: registry.ask("GET", "/")[0] == 503, "the end of the lease")
    assert 1 <= time.monotonic() - began < 6
    wait_for(
        lambda: "worker w-9001 at 127.0.0.1:9001 is gone: its lease" in registry.process.log,
        "a line in the log",
    )


def test_a_thousand_workers_register_and_are_chosen(registry: Registry) -> None:
    """On one connection; all are listed, and each choice is one of them."""
    began = time.monotonic()
    connection = HTTPConnection("127.0.0.1", registry.port, timeout=10)
    for number in range(1000):
        worker = worker_at(10_000 + number)
        connection.request(
            "PUT", f"/workers/{worker.id}", worker.to_json(), {"X-Lease-Seconds": "60"}
        )
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (204, b"")
    chosen = Counter[int]()
    for _ in range(1000):
        connection.request("GET", "/?model=m")
        chosen[int(connection.getresponse().read())] += 1
    assert time.monotonic() - began < MAX_SECONDS_FOR_A_THOUSAND
    assert len(chosen) > 500
    connection.request("GET", "/workers")
    assert len(orjson.loads(connection.getresponse().read())["workers"]) == 1000
    for number in range(1000):
        connection.request("DELETE", f"/workers/w-{10_000 + number}")
        assert connection.getresponse().read() == b""
    connection.close()
    assert registry.ask("GET", "/")[0] == 503


def test_the_registry_imports_no_tensorflow(registry: Registry) -> None:
    """Its libraries take seconds and a gigabyte."""
    assert registry.register(worker_at(9002), lease=1) == 204
    assert "tensorflow" not in Path(f"/proc/{registry.process.pid}/maps").read_text()


def test_sigterm_ends_the_registry_with_0(tmp_path: Path) -> None:
    """An idle connection does not delay it."""
    with running_registry(tmp_path) as registry, closing(idle_connection(registry)):
        began = time.monotonic()
        registry.process.signal(signal.SIGTERM)
        assert registry.process.exit_code() == 0
        assert time.monotonic() - began < 10
        assert registry.process.log.endswith("stopped\n")


def idle_connection(registry: Registry) -> HTTPConnection:
    """Return a connection to *registry* that stays open."""
    connection = HTTPConnection("127.0.0.1", registry.port, timeout=10)
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    return connection


def test_the_token_is_read_again_for_each_registration(tmp_path: Path) -> None:
    """A client in a trusted network needs none."""
    token = tmp_path / "token"
    token.write_text("first")
    with running_registry(tmp_path, *HTTP_ALONE, "--token-file", str(token)) as registry:
        assert registry.register(worker_at(9004)) == 401
        assert registry.register(worker_at(9004), Authorization="Bearer first") == 204
        token.write_text("second")
        assert registry.register(worker_at(9004), Authorization="Bearer first") == 401
        assert registry.register(worker_at(9004), Authorization="Bearer second") == 204
    trusted = ("--token-file", str(token), "--trusted", "127.0.0.1")
    with running_registry(tmp_path, *HTTP_ALONE, *trusted) as registry:
        assert registry.register(worker_at(9004)) == 204


def test_twistd_runs_a_registry(tmp_path: Path) -> None:
    """With the options of the command; SIGTERM ends it cleanly with the signal's code."""
    command = (*TWISTD, "-n", "tensorferry-registry")
    with running_registry(tmp_path, *HTTP_ALONE, command=command) as registry:
        assert registry.register(worker_at(9005)) == 204
        assert registry.ask("GET", "/") == (200, b"9005\n")
        registry.process.signal(signal.SIGTERM)
        assert registry.process.exit_code() == -signal.SIGTERM
        assert "Traceback" not in registry.process.log


COMMANDS = pytest.mark.parametrize(
    "command", [REGISTRY, (*TWISTD, "-n", "tensorferry-registry")], ids=["command", "twistd"]
)


@COMMANDS
def test_a_second_signal_ends_the_registry_at_once(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    """It does not wait for a request that is being received; the exit code is 1."""
    with running_registry(tmp_path, *HTTP_ALONE, command=command) as registry:
        with closing(socket.create_connection(("127.0.0.1", registry.port), 10)) as half:
            half.sendall(b"GET / HTTP/1.1\r\n")
            assert registry.ask("GET", "/healthz")[0] == 200
            registry.process.signal(signal.SIGTERM)
            wait_for(lambda: "a second signal" in registry.process.log, "the begin of the stop")
            registry.process.signal(signal.SIGTERM)
            assert registry.process.exit_code() == 1
        assert "stopped at once; requests were dropped" in registry.process.log
        assert "Traceback" not in registry.process.log
    assert not (tmp_path / "twistd.pid").exists()


@COMMANDS
@pytest.mark.parametrize("option", ["--listen", "--seaport-listen", "--dns-listen"])
def test_a_port_in_use_is_reported_in_one_line(
    command: tuple[str, ...], option: str, registry: Registry, tmp_path: Path
) -> None:
    """Of each protocol; the exit code is 1, and no pidfile is left."""
    options = dict(zip(HTTP_ALONE[::2], HTTP_ALONE[1::2], strict=True))
    is_dns = option == "--dns-listen"
    options[option] = (
        f"127.0.0.1:{registry.port}" if is_dns else f"tcp:{registry.port}:interface=127.0.0.1"
    )
    arguments = [it for pair in options.items() for it in pair]
    with started(*arguments, cache_home=tmp_path, folder=tmp_path, command=command) as failed:
        assert failed.exit_code() == 1
        (line, *_) = [it for it in failed.log.splitlines() if "cannot listen" in it]
        assert "Address already in use" in line
        assert "Traceback" not in failed.log
    assert not (tmp_path / "twistd.pid").exists()


DOCS = (ROOT / "docs" / "registry.md").read_text()


def test_the_session_of_the_page_shows_what_the_registry_answers(tmp_path: Path) -> None:
    """Except for its port and the age of a report."""
    (record,) = re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)
    (tmp_path / "worker.json").write_text(record)
    (session,) = re.findall(r"```console\n(.*?)```", DOCS, re.DOTALL)
    steps = [step.partition("\n") for step in session.split("$ ")[1:]]
    options = ("--listen", "tcp:0:interface=127.0.0.1", "--dns-listen", "none")
    seaport = ("--seaport-listen", "tcp:0:interface=127.0.0.1")
    with running_registry(tmp_path, *options, *seaport) as registry:
        for command, _, expected in steps:
            line = command.replace("localhost:12480", f"localhost:{registry.port}")
            line = line.replace("curl ", "curl -s ")
            shown = subprocess.check_output(["sh", "-c", line], cwd=tmp_path, timeout=60)
            assert re.sub(r'"age_s":[\d.]+', '"age_s":0.1', shown.decode()) == expected, command
    assert len(DOCS.splitlines()) <= 130


def test_servers_are_back_soon_after_a_crash_of_the_registry(tmp_path: Path) -> None:
    """When they renew their leases, or try again: in a third of a lease or little more."""
    with running_registry(tmp_path) as first, announced(first, tmp_path) as servers:
        first.process.signal(signal.SIGKILL)
        first.process.exit_code()
        options = ("--listen", f"tcp:{first.port}:interface=127.0.0.1", *HTTP_ALONE[2:])
        with running_registry(tmp_path, *options) as second:
            wait_for(lambda: handed_out(second) == ports_of(servers), "both servers again", 10)
