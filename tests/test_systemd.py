"""Messages to systemd, over a Unix socket of the test: server/process/systemd.py."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from server.process.systemd import notify

#: A call that must not block may take as long.
MAX_CALL_SECONDS = 10.0


class Systemd:
    """The other end of ``NOTIFY_SOCKET``."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address)

    def receive(self) -> bytes:
        """Return the oldest message; raises BlockingIOError if there is none."""
        return self.socket.recv(4096)


def fill(address: str) -> None:
    """Send messages to the socket at *address* until its buffer is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        sender.connect(address)
        with suppress(BlockingIOError):
            while True:
                sender.send(b"x")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a path short enough for a socket."""
    monkeypatch.chdir(tmp_path)
    return f"{tmp_path}/n"


@pytest.fixture
def systemd(path: str) -> Iterator[Systemd]:
    """Return a socket that listens at *path*, as systemd does."""
    listening = Systemd(path)
    with listening.socket:
        yield listening


def test_a_message_arrives_unchanged(
    systemd: Systemd, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All lines in one datagram, in UTF-8; the environment is read when the message is sent."""
    assert notify("READY=1\nSTATUS=prêt", {"NOTIFY_SOCKET": path})
    assert systemd.receive() == "READY=1\nSTATUS=prêt".encode()
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    assert notify("READY=1")
    assert systemd.receive() == b"READY=1"
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify("READY=1")


def test_an_at_sign_means_an_abstract_name() -> None:
    """Such a socket has no file."""
    name = f"tensorferry-test-{uuid4()}"
    listening = Systemd(f"\0{name}")
    with listening.socket:
        assert notify("WATCHDOG=1", {"NOTIFY_SOCKET": f"@{name}"})
        assert listening.receive() == b"WATCHDOG=1"


@pytest.mark.parametrize(
    "address", ["", "n", "vsock:2:1234", "/nowhere/to/be/found", "/" + "long" * 40, "@", "@gone"]
)
def test_without_a_socket_nothing_is_sent(systemd: Systemd, address: str) -> None:
    """Without an address, without a listener, or with an address of an unknown type."""
    assert not notify("READY=1", {"NOTIFY_SOCKET": address})
    with pytest.raises(BlockingIOError):
        systemd.receive()


def test_after_systemd_has_closed_its_socket_nothing_is_sent(systemd: Systemd, path: str) -> None:
    """The file of the socket still exists."""
    systemd.socket.close()
    assert not notify("READY=1", {"NOTIFY_SOCKET": path})


@pytest.mark.usefixtures("systemd")
def test_a_full_socket_does_not_block(path: str) -> None:
    """A blocked call would stop the reactor."""
    fill(path)
    answers: list[bool] = []
    environ = {"NOTIFY_SOCKET": path}
    sending = Thread(target=lambda: answers.append(notify("WATCHDOG=1", environ)), daemon=True)
    sending.start()
    sending.join(MAX_CALL_SECONDS)
    assert answers == [False]
