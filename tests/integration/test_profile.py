"""A program sampled by py-spy: benchmarks/profile.py."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from benchmarks.parts import OTHER
from benchmarks.profile import sample, spied

pytestmark = pytest.mark.full

#: Prints a line when it begins, and ends with its parent.
BUSY = """
import select, sys, threading  # which gives the thread its name
print("begun", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    sum(range(1000))
"""


def test_a_busy_thread_is_seen_running_and_holding_the_lock(tmp_path: Path) -> None:
    """And its CPU of the kernel fits the time."""
    program = [sys.executable, "-c", BUSY]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == b"begun\n"
        sampled = sample(busy.pid, 1, tmp_path)
        busy.kill()
    name, seconds = sampled.cpu[busy.pid]
    assert name
    assert 0 < seconds <= 1.1
    for seen in (sampled.running, sampled.holding):
        assert seen[busy.pid].name == "MainThread"
        assert set(seen[busy.pid].parts) == {OTHER.name}


def test_a_process_that_cannot_be_sampled_is_an_error(tmp_path: Path) -> None:
    """Its process has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    with pytest.raises(click.ClickException, match="py-spy could not sample the server"):
        spied(ended.pid, 1, tmp_path)
