"""The file of settings that docs/deployment.md offers."""

import re
from pathlib import Path

from click.testing import CliRunner

from scripts.cli import main

DOCS = Path(__file__).parents[1] / "docs"
SAMPLE = DOCS / "tensorferry.toml"


def from_file(file: Path) -> set[str]:
    """Return what settings are taken from *file* when it is checked as the page says."""
    command = ["serve", "--config", str(file), "--check-config"]
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, result.exception) == (0, None), result.output
    return set(re.findall(rf" # {re.escape(str(file))}: (\w+)$", result.output, re.MULTILINE))


def test_the_sample_is_a_file_of_settings() -> None:
    """As it stands."""
    assert "(tensorferry.toml)" in (DOCS / "deployment.md").read_text()
    assert from_file(SAMPLE) == {"listen", "access_log"}


def test_what_the_sample_leaves_out_can_be_put_in(tmp_path: Path) -> None:
    """Every line of it that is commented out is one of a setting, for a model that is there."""
    (tmp_path / "labels.txt").write_text("rose\n")
    text, switched_on = re.subn(r"^# (?=\w+ = )", "", SAMPLE.read_text(), flags=re.MULTILINE)
    file = tmp_path / "tensorferry.toml"
    file.write_text(text.replace("/srv/models/flowers", str(tmp_path)))
    assert len(from_file(file)) == switched_on + 2
