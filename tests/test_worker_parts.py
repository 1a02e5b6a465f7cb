"""The decisions about workers: roles, GPUs, sockets and delays, in server/workers."""

import socket
from pathlib import Path

import pytest

from server.lifecycle import StartError
from server.workers.gpus import gpu_variables, visible_gpus
from server.workers.restarts import RestartDelays
from server.workers.roles import WorkerRole, worker_role
from server.workers.socket_plan import PlannedSocket, plan_sockets


def test_a_role_is_passed_in_the_environment() -> None:
    """A process without the variable is no worker."""
    role = WorkerRole(1, 4, 77, 5, {"tcp:80": 6, "unix:a.sock": 7}, accepts_at_once=False)
    assert worker_role(role.variables()) == role
    assert worker_role({}) is None


@pytest.mark.parametrize(
    ("listed", "gpus"),
    [
        (None, ["0", "1"]),
        ("1, GPU-7", ["1", "GPU-7"]),
        ("2,-1,3", ["2"]),
        ("", []),
    ],
)
def test_the_visible_gpus_are_those_of_cuda(
    listed: str | None, gpus: list[str], tmp_path: Path
) -> None:
    """Its variable if it is set, else the device files."""
    for name in ("nvidia0", "nvidia7", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    environ = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    assert visible_gpus(environ, tmp_path) == gpus


def test_workers_take_the_gpus_in_turn() -> None:
    """Without GPUs the variable is not set."""
    taken = [gpu_variables(index, ["a", "b"]) for index in range(3)]
    assert [it["CUDA_VISIBLE_DEVICES"] for it in taken] == ["a", "b", "a"]
    assert gpu_variables(1, []) == {}


def test_delays_double_until_a_worker_was_stable() -> None:
    """From 1 s to 30 s."""
    delays = RestartDelays()
    assert [delays.delay(59.9) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert [delays.delay(60), delays.delay(0)] == [1, 2]


PLANS = {
    "tcp:80": (socket.AF_INET, "", 80, 1024, False),
    "tcp:80:interface=127.0.0.1:backlog=7": (socket.AF_INET, "127.0.0.1", 80, 7, False),
    r"tcp:80:interface=\:\:1": (socket.AF_INET6, "::1", 80, 1024, False),
    "tcp6:0": (socket.AF_INET6, "::", 0, 1024, False),
    "unix:/a/b.sock:mode=600": (socket.AF_UNIX, "/a/b.sock", 0, 1024, True),
}


@pytest.mark.parametrize(("description", "expected"), PLANS.items(), ids=str)
def test_each_address_is_planned(
    description: str, expected: tuple[socket.AddressFamily, str, int, int, bool]
) -> None:
    """A worker has its own socket for each address of TCP, but not for that of administrators."""

    def facts(it: PlannedSocket) -> tuple[socket.AddressFamily, str, int, int, bool]:
        return it.family, it.address, it.port, it.backlog, it.shared

    served, admin = plan_sockets([description], description)
    assert facts(served) == expected
    assert facts(admin) == (*expected[:4], True)
    assert served.mode == (0o600 if "mode" in description else 0o666)


@pytest.mark.parametrize(
    "description",
    ["haproxy:tcp:80", "systemd:domain=INET:index=0", "tls:.:443", "ssl:443:certKey=a"],
)
def test_other_kinds_of_addresses_are_refused(description: str) -> None:
    """In one line."""
    with pytest.raises(StartError, match="cannot listen on ") as caught:
        plan_sockets([description], None)
    assert "\n" not in str(caught.value)
    if description.startswith(("haproxy", "systemd")):
        assert str(caught.value).endswith("takes addresses of the kinds tcp, tcp6 and unix")
