"""Memory for one more version: server/repository/memory_check.py, model/execution/memory.py."""

from pathlib import Path

import pytest

from model.errors import ModelError
from model.execution import memory
from server.repository.memory_check import RESERVED_BYTES, check_memory

MB = 1_000_000


@pytest.mark.parametrize(
    ("size", "replaced", "available", "fits"),
    [
        (10 * MB, [], 20 * MB + RESERVED_BYTES, True),
        (10 * MB, [], 20 * MB + RESERVED_BYTES - 1, False),
        (10 * MB, [], None, True),
        # A version of unknown size is not refused.
        (0, [], 0, True),
    ],
)
def test_a_version_needs_memory_for_its_files_and_leaves_some(
    size: int, replaced: list[tuple[int, int]], available: int | None, fits: bool
) -> None:
    """If what is available is known."""
    if fits:
        check_memory(size, replaced, available)
        return
    with pytest.raises(ModelError, match="not enough memory: 20 MB are expected"):
        check_memory(size, replaced, available)


def machine(
    monkeypatch: pytest.MonkeyPatch, folder: Path, limit: str, used: str, stat: str, machine: int
) -> None:
    """Let the functions read files in *folder*."""
    for name, text in (("max", limit), ("current", used), ("stat", stat)):
        (folder / name).write_text(text)
    monkeypatch.setattr(memory, "_CGROUPS", ((folder / "max", folder / "current"),))
    monkeypatch.setattr(memory, "_CGROUP_STATS", (folder / "none", folder / "stat"))
    monkeypatch.setattr(memory, "_machine_bytes", lambda: machine)


@pytest.mark.parametrize(
    ("limit", "used", "stat", "of_machine", "available"),
    [
        ("1000\n", "300\n", "", 5000, 700),
        ("1000\n", "300\n", "anon 5\ninactive_file 200\n", 5000, 900),
        ("1000\n", "300\n", "total_inactive_file 200\n", 5000, 900),
        ("1000\n", "1300\n", "", 5000, 0),
        ("1000\n", "300\n", "", 50, 50),
        ("max\n", "300\n", "", 5000, 5000),
        (f"{2**63}\n", "300\n", "", 5000, 5000),
        ("1000\n", "", "", 5000, 5000),
    ],
)
def test_the_lower_of_machine_and_control_group_is_available(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    limit: str,
    used: str,
    stat: str,
    of_machine: int,
    available: int,
) -> None:
    """A control group without a limit, or whose files cannot be read, does not count."""
    machine(monkeypatch, tmp_path, limit, used, stat, of_machine)
    assert memory.available_bytes() == available


def test_the_memory_of_this_machine_and_process_is_known() -> None:
    """And garbage can be given back at any time."""
    available = memory.available_bytes()
    assert available is None or available > 0
    memory.give_back_memory()
    assert 1 << 20 < memory.resident_bytes() < 1 << 40
