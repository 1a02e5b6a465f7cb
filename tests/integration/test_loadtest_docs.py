"""docs/loadtest.md runs: its session, its commands, and the keys that it names."""

import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.cli import main
from scripts.load.summary import Summary
from tests.integration.servers import ROOT, TENSORFERRY, Server, environment

DOCS = (ROOT / "docs" / "loadtest.md").read_text()


def shape_of(text: str) -> list[list[str]]:
    """Return the words of each line, but for warnings; a number, and what depends on it, as ~."""
    lines = [line for line in text.splitlines() if line.strip() and "warning" not in line]
    return [re.sub(r"[\d.,]+", "~", line.partition("batch:")[0]).split() for line in lines]


@pytest.mark.full
def test_the_session_prints_what_is_shown(server: Server, tmp_path: Path) -> None:
    """But for the numbers."""
    (block,) = re.findall(r"```console\n\$ tensorferry (.*?)\n(.*?)```", DOCS, re.DOTALL)
    command, shown = block
    here = command.replace("localhost:12480", f"127.0.0.1:{server.port}").split()
    ran = subprocess.run(
        [*TENSORFERRY, *here],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    printed = ran.stdout.replace(f"127.0.0.1:{server.port}", "localhost:12480")
    assert shape_of(printed) == shape_of(shown)


def test_every_option_is_explained_or_shown() -> None:
    """The page names each option that the command has, and no other."""
    text = CliRunner().invoke(main, ["loadtest", "--help"]).output
    options = set(re.findall(r"--[a-z][\w-]+", text)) - {"--help"}
    assert set(re.findall(r"--[a-z][\w-]+", DOCS)) == options


def test_the_keys_are_those_of_the_figures() -> None:
    """Each key that the page names is one."""
    (named,) = re.findall(r"every figure: `(.*?)`", DOCS, re.DOTALL)
    assert set(re.split(r",\s+", named)) <= {field.name for field in fields(Summary)}
