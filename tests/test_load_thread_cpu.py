"""The CPU time of a thread: scripts/load/thread_cpu.py."""

from pathlib import Path

import pytest

import scripts.load.thread_cpu
from scripts.load.thread_cpu import ThreadCPU, thread_cpu


def times_in(monkeypatch: pytest.MonkeyPatch, path: Path) -> ThreadCPU:
    """Return the times, with *path* as the file of the kernel."""
    monkeypatch.setattr(scripts.load.thread_cpu, "_SCHEDSTAT", path)
    return thread_cpu()


def test_linux_reports_nanoseconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a core, and ready to run without one; counted from an earlier look."""
    (tmp_path / "stat").write_text("2500000000 500000000 17\n")
    cpu = times_in(monkeypatch, tmp_path / "stat")
    assert cpu == ThreadCPU(used=2.5, waited=0.5)
    assert cpu.since(ThreadCPU(1.0, 0.25)) == ThreadCPU(1.5, 0.25)


@pytest.mark.parametrize("text", [None, "", "1 2", "a b c"])
def test_without_the_file_only_the_cpu_time_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    """The waiting time is 0."""
    if text is not None:
        (tmp_path / "stat").write_text(text)
    cpu = times_in(monkeypatch, tmp_path / "stat")
    assert cpu.used > 0
    assert cpu.waited == 0


def test_time_passes_for_this_thread() -> None:
    """On any machine."""
    assert thread_cpu().since(ThreadCPU()).used > 0
