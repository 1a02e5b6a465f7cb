"""docs/models.md: its commands, its request and its model.toml work."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from model.images.preprocessing import Resample
from model.repository.model_toml import MODEL_TOML, read_model_toml
from scripts.cli import main
from tests.integration.saving import save_functions
from tests.integration.servers import ROOT, serving

DOCS = (ROOT / "docs" / "models.md").read_text()


def block(language: str) -> str:
    """Return the only code block in *language*."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
    return str(found)


@pytest.mark.full
@pytest.mark.skipif(shutil.which("curl") is None, reason="the request is one with curl")
def test_the_request_has_the_response_shown(tmp_path: Path, cache_home: Path) -> None:
    """From a model that multiplies with a matrix."""
    import tensorflow as tf

    matrix = tf.Variable(np.array([[1, 4], [2, 5], [3, 6]], np.float32))
    rows = {"x": ("float32", (None, 3))}
    model = tmp_path / "model"
    save_functions(model, {"serving_default": (lambda x: {"y": x @ matrix}, rows)}, matrix=matrix)
    command, _, shown = block("console").removeprefix("$ ").partition("\n")
    with serving("--model", str(model), cache_home=cache_home, folder=tmp_path) as server:
        here = command.replace("localhost:12480", f"127.0.0.1:{server.port}")
        ran = subprocess.run(["sh", "-c", here], capture_output=True, timeout=60, check=True)
    assert ran.stdout.decode() == shown


def test_the_commands_exist() -> None:
    """With the options on the page."""
    lines = re.findall(r"^tensorferry (\w+)([^#\n]*)", block("sh"), re.MULTILINE)
    assert lines
    for command, rest in lines:
        text = CliRunner().invoke(main, [command, "--help"]).output
        assert all(option in text for option in re.findall(r"--[\w-]+", rest))


def test_the_model_toml_has_every_key(tmp_path: Path) -> None:
    """All keys that are read, and no others."""
    (tmp_path / MODEL_TOML).write_text(block("toml"))
    facts = read_model_toml(tmp_path)
    for each in (facts, facts.preprocessing):
        assert [name for name in each.__slots__ if getattr(each, name) is None] == []
    filters = re.search(r"resample = .*# (.*)$", block("toml"), re.MULTILINE)
    assert filters is not None
    assert filters[1].split(", ") == list(Resample)
