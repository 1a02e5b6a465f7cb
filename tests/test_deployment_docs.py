"""The sample file of settings of docs/deployment.md."""

import re
from pathlib import Path

from click.testing import CliRunner

from scripts.cli import main

DOCS = Path(__file__).parents[1] / "docs"
SAMPLE = DOCS / "tensorferry.toml"


def from_file(file: Path) -> set[str]:
    """Return the names of the settings that ``--check-config`` takes from *file*."""
    command = ["serve", "--config", str(file), "--check-config"]
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, result.exception) == (0, None), result.output
    return set(re.findall(rf" # {re.escape(str(file))}: (\w+)$", result.output, re.MULTILINE))


def test_the_sample_is_valid() -> None:
    """Without any change."""
    assert "(tensorferry.toml)" in (DOCS / "deployment.md").read_text()
    assert from_file(SAMPLE) == {"listen", "access_log"}


def test_every_line_of_the_sample_can_be_uncommented(tmp_path: Path) -> None:
    """Each is a valid setting, for a model that exists."""
    (tmp_path / "labels.txt").write_text("rose\n")
    text, uncommented = re.subn(r"^# (?=\w+ = )", "", SAMPLE.read_text(), flags=re.MULTILINE)
    file = tmp_path / "tensorferry.toml"
    file.write_text(text.replace("/srv/models/flowers", str(tmp_path)))
    assert len(from_file(file)) == uncommented + 2
