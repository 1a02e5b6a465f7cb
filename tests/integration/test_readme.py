"""README.md runs: its session, its links, its options and its length."""

import json
import re
import shutil
import subprocess

import pytest
from click.testing import CliRunner

from scripts.cli import main
from tests.integration.servers import ROOT, Server

README = (ROOT / "README.md").read_text()

#: What differs from one run to the next, and from one machine to another.
_CHANGING = re.compile(r'\d+\.\d+|\d+/\d+ \w+|"[0-9a-f]{32}"')


def session() -> list[tuple[str, str]]:
    """Return the commands of the session in the README, each with the output shown there."""
    (block,) = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    steps = [step.partition("\n") for step in block.split("$ ")[1:]]
    return [(command, output.strip()) for command, _, output in steps]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the session is one with curl")
@pytest.mark.parametrize(("command", "shown"), session())
def test_the_session_prints_what_the_readme_shows(server: Server, command: str, shown: str) -> None:
    """Except for times, ids, the largest batch and the last digits of scores; runs in the clone."""
    here = command.replace("localhost:12480", f"127.0.0.1:{server.port}")
    ran = subprocess.run(["sh", "-c", here], cwd=ROOT, capture_output=True, timeout=60, check=True)
    printed = ran.stdout.decode().strip()
    assert _CHANGING.sub("~", printed) == _CHANGING.sub("~", shown)
    if shown.startswith("[["):
        scores, expected = (dict(json.loads(text)) for text in (printed, shown))
        assert scores == pytest.approx(expected, abs=0.01)


def test_the_links_of_the_readme_exist() -> None:
    """Each relative link leads to a file of the project."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_commands_and_options_of_the_readme_exist() -> None:
    """Every option that it names is one of a command that it names with it."""
    for line in re.findall(r"^tensorferry (.+)$", README, re.MULTILINE):
        command, *words = line.split()
        text = CliRunner().invoke(main, [command, "--help"]).output
        for option in (word for word in words if word.startswith("--")):
            assert option.replace("_", "-") in text, line


def test_the_figures_of_the_readme_are_those_of_the_page() -> None:
    """To the digit."""
    (measured,) = re.findall(r"## Measured\n(.*?)\n## ", README, re.DOTALL)
    page = (ROOT / "docs" / "performance.md").read_text()
    figures = re.findall(r"\d[\d,.]*\d", measured)
    assert len(figures) >= 8
    on_page = set(re.findall(r"\d[\d,.]*\d", page))
    assert [figure for figure in figures if figure not in on_page] == []


def test_the_readme_is_short() -> None:
    """At most six hundred words."""
    assert len(README.split()) <= 600
