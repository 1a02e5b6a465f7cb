"""Starts beside modules of other projects, and without a folder to write to."""

import os
import sys
from pathlib import Path

import pytest

from tests.integration.clients import post
from tests.integration.graphs import Graphs, image_input
from tests.integration.photos import jpeg
from tests.integration.servers import TWISTD_N, reasons, run_program, serving

pytestmark = pytest.mark.full

COMMAND = str(Path(sys.executable).with_name("tensorferry"))
MODULE = (sys.executable, "-m", "tensorferry")

#: The commands that start a server.
COMMANDS = {
    "tensorferry": (COMMAND, "serve"),
    "python -m tensorferry": (*MODULE, "serve"),
    "twistd": TWISTD_N,
}

NAMES = ("batcher", "model", "scripts", "server")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder of modules, each with the name of one of our packages."""
    folder = tmp_path / "project"
    (folder / "scripts").mkdir(parents=True)
    for name in ("batcher.py", "model.py", "server.py", "scripts/__init__.py"):
        (folder / name).write_text(f"raise RuntimeError({name!r})\n")
    return folder


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_modules_of_the_same_names_are_not_imported(
    project: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """From PYTHONPATH or the working folder: the error for an empty model is after all imports."""
    (tmp_path / "empty.pb").touch()
    options = ["--port", "0", "--graph", str(tmp_path / "empty.pb")]
    variables = {"PYTHONPATH": str(project)}
    result = run_program(
        [*command, *options], cache_home=tmp_path, folder=project, variables=variables
    )
    (line,) = reasons(result.stderr)
    assert line.endswith("empty.pb: an empty file, not a model: copy or download it again")
    assert result.returncode == 1


def test_modules_that_were_imported_first_stay_usable(tmp_path: Path) -> None:
    """Here by a sitecustomize, which every interpreter imports."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("mine = True\n")
    (tmp_path / "sitecustomize.py").write_text(
        f"import atexit, {', '.join(NAMES)}\n"
        f"atexit.register(lambda: print({', '.join(f'{name}.mine' for name in NAMES)}))\n"
    )
    variables = {"PYTHONPATH": str(tmp_path)}
    command = [*MODULE, "serve", "--check-config"]
    result = run_program(command, cache_home=tmp_path, folder=tmp_path, variables=variables)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "True True True True"


def test_the_module_is_the_command(tmp_path: Path) -> None:
    """And both have the same name in their output."""
    for command in ((COMMAND,), MODULE):
        page = run_program([*command, "serve", "-h"], cache_home=tmp_path, folder=tmp_path)
        assert page.stdout.startswith("Usage: tensorferry serve ")


#: Runs the command as a user id without a passwd entry, and without a folder to write to.  A busy
#: machine would disturb the warm-up, and disturbed run times are never stored.
WITHOUT_FOLDER = """
import os, pwd, sys, tempfile
import model.execution.disturbance

def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

def refuse():
    raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

model.execution.disturbance.disturbance = lambda *_: ""
pwd.getpwuid = unknown
tempfile._get_default_tempdir = refuse
for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
    os.environ.pop(name, None)
from tensorferry.__main__ import main
main()
"""


@pytest.fixture
def without_folder(tmp_path: Path) -> tuple[str, ...]:
    """Return the command of a server without a folder to write to."""
    program = tmp_path / "without_folder.py"
    program.write_text(WITHOUT_FOLDER)
    return (sys.executable, "-P", os.fspath(program), "serve")


def test_a_server_without_a_writable_folder_answers(
    cache_home: Path, tmp_path: Path, without_folder: tuple[str, ...]
) -> None:
    """It only cannot store the run times; one line of the log states this."""
    graph = Graphs(tmp_path).write(image_input())
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    options = ("--graph", str(graph), "--labels", "labels.txt")
    with serving(
        *options, cache_home=cache_home, folder=tmp_path, command=without_folder
    ) as server:
        assert post(server.port, jpeg("coffee.png")).best == "red"
        warnings = [line for line in server.log.splitlines() if " warn " in line]
        assert "Traceback" not in server.log
    (line,) = warnings
    assert "run times are not kept for the next start" in line
    assert "set XDG_CACHE_HOME" in line


def test_the_default_model_without_a_writable_folder_names_the_variable_to_set(
    cache_home: Path, tmp_path: Path, without_folder: tuple[str, ...]
) -> None:
    """The default model needs a folder, because it is converted once and stored."""
    command = [*without_folder, "--port", "0"]
    result = run_program(command, cache_home=cache_home, folder=tmp_path)
    (line,) = reasons(result.stderr)
    assert line.endswith("set XDG_CACHE_HOME to a folder that can be written")
    assert result.returncode == 1
