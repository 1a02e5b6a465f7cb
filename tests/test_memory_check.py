"""Memory for one more version: server/repository/memory_check.py, model/execution/."""

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


V1, V2 = "4:memory:", "0::"  # of a line in /proc/self/cgroup, with the path of the group behind it

#: The line, the files of each control group below the mount (limit, use, memory.stat), and what is
#: available, on a machine with 5000 KiB available.
GROUPS: dict[str, tuple[str, dict[str, tuple[str, str, str]], int]] = {
    "no group": (V2 + "/", {}, 5120000),
    "a limit": (V2 + "/", {"": ("1000", "300", "")}, 700),
    "cached files": (V2 + "/", {"": ("1000", "300", "anon 5\ninactive_file 200\n")}, 900),
    "cached files that cannot be read": (V2 + "/", {"": ("1000", "300", "inactive_file\n")}, 700),
    "more use than the limit": (V2 + "/", {"": ("1000", "1300", "")}, 0),
    "a limit above the machine": (V2 + "/", {"": ("9000000", "300", "")}, 5120000),
    "no limit": (V2 + "/", {"": ("max", "300", "")}, 5120000),
    "a use that cannot be read": (V2 + "/", {"": ("1000", "", "")}, 5120000),
    "a unit with MemoryMax": (
        V2 + "/system.slice/ferry.service",
        {"system.slice": ("max", "900", ""), "system.slice/ferry.service": ("1000", "300", "")},
        700,
    ),
    "less left in the group above": (
        V2 + "/a/b",
        {"a": ("1000", "800", "inactive_file 50"), "a/b": ("600", "200", "inactive_file 50")},
        250,
    ),
    "another process's group": (V2 + "/a", {"a": ("1000", "300", ""), "b": ("9", "9", "")}, 700),
    "a container that sees a path of the machine": (
        V2 + "/docker/4f", {"": ("1000", "300", "")}, 700,
    ),
    "version 1": (
        V1 + "/a/b",
        {
            "": (f"{2**63 - 4096}", "900", ""),
            "a": ("1000", "700", "inactive_file 1\ntotal_inactive_file 100\n"),
            "a/b": ("9000", "300", ""),
        },
        400,
    ),
    "version 1, another controller": ("4:cpu:/a", {"a": ("1000", "300", "")}, 5120000),
}  # fmt: skip


def write_groups(root: Path, line: str, groups: dict[str, tuple[str, str, str]]) -> None:
    """Write the files that the kernel shows to a process with *line* in /proc/self/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"7:pids:/other\n{line}\n")
    (root / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    v2 = line.startswith(V2)
    mount = root / "sys/fs/cgroup" / ("" if v2 else "memory")
    names = ("memory.max", "memory.current") if v2 else (
        "memory.limit_in_bytes", "memory.usage_in_bytes"
    )  # fmt: skip
    for group, texts in groups.items():
        folder = mount / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in zip((*names, "memory.stat"), texts, strict=True):
            (folder / name).write_text(f"{text}\n")


@pytest.mark.parametrize(("line", "groups", "available"), GROUPS.values(), ids=GROUPS)
def test_the_lowest_of_machine_and_control_groups_is_available(
    tmp_path: Path, line: str, groups: dict[str, tuple[str, str, str]], available: int
) -> None:
    """A control group without a limit, or whose files cannot be read, does not count."""
    write_groups(tmp_path, line, groups)
    assert memory.available_bytes(tmp_path) == available


@pytest.mark.parametrize("meminfo", ["", "MemAvailable:\n", "MemAvailable: many kB\n"])
def test_without_figures_it_is_unknown_what_is_available(tmp_path: Path, meminfo: str) -> None:
    """Nor is a machine without /proc/self/cgroup an error."""
    (tmp_path / "proc").mkdir()
    assert memory.available_bytes(tmp_path) is None
    (tmp_path / "proc/meminfo").write_text(meminfo)
    assert memory.available_bytes(tmp_path) is None


def test_the_memory_of_this_machine_and_process_is_known() -> None:
    """And garbage can be given back at any time."""
    available = memory.available_bytes()
    assert available is None or available > 0
    memory.give_back_memory()
    assert 1 << 20 < memory.resident_bytes() < 1 << 40
