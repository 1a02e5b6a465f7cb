"""The hints on what to install name what pyproject.toml does: model/packages.py."""

import shlex
import tomllib
from pathlib import Path

import pytest

from model import packages

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("extra", "hint"),
    [
        ("plot", packages.PLOT),
        ("cuda", packages.CUDA),
        ("default-model", packages.DEFAULT_MODEL),
    ],
)
def test_a_hint_installs_what_the_extra_has(extra: str, hint: str) -> None:
    """Without the lower bounds, which the newest version keeps."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert shlex.split(hint) == ["pip", "install", *(it.partition(">=")[0] for it in extras[extra])]
