"""docs/performance.md and the READMEs of the benchmarks: what they name exists."""

import json
import re
import shlex
from datetime import datetime
from importlib import import_module
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parent.parent
MEASUREMENTS = ROOT / "docs" / "performance"
PAGES = (
    "docs/performance.md",
    "docs/json.md",
    "docs/metrics.md",
    "docs/scale-out.md",
    "docs/http.md",
    "docs/protocols.md",
    "benchmarks/README.md",
    "benchmarks/peers/README.md",
    "docs/batching.md",
    "docs/lifecycle.md",
    "docs/models.md",
    "README.md",
)

#: Longer pages are not read to the end.
MAX_LINES = 140


def commands(page: str) -> list[str]:
    """Return the commands of the benchmarks in a page, without comments and variables."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"python -m benchmarks[^`#\n]*", text)


@pytest.mark.parametrize(
    ("page", "command"), [(page, command) for page in PAGES for command in commands(page)]
)
def test_every_command_exists_with_its_options(page: str, command: str) -> None:
    """The module, the subcommand, and each option."""
    _, _, module, *words = shlex.split(command)
    program = import_module(module).main
    assert isinstance(program, click.Command), page
    if isinstance(program, click.Group):
        program = program.commands[words.pop(0)]
    known = {option for parameter in program.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file(page: str) -> None:
    """From the folder of the page."""
    folder = (ROOT / page).parent
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (folder / link).is_file()] == []


def test_the_page_is_short() -> None:
    """Its figures in full are in the files of docs/performance/."""
    page = (ROOT / PAGES[0]).read_text(encoding="utf-8")
    assert len(page.splitlines()) <= MAX_LINES


def test_every_file_of_figures_that_the_pages_name_is_there() -> None:
    """And no other one."""
    page = "".join((ROOT / it).read_text(encoding="utf-8") for it in PAGES[:5])
    named = set(re.findall(r"docs/performance/(\w+\.json)", page))
    assert named == {file.name for file in MEASUREMENTS.iterdir()}


def test_every_measurement_states_commit_date_and_machine() -> None:
    """And no folder of that machine."""
    for file in MEASUREMENTS.iterdir():
        text = file.read_text(encoding="utf-8")
        kept = json.loads(text)
        assert re.fullmatch(r"[0-9a-f]{40}", kept["commit"]), file.name
        assert datetime.fromisoformat(kept["date"]).utcoffset() is not None
        assert {"cpu", "cores", "memory_gib", "python", "tensorflow"} <= set(kept["machine"])
        assert not re.search(r'["/ ]/(home|root|tmp|work|usr|opt)\b', text), file.name
