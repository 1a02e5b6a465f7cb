"""`tensorferry models cached`, the list of the cache folder: scripts/cached_models.py."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from model.repository.cache import (
    CacheFolder,
    user_cache_folder,
)
from scripts.models import models
from tests.cached_models import CONTENTS, CREATED, cut_short


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CacheFolder:
    """The cache folder of the user, in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return replace(user_cache_folder(), now=lambda: CREATED)


def test_the_command_lists_models_in_aligned_columns(user_cache: CacheFolder) -> None:
    """Sorted, one line each, in plain text where the output is not a terminal."""
    user_cache.publish("net", "2", replace(CONTENTS, licence="Apache-2.0 (weights)"))
    user_cache.publish("net", "1", replace(CONTENTS, files={"graph.pb": bytes(12_340_000)}))
    result = CliRunner().invoke(models, ["cached"])
    folder = user_cache.root / "models" / "net"
    assert result.stdout.splitlines() == [
        "MODEL  SIZE     CONVERTED   LICENCE               PATH",
        f"net/1  12.3 MB  2026-02-03  MIT                   {folder}/1",
        f"net/2  0.0 MB   2026-02-03  Apache-2.0 (weights)  {folder}/2",
    ]
    assert (result.exit_code, result.stderr) == (0, "")


def test_the_command_reports_an_empty_cache(user_cache: CacheFolder) -> None:
    """With the path of the folder."""
    result = CliRunner().invoke(models, ["cached"])
    assert result.stdout == f"no usable model in the cache folder {user_cache.root}\n"


def test_the_command_reports_damage_beside_the_list(user_cache: CacheFolder) -> None:
    """A damaged model is not listed as usable; the others are."""
    for version in ("1", "2"):
        user_cache.publish("net", version, CONTENTS)
    cut_short(user_cache.model_folder("net", "1"))
    result = CliRunner().invoke(models, ["cached"])
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["MODEL", "net/2"]
    folder = user_cache.model_folder("net", "1")
    assert result.stderr == f"{folder} is damaged: graph.pb has 599 bytes, 600 were written\n"


def test_the_command_fails_with_one_line_where_the_cache_cannot_be_read(
    user_cache: CacheFolder,
) -> None:
    """A file has the name of the folder of models."""
    user_cache.root.mkdir()
    (user_cache.root / "models").write_text("")
    result = CliRunner().invoke(models, ["cached"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: the cache folder {user_cache.root} cannot be used:")


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_the_command_folds_its_table_to_the_terminal(
    user_cache: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is wider than the window, and the whole path is shown."""
    user_cache.publish("net", "1", CONTENTS)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    models.main(["cached"], standalone_mode=False)
    lines = click.unstyle(terminal.getvalue()).splitlines()
    assert max(map(len, lines)) <= 60
    column = lines[0].index("PATH")
    path = "".join(line[column:].strip() for line in lines[1:])
    assert path == str(user_cache.model_folder("net", "1"))
