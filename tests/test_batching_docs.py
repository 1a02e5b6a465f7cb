"""docs/batching.md: the output of `tensorferry simulate`, and the plot."""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from scripts.cli import main

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "batching.md").read_text()

#: The largest plot, in bytes.
SMALL = 150_000


def test_the_table_is_what_the_command_prints() -> None:
    """To the last digit: the seed is the same."""
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    command, *shown = block.splitlines()
    result = CliRunner().invoke(main, shlex.split(command.removeprefix("$ tensorferry ")))
    assert result.exit_code == 0, result.output
    assert [line.rstrip() for line in result.output.splitlines()] == shown


def test_the_plot_is_there_and_small() -> None:
    """The file that the page names."""
    (name,) = re.findall(r"!\[[^]]*\]\(([^)]*)\)", PAGE)
    with Image.open(DOCS / name) as image:
        assert image.format == "PNG"
        assert image.width > 800
    assert (DOCS / name).stat().st_size < SMALL
