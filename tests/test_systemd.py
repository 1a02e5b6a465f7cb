"""What systemd is told; over a Unix socket of the test's own, since that is all there is to it."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from server.process.systemd import notify

#: How long a call that must not wait may take, in seconds.
PATIENCE = 10.0


class Systemd:
    """The other end of ``NOTIFY_SOCKET``."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address)

    def heard(self) -> bytes:
        """Return the oldest message; raises BlockingIOError where there is none."""
        return self.socket.recv(4096)


def fill(address: str) -> None:
    """Send the socket at *address* messages until it takes no more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        sender.connect(address)
        with suppress(BlockingIOError):
            while True:
                sender.send(b"x")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A path for a socket, short enough for one."""
    monkeypatch.chdir(tmp_path)
    return f"{tmp_path}/n"


@pytest.fixture
def systemd(path: str) -> Iterator[Systemd]:
    """A systemd that listens at *path*."""
    listening = Systemd(path)
    with listening.socket:
        yield listening


def test_a_message_arrives_as_it_was_given(systemd: Systemd, path: str) -> None:
    """Every line of it in one datagram, in UTF-8."""
    assert notify("READY=1\nSTATUS=prêt", {"NOTIFY_SOCKET": path})
    assert systemd.heard() == "READY=1\nSTATUS=prêt".encode()


def test_an_at_sign_stands_for_an_abstract_name() -> None:
    """Which has no file."""
    name = f"tensorferry-test-{uuid4()}"
    listening = Systemd(f"\0{name}")
    with listening.socket:
        assert notify("WATCHDOG=1", {"NOTIFY_SOCKET": f"@{name}"})
        assert listening.heard() == b"WATCHDOG=1"


def test_the_environment_of_the_process_is_the_default(
    systemd: Systemd, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is when the message is sent, not when the module was imported."""
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    assert notify("READY=1")
    assert systemd.heard() == b"READY=1"
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify("READY=1")


@pytest.mark.parametrize(
    "address", ["", "n", "vsock:2:1234", "/nowhere/to/be/found", "/" + "long" * 40, "@", "@gone"]
)
def test_a_service_goes_on_without(systemd: Systemd, address: str) -> None:
    """Where nobody asked, nobody listens, or the address is of a kind that is not known."""
    assert not notify("READY=1", {"NOTIFY_SOCKET": address})
    with pytest.raises(BlockingIOError):
        systemd.heard()


def test_a_service_goes_on_without_a_systemd_that_has_gone(systemd: Systemd, path: str) -> None:
    """Its file is still there."""
    systemd.socket.close()
    assert not notify("READY=1", {"NOTIFY_SOCKET": path})


@pytest.mark.usefixtures("systemd")
def test_a_full_socket_is_not_waited_for(path: str) -> None:
    """The reactor has better things to do."""
    fill(path)
    answers: list[bool] = []
    environ = {"NOTIFY_SOCKET": path}
    telling = Thread(target=lambda: answers.append(notify("WATCHDOG=1", environ)), daemon=True)
    telling.start()
    telling.join(PATIENCE)
    assert answers == [False]
