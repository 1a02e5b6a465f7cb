"""docs/simulate.md: its session, its commands, and the keys that it names."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.cli import main

DOCS = (Path(__file__).parent.parent / "docs" / "simulate.md").read_text()


def output_of(command: str) -> str:
    """Return the output of `tensorferry simulate`."""
    result = CliRunner().invoke(main, shlex.split(command, comments=True))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.full
def test_the_session_prints_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last digit: the seed is the same."""
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```console\n(.*?)```", DOCS, re.DOTALL)
    _, curve, command, *shown = block.splitlines()
    Path("latency.json").write_text(curve)
    printed = output_of(command.removeprefix("$ tensorferry "))
    assert [line.rstrip() for line in printed.splitlines()] == shown


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as it is, with fewer requests."""
    monkeypatch.chdir(tmp_path)
    Path("times.txt").write_text("1\n2\n3\n")
    (block,) = re.findall(r"```sh\n(.*?)```", DOCS, re.DOTALL)
    for line in block.splitlines():
        output_of(line.partition("#")[0].removeprefix("tensorferry ") + "--requests 50")


def test_every_option_is_explained_or_shown() -> None:
    """The page names each option of the command, and no other."""
    options = set(re.findall(r"--[a-z][\w-]+", output_of("simulate --help"))) - {"--help"}
    assert set(re.findall(r"--[a-z][\w-]+", DOCS)) == options


def test_the_keys_are_those_of_the_figures() -> None:
    """The page names all of them."""
    named = set(
        re.findall(
            r"[a-z0-9_]+", " ".join(re.findall(r"`([^`]*)`", DOCS[DOCS.index("`--json`") :]))
        )
    )
    found = json.loads(output_of("simulate --requests 50 --tune --json"))
    assert named == {"json", "tune", "loads", *found, *found["tuned"]}
