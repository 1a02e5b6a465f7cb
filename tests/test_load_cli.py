"""The command line of the load test: scripts/loadtest.py."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.cli import main


def loadtest(*arguments: str) -> tuple[int, str]:
    """Return the exit code of the command, and its output."""
    result = CliRunner().invoke(main, ["loadtest", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "give a URL, or --compare with two"),
        (["a", "--compare", "b", "c"], "give a URL, or --compare with two"),
        (["a", "--rate", "5", "--clients", "2"], "--rate is an open loop, --clients a closed one"),
        (["a", "--arrivals", "none"], "--arrivals: neither poisson, constant, bursts nor"),
        (["ftp://a"], "expected an http or https URL, got 'ftp://a'"),
        (["a", "--rate", "nan"], "Invalid value for '--rate': "),
        (["a", "--rate", "inf"], "Invalid value for '--rate': expected a finite number"),
        (["a", "--rate", "0"], "Invalid value for '--rate': "),
        (["a", "--arrivals", "none", "--speed", "inf"], "Invalid value for '--speed': "),
        (["a", "--duration", "0s"], "Invalid value for '--duration': expected a duration"),
        (["a", "--header", "X: 1\r\nY: 2"], "Invalid value for '--header': expected a header"),
        (["a", "--form", 'x"; y="z'], "Invalid value for '--form': expected the name of a field"),
        (["a", "--content-type", "a\r\nX: 1"], "Invalid value for '--content-type': expected"),
        (["a", "--image-size", "0x0"], "Invalid value for '--image-size': expected a size"),
        (["a", "--image", "none"], "Invalid value for '--image': "),
        (["a", "--json", "."], "Invalid value for '--json': "),
    ],
)
def test_a_wrong_option_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], problem: str
) -> None:
    """With the exit code 2, before anything is sent."""
    monkeypatch.chdir(tmp_path)
    code, output = loadtest(*arguments)
    assert code == 2
    (line,) = output.splitlines()
    assert line.startswith(f"Error: {problem}")


def test_help_explains_the_command() -> None:
    """With exit code 0."""
    code, output = loadtest("--help")
    assert code == 0
    assert "Latency counts from when a request was due" in output
