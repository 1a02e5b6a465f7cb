"""A closed loop by wrk: benchmarks/wrk.py."""

import subprocess
from pathlib import Path

import click
import pytest

from benchmarks.wrk import Closed, closed_loop, read_closed

OUTPUT = """Running 2s test @ http://127.0.0.1:8000/
  1 threads and 2 connections
Requests/sec:    297.47

{"answered": 600, "refused": 4, "broken": 3, "seconds": 2.0, "mean_ms": 6.7, "p99_ms": 9.1}
"""


def test_the_figures_stand_at_the_end() -> None:
    """A refusal is no good answer."""
    closed = read_closed(OUTPUT)
    assert closed == Closed(600, 4, 3, 2.0, 6.7, 9.1)
    assert closed.rate == 298.0


def test_clients_post_for_the_given_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whole seconds: wrk takes no others."""
    asked: list[list[str]] = []
    scripts: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        scripts.append(Path(command[-2]).read_text())
        return subprocess.CompletedProcess(command, 0, OUTPUT, "")

    monkeypatch.setattr(subprocess, "run", run)
    assert closed_loop("http://127.0.0.1:8000/", 2, 0.2, 64).answered == 600
    assert closed_loop("http://127.0.0.1:8000/", 2, 2.2, 64, {"X-More": "1"}).answered == 600
    assert [command[:4] for command in asked] == [
        ["wrk", "-t1", "-c2", "-d1s"],
        ["wrk", "-t1", "-c2", "-d3s"],
    ]
    assert ['string.rep("x", 64)' in script for script in scripts] == [True, True]
    assert ['wrk.headers["X-More"] = "1"' in script for script in scripts] == [False, True]


@pytest.mark.parametrize("output", ["", "Requests/sec: 2", "[]", '{"answered": 1}'])
def test_output_without_figures_is_an_error(output: str) -> None:
    """As when it was cut short."""
    with pytest.raises(click.ClickException, match="no figures"):
        read_closed(output)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError("wrk"), "apt-get install wrk"),
        (subprocess.CalledProcessError(1, "wrk", stderr="no such host"), "no such host"),
        (subprocess.TimeoutExpired("wrk", 12.0), "wrk failed"),
    ],
)
def test_a_failure_of_wrk_is_an_error(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one line."""

    def run(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(click.ClickException, match=message):
        closed_loop("http://127.0.0.1:8000/", 2, 1.0, 64)
