"""One line for a package in whose place another is imported: tensorferry/broken_imports.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tensorferry.__main__ import main
from tensorferry.broken_imports import explain_import

ROOT = Path(__file__).parent.parent


@pytest.mark.full
@pytest.mark.parametrize("command", ["doctor", "serve"])
@pytest.mark.parametrize("module", ["twisted/__init__.py", "logging.py"])
def test_a_package_of_pythonpath_in_the_place_of_another(
    tmp_path: Path, module: str, command: str
) -> None:
    """One line names the package, its file and the variable."""
    (tmp_path / module).parent.mkdir(exist_ok=True)
    (tmp_path / module).write_text("")
    folders = f"{tmp_path}:{ROOT}"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tensorferry", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": folders},
        capture_output=True,
        text=True,
        check=False,
    )
    name = Path(module).parts[0].removesuffix(".py")
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith(f"tensorferry: {name} cannot be imported: ")
    assert line.endswith(
        f"; it is imported from {tmp_path / module}; unset PYTHONPATH: PYTHONPATH is {folders!r}"
    )


def test_a_missing_package_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PYTHONPATH nothing more is known."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    error = ImportError("No module\nnamed 'klien.app'", name="klien.app")
    assert explain_import(error) == "klien cannot be imported: No module named 'klien.app'"
    assert explain_import(ImportError("broken")) == "a package cannot be imported: broken"


def test_an_error_of_a_run_is_not_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a bug, and needs its traceback."""

    def run(**_: object) -> None:
        raise AttributeError("no such thing", name="thing", obj=sys)

    monkeypatch.setattr("scripts.cli.main", run)
    monkeypatch.setattr("tensorferry.__main__.end_on_signals", lambda: None)
    with pytest.raises(AttributeError, match="no such thing"):
        main()
