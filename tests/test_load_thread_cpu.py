"""The CPU time of a thread: scripts/load/thread_cpu.py."""

from pathlib import Path

import pytest

import scripts.load.thread_cpu
from scripts.load.thread_cpu import ThreadCPU, thread_cpu


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2500000000 500000000 17\n", ThreadCPU(used=2.5, waited=0.5)),
        *((text, None) for text in (None, "", "1 2", "a b c")),
    ],
)
def test_linux_reports_nanoseconds(
    text: str | None, expected: ThreadCPU | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a core, and ready to run without one; without its file only the CPU time is known."""
    monkeypatch.setattr(scripts.load.thread_cpu, "_SCHEDSTAT", tmp_path / "stat")
    if text is not None:
        (tmp_path / "stat").write_text(text)
    cpu = thread_cpu()
    if expected is None:
        assert (cpu.used > 0, cpu.waited) == (True, 0)
    else:
        assert cpu == expected
        assert cpu.since(ThreadCPU(1.0, 0.25)) == ThreadCPU(1.5, 0.25)


def test_time_passes_for_this_thread() -> None:
    """On any machine."""
    assert thread_cpu().since(ThreadCPU()).used > 0
