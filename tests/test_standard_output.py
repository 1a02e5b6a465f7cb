"""Commands whose standard output cannot be written: scripts/standard_output.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.model_server import Answer, FakeModelServer, model, version

PETS = model(version(1, "serving"), name="pets")

FULL = Path("/dev/full")

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


def run_full(
    *arguments: str, cache: Path, unbuffered: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run a command whose standard output is on a full disk."""
    with FULL.open("w") as full:
        return subprocess.run(
            [sys.executable, "-m", "tensorferry", *arguments],
            cwd=Path(__file__).parents[1],
            env={"XDG_CACHE_HOME": str(cache), "PATH": "", "PYTHONUNBUFFERED": unbuffered},
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--help"], None),
        (["--version"], None),
        (["models", "--help"], None),
        (["models", "cached"], None),
        (["models", "list"], {"models": [PETS]}),
        (["models", "list", "--json"], {"models": [PETS]}),
        (["models", "show", "pets"], PETS),
        (["models", "load", "pets", "--no-wait"], PETS),
        (["serve", "--check-config"], None),
        (["simulate", "--requests", "100"], None),
        (["simulate", "--requests", "100", "--json"], None),
    ],
)
def test_a_full_disk_is_an_error_in_one_line(
    tmp_path: Path, arguments: list[str], answer: Answer | None
) -> None:
    """With exit code 1, and without the traceback of the command or of the interpreter's exit."""
    if answer is None:
        ran = run_full(*arguments, cache=tmp_path)
    else:
        with FakeModelServer(answer) as server:
            ran = run_full(*arguments, "--server", server.address, cache=tmp_path)
    expected = "Error: standard output cannot be written: No space left on device\n"
    assert (ran.returncode, ran.stderr) == (1, expected)


@pytest.mark.parametrize("options", [[], ["--json", "-"]])
def test_a_load_test_on_a_full_disk_ends_with_the_same_line(
    tmp_path: Path, options: list[str]
) -> None:
    """After its measurement."""
    arguments = ["--duration", "100ms", "--clients", "1", "--warmup", "0s", *options]
    with FakeModelServer(PETS) as server:
        ran = run_full("loadtest", server.address, *arguments, cache=tmp_path)
    *_, last = ran.stderr.splitlines()
    assert last == "Error: standard output cannot be written: No space left on device"
    assert (ran.returncode, "Traceback" in ran.stderr, "Exception" in ran.stderr) == (
        1,
        False,
        False,
    )


@pytest.mark.parametrize("arguments", [["models", "cached"], ["simulate", "--requests", "100"]])
def test_the_same_line_is_printed_if_the_output_has_no_buffer(
    tmp_path: Path, arguments: list[str]
) -> None:
    """As in many containers."""
    ran = run_full(*arguments, cache=tmp_path, unbuffered="1")
    expected = "Error: standard output cannot be written: No space left on device\n"
    assert (ran.returncode, ran.stderr) == (1, expected)
