"""A server with --announce, and the registry that it writes to."""

import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from server.doctor.finding import Level, ok
from server.doctor.machine import Machine
from server.doctor.registries import check_registry, read_registry
from tests.images import coloured, encoded
from tests.integration.clients import get, post
from tests.integration.http_registry import HTTPRegistry
from tests.integration.nameless_server import SECONDS as NAMELESS_SECONDS
from tests.integration.servers import (
    TWISTD_N,
    Server,
    free_port,
    readiness,
    reasons,
    run_program,
    started,
    wait_for,
)
from tests.integration.supervised import NUMPY_SERVER
from tests.integration.test_numpy_backend import HEIGHT, MODEL, WIDTH

pytestmark = pytest.mark.full

NAMELESS_SERVER = (sys.executable, "-P", "-m", "tests.integration.nameless_server")

IMAGE = encoded(coloured(WIDTH, HEIGHT), "PNG")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The path of a linear model."""
    path = tmp_path / "model.npz"
    MODEL.save(path)
    return path


@pytest.fixture
def registry() -> Iterator[HTTPRegistry]:
    """A registry that runs."""
    with HTTPRegistry().running() as registry:
        yield registry


def options(registry: HTTPRegistry, model: Path) -> list[str]:
    """Return the options of a server that announces itself with a lease of 3 seconds."""
    url = f"registry://127.0.0.1:{registry.port}?lease=3"
    return [f"--model={model}", f"--announce={url}"]


def wait_until_listed(registry: HTTPRegistry, server: Server) -> int:
    """Return the registered port when there is a record."""
    record = server.wait_for(lambda: registry.record, "record in the registry", 30)
    assert record.host == "127.0.0.1"
    return record.port


def wait_until_lost(server: Server, times: int) -> None:
    """Return when the log states for the *times*-th time that the registry is lost."""
    server.wait_for(
        lambda: server.log.count("connection refused; the server continues to serve") == times,
        f"{times} lines of a lost registry",
        10,
    )


def test_a_server_registers_itself_and_is_withdrawn_before_it_stops(
    registry: HTTPRegistry, model: Path
) -> None:
    """On a free port; while the removal is not answered, it takes connections and requests."""
    folder = model.parent
    during: list[int | None] = []
    with started(
        *options(registry, model), cache_home=folder, folder=folder, command=NUMPY_SERVER
    ) as server:
        port = wait_until_listed(registry, server)
        assert (port == server.port, readiness(port)) == (True, 200)
        assert [list(it.models or ()) for it in registry.records.values()] == [["default"]]
        renewals = len(registry.calls) + 3
        wait_for(lambda: len(registry.calls) >= renewals, "renewals of the lease", 10)
        assert get(port, "/metrics").body.count(b"\ntensorferry_announced 1.0\n") == 1

        def while_withdrawn() -> None:
            during.extend((readiness(port), post(port, IMAGE).status))

        registry.on_withdraw = while_withdrawn
        server.signal()
        assert server.exit_code() == 0
        assert during == [200, HTTPStatus.OK]
        assert registry.records == {}
        assert {*registry.calls[:-1]} == {"PUT 204"}
        assert registry.calls[-1] == "DELETE 204"
        assert (registry.leases, len(registry.connections)) == ({"3"}, 1)
        assert server.log.count("withdrawn from registry://127.0.0.1") == 1


def test_several_workers_are_registered_as_one_server(registry: HTTPRegistry, model: Path) -> None:
    """One record for all of them; the removal is answered before a worker drains."""
    folder = model.parent
    during: list[int | None] = []
    with started(
        *options(registry, model), "--workers=2",
        cache_home=folder, folder=folder, command=NUMPY_SERVER,
    ) as server:  # fmt: skip
        port = wait_until_listed(registry, server)
        assert port == server.port
        server.wait_for(lambda: "2 of 2 workers are ready" in server.log, "line", 30)
        renewals = len(registry.calls) + 3
        wait_for(lambda: len(registry.calls) >= renewals, "renewals of the lease", 10)
        assert [list(it.models or ()) for it in registry.records.values()] == [["default"]]
        assert get(port, "/metrics").body.count(b"\ntensorferry_announced 1.0\n") == 1
        registry.on_withdraw = lambda: during.append(readiness(port))
        server.signal()
        assert server.exit_code() == 0
    assert during == [200]
    assert registry.records == {}
    assert server.log.count("registered with registry://127.0.0.1") == 1


def test_a_server_serves_while_the_registry_does_not_answer(model: Path) -> None:
    """From its start on; it registers itself when the registry is there, also after a restart."""
    registry, folder = HTTPRegistry(), model.parent
    with registry.running():
        pass  # its port is free now
    with started(
        *options(registry, model), cache_home=folder, folder=folder, command=NUMPY_SERVER
    ) as server:
        server.wait_until_ready(30)
        for lost in (1, 2, 3):
            wait_until_lost(server, lost)
            assert post(server.port, IMAGE).status == 200
            if lost < 3:
                with registry.running():
                    assert wait_until_listed(registry, server) == server.port
                registry.records.clear()
        server.signal()
        assert server.exit_code() == 0
        assert "not withdrawn from registry://127.0.0.1" in server.log


LISTEN = {"of all interfaces": "tcp:0", "of loopback": "tcp:0:interface=127.0.0.1"}


@pytest.mark.parametrize("listen", LISTEN.values(), ids=LISTEN)
def test_a_stop_does_not_wait_for_the_lookup_of_a_name(listen: str, model: Path) -> None:
    """Of the own address, which leads to the registry, and of the registry itself."""
    folder = model.parent
    with started(
        f"--model={model}", "--announce=registry://registry.test", f"--listen={listen}",
        "--drain-delay=0", cache_home=folder, folder=folder, command=NAMELESS_SERVER,
    ) as server:  # fmt: skip
        server.wait_for(lambda: "not registered with registry://" in server.log, "line", 30)
        assert "Traceback" not in server.log
        server.signal()
        assert server.exit_code(NAMELESS_SECONDS / 2) == 0


def test_the_doctor_connects_to_the_registry(registry: HTTPRegistry) -> None:
    """A port where no program listens is a warning."""
    url = f"registry://127.0.0.1:{registry.port}"
    assert check_registry(read_registry(Machine(), url)) == ok("announce", url)
    found = check_registry(read_registry(Machine(), f"{url},127.0.0.1:{free_port()}"))
    assert found.level is Level.WARNING
    assert found.found.startswith("1 of 2 hosts cannot be reached: 127.0.0.1:")


def test_a_refusal_of_the_registry_is_logged_with_its_reason(
    registry: HTTPRegistry, model: Path
) -> None:
    """The token is read again for each try."""
    registry.token = "secret"  # noqa: S105 - of a test
    folder = model.parent
    token = folder / "token"
    token.write_text("wrong")
    with started(
        *options(registry, model), f"--announce-token-file={token}",
        cache_home=folder, folder=folder, command=NUMPY_SERVER,
    ) as server:  # fmt: skip
        server.wait_for(lambda: "answers 401: expected the token" in server.log, "line", 30)
        token.write_text("secret\n")
        assert wait_until_listed(registry, server) == server.port


@pytest.mark.parametrize("command", [NUMPY_SERVER, TWISTD_N], ids=["serve", "twistd"])
def test_a_server_on_a_unix_socket_alone_cannot_be_announced(
    model: Path, command: tuple[str, ...]
) -> None:
    """It does not start, and its socket is removed."""
    folder = model.parent
    ended = run_program(
        [*command, f"--model={model}", "--announce=registry://127.0.0.1:1", "--listen=unix:s.sock"],
        cache_home=folder, folder=folder, seconds=30,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "needs an address of TCP" in "".join(reasons(ended.stderr))
    assert not (folder / "s.sock").exists()
