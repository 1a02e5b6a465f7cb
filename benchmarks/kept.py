"""
Keep measurements as JSON files that state what was measured: commit, date and machine.

Each item of a list or an object is on a line of its own, so that a diff of two files is readable.
"""

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.machine import this_machine

#: The content of the file of a measurement.
Kept = Mapping[str, Any]

ROOT = Path(__file__).parent.parent

#: Appended to the commit if a tracked file differs from it.  Files in docs/ do not count: they are
#: not measured, and a series of benchmarks writes its figures there.
DIRTY = "-dirty"

#: The option of all benchmarks that names the file.
json_option = click.option(
    "--json", "file", type=click.Path(dir_okay=False, path_type=Path),
    help="Write the figures to this file.",
)  # fmt: skip


def stamped(what: str, figures: Kept, root: Path = ROOT) -> dict[str, Any]:
    """
    Return the name *what* of a benchmark, the commit, the date and the machine, then the *figures*.

    A long benchmark calls this at its start, because the commit may change during the measurement.
    """
    return {
        "what": what,
        "commit": commit_of(root),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": this_machine(),
        **figures,
    }


def commit_of(root: Path) -> str | None:
    """
    Return the commit that is checked out in *root*; None outside a clone.

    The commit ends with `DIRTY` if a tracked file outside docs/ has been changed.
    """
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(
        root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs"
    )
    return f"{commit}{DIRTY if changed else ''}" if commit else None


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program
            ["git", *words],  # noqa: S607 - wherever it is installed
            cwd=root, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def write(file: Path, kept: Kept) -> None:
    """Write the measurement *kept* to *file*, and create the folder of *file* if it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dumped(kept), encoding="utf-8")


def dumped(kept: Kept) -> str:
    """Return *kept* as JSON, with a line for each key and for each item of a list or object."""
    keys = (f"{json.dumps(key)}: {_dumped(value)}" for key, value in kept.items())
    return "{\n" + ",\n".join(keys) + "\n}\n"


def _dumped(value: object) -> str:
    if isinstance(value, list) and value:
        return "[\n " + ",\n ".join(map(json.dumps, value)) + "\n]"
    if isinstance(value, dict) and value:
        items = (f"{json.dumps(key)}: {json.dumps(each)}" for key, each in value.items())
        return "{\n " + ",\n ".join(items) + "\n}"
    return json.dumps(value)
