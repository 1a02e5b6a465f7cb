"""Requests over each kind of address, and the certificate of a server."""

import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.certificates import certified
from tests.fakes.numpy_backend import LinearModel
from tests.integration.clients import request_bytes
from tests.integration.servers import (
    SERVE,
    START,
    Server,
    environment,
    free_port,
    reasons,
    run_program,
    started,
)

pytestmark = pytest.mark.full

MOODY_SERVER = (sys.executable, "-P", "-m", "tests.integration.moody_server")

BODY = orjson.dumps({"signature_name": "numbers", "inputs": {"x": [[1.0, 1.0]]}})
REQUEST = request_bytes(BODY, close=True)
TLS_ADDRESS = "tcp:0:interface=127.0.0.1"

#: Passes the descriptor in its first argument to a server, as systemd does.
AS_SYSTEMD = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3)\n"
    "os.environ.update(LISTEN_FDS='1', LISTEN_FDNAMES='http', LISTEN_PID=str(os.getpid()))\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)

Connect = Callable[[], socket.socket]


@pytest.fixture
def model(tmp_path: Path) -> str:
    """The option with a small model."""
    path = tmp_path / "model.npz"
    LinearModel(np.zeros((1, 1, 3, 1), np.float32), np.ones((2, 1), np.float32)).save(path)
    return f"--model={path}"


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with certificate.pem and key.pem, and localhost.pem with both."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    certified(folder)
    both = (folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes()
    (folder / "localhost.pem").write_bytes(both)
    return folder


def serving(
    folder: Path, *options: str, command: Sequence[str] = MOODY_SERVER
) -> AbstractContextManager[Server]:
    """Start a server with *options*."""
    return started(*options, cache_home=folder, folder=folder, command=command)


def port_of(server: Server) -> int:
    """Return the port in the log."""

    def found() -> int | None:
        line = re.search(r"listening on https?://\S*:(\d+)$", server.log, re.MULTILINE)
        return int(line[1]) if line else None

    return server.wait_for(found, "a port in the log", START)


def connected(address: object, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    """Return a connection to *address*."""
    raw = socket.socket(family)
    raw.settimeout(20)
    raw.connect(address)  # type: ignore[arg-type]  # its form depends on the family
    return raw


def secure(raw: socket.socket, certificates: Path) -> ssl.SSLSocket:
    """Return *raw* with TLS; its client trusts that in the folder, and prefers HTTP/2."""
    context = ssl.create_default_context(cafile=str(certificates / "certificate.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context.wrap_socket(raw, server_hostname="localhost")


def answered(server: Server, connect: Connect, before: bytes = b"") -> bytes:
    """Send *before* and the request on a new connection until the server is ready; the answer."""

    def answer() -> bytes | None:
        with connect() as raw:
            raw.sendall(before + REQUEST)
            received = raw.makefile("rb").read()
        return None if received.startswith(b"HTTP/1.1 503 ") else received

    return server.wait_for(answer, "answer of a model", START)


def with_tls(certificates: Path) -> tuple[str, str]:
    """Return the options for the certificate in the folder."""
    return f"--tls-cert={certificates / 'certificate.pem'}", f"--tls-key={certificates / 'key.pem'}"


# --- the kinds of addresses


def _over_tcp6(server: Server, _: Path) -> socket.socket:
    return connected(("::1", port_of(server)), socket.AF_INET6)


def _over_tcp(server: Server, _: Path) -> socket.socket:
    return connected(("127.0.0.1", port_of(server)))


def _over_tls(server: Server, certificates: Path) -> socket.socket:
    return secure(connected(("127.0.0.1", port_of(server))), certificates)


def _over_unix(_: Server, certificates: Path) -> socket.socket:
    return connected(str(certificates / "socket"), socket.AF_UNIX)


PROXIED = b"PROXY TCP4 192.0.2.9 192.0.2.1 4711 80\r\n"

#: By kind: the address, how to connect, and what is sent before the request.
ADDRESSES: dict[str, tuple[str, Callable[[Server, Path], socket.socket], bytes]] = {
    "tcp6": (r"tcp6:0:interface=\:\:1", _over_tcp6, b""),
    "unix": ("unix:{folder}/socket", _over_unix, b""),
    "haproxy": ("haproxy:tcp:0:interface=127.0.0.1", _over_tcp, PROXIED),
    "ssl": (
        "ssl:0:interface=127.0.0.1:privateKey={folder}/key.pem:certKey={folder}/certificate.pem",
        _over_tls,
        b"",
    ),
    "tls": ("tls:{folder}:0:interface=127.0.0.1", _over_tls, b""),
}


@pytest.mark.parametrize("front_end", ["express", "klein"])
@pytest.mark.parametrize("kind", ADDRESSES)
def test_a_request_is_answered_over_each_kind_of_address(
    kind: str, front_end: str, model: str, certificates: Path, tmp_path: Path
) -> None:
    """With each front end; the log has the scheme, and behind a proxy the client's address."""
    described, connect, before = ADDRESSES[kind]
    listen = described.format(folder=certificates)
    options = (model, f"--listen={listen}", f"--front-end={front_end}", "--access-log")
    with serving(tmp_path, *options) as server:

        def over_this() -> socket.socket:
            server.wait_for(lambda: "listening on" in server.log, "an address in the log")
            return connect(server, certificates)

        assert answered(server, over_this, before).startswith(b"HTTP/1.1 200 ")
        if kind != "unix":
            scheme = "https" if kind in ("ssl", "tls") else "http"
            assert f"listening on {scheme}://" in server.log
        server.signal()
        assert server.exit_code() == 0
        assert ("192.0.2.9" in server.log) == (kind == "haproxy")


def test_a_socket_of_systemd_is_as_it_was_after_a_stop(
    model: str, certificates: Path, tmp_path: Path
) -> None:
    """New connections wait in its queue for the next server."""
    options = (model, "--listen=systemd:domain=INET:index=0", *with_tls(certificates))
    log_file = tmp_path / "server.log"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = (sys.executable, "-c", AS_SYSTEMD, str(listener.fileno()), *MOODY_SERVER)

        def over_tls() -> socket.socket:
            return secure(connected(listener.getsockname()), certificates)

        for _ in range(2):
            with log_file.open("wb") as log:
                process = subprocess.Popen(
                    [*command, *options], cwd=tmp_path, env=environment(tmp_path),
                    pass_fds=[listener.fileno()], stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
            server = Server(process, log_file)
            try:
                assert answered(server, over_tls).startswith(b"HTTP/1.1 200 ")
                server.signal()
                assert server.exit_code() == 0
            finally:
                server.end()


# --- the certificate


def shown(raw: socket.socket) -> bytes:
    """Return the certificate that the server shows on a TLS connection."""
    assert isinstance(raw, ssl.SSLSocket)
    der = raw.getpeercert(binary_form=True)
    assert der is not None
    return der


@pytest.mark.parametrize("workers", [1, 2])
def test_new_connections_get_the_new_certificate_after_a_sighup(
    workers: int, model: str, certificates: Path, tmp_path: Path
) -> None:
    """An open connection goes on; of files that cannot be used, one line says why."""
    options = (f"--listen={TLS_ADDRESS}", f"--workers={workers}", *with_tls(certificates))
    with serving(tmp_path, model, *options) as server:

        def over_tls() -> socket.socket:
            return _over_tls(server, certificates)

        assert answered(server, over_tls).startswith(b"HTTP/1.1 200 ")
        server.wait_for(
            lambda: workers == 1 or f"{workers} of {workers} workers are ready" in server.log,
            "workers",
        )
        with over_tls() as open_before:
            old = shown(open_before)
            (certificates / "key.pem").write_bytes(b"no key")
            server.signal(signal.SIGHUP)
            line = "the certificate stays as it was: "
            server.wait_for(lambda: server.log.count(line) == workers, "errors")
            with over_tls() as raw:
                assert shown(raw) == old
            certified(certificates)
            server.signal(signal.SIGHUP)
            line = "the certificate is read again"
            server.wait_for(lambda: server.log.count(line) == workers, "new certificates")
            for _ in range(8):  # each worker takes some
                with over_tls() as raw:
                    assert shown(raw) != old
            open_before.sendall(REQUEST)
            assert open_before.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
        assert "Traceback" not in server.log


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_what_a_server_with_a_certificate_accepts(
    model: str, certificates: Path, tmp_path: Path
) -> None:
    """TLS 1.2 and 1.3 with HTTP/1.1; it closes other connections, with one line in the log."""
    with serving(tmp_path, model, f"--listen={TLS_ADDRESS}", *with_tls(certificates)) as server:
        address = ("127.0.0.1", port_of(server))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=str(certificates / "certificate.pem"))
            context.minimum_version = context.maximum_version = version
            context.set_alpn_protocols(["h2", "http/1.1"])
            with context.wrap_socket(connected(address), server_hostname="localhost") as raw:
                assert raw.selected_alpn_protocol() == "http/1.1"
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with connected(address) as plain, pytest.raises(ssl.SSLError):
            old.wrap_socket(plain, server_hostname="localhost")
        with connected(address) as plain:
            plain.sendall(REQUEST)
            assert not plain.makefile("rb").read().startswith(b"HTTP/")
        lines = [it for it in server.log.splitlines() if "127.0.0.1 " in it]
        assert "Traceback" not in server.log
        assert len(lines) <= 1


def test_a_certificate_that_cannot_be_used_is_an_error_of_the_start(
    certificates: Path, tmp_path: Path
) -> None:
    """In one line, with one process and with several."""
    other = tmp_path / "other"
    other.mkdir()
    certified(other)
    certificate, key = certificates / "certificate.pem", other / "key.pem"
    cases = (
        ((f"--tls-cert={certificate}",), "tls_cert"),
        ((f"--tls-cert={certificate}", f"--tls-key={tmp_path}/none"), "none"),
        ((f"--tls-cert={certificate}", f"--tls-key={certificate}"), "holds no private key in PEM"),
        ((f"--tls-cert={key}", f"--tls-key={key}"), "holds no certificate in PEM"),
        ((f"--tls-cert={certificate}", f"--tls-key={key}"), "does not belong"),
        ((f"--tls-cert={certificate}", f"--tls-key={key}", "--workers=2"), "does not belong"),
    )
    for options, reason in cases:
        ended = run_program(
            [*SERVE, f"--port={free_port()}", *options],
            cache_home=tmp_path, folder=tmp_path,
        )  # fmt: skip
        assert ended.returncode != 0
        (line,) = reasons(ended.stderr)
        assert reason in line
