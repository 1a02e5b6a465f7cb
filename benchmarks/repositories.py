"""
Make model repositories, serve them in a process of their own, and look at that process.

TensorFlow writes the models in another process, so that this one stays small.  Linux only.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import click

from benchmarks.saved_mlp import BODY
from benchmarks.served import PATIENCE

NAME = "mlp"  #: of a model that is swapped

POLL_SECONDS = 0.1  #: between two looks at the state of a model


def make_models(paths: Iterable[Path], width: int, wider: int = 0) -> None:
    """Write a model of `benchmarks.saved_mlp` to each of *paths*, each *wider* than the last."""
    options = ["--width", str(width), "--wider", str(wider), *map(str, paths)]
    command = [sys.executable, "-m", "benchmarks.saved_mlp", *options]
    variables = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, check=True, env=variables)  # noqa: S603 - ours


def place(made: Path, version: Path) -> None:
    """Copy the files *made* to the folder *version* of a repository, which appears complete."""
    staged = version.parent / f".{version.name}"
    shutil.copytree(made, staged)
    staged.rename(version)


def report(url: str, name: str = NAME) -> dict[str, Any]:
    """Return what the server at *url* states about the model *name*."""
    with urlopen(f"{url}models/{name}", timeout=PATIENCE) as answer:  # noqa: S310 - our own
        stated: dict[str, Any] = json.loads(answer.read())
    return stated


def states(stated: dict[str, Any]) -> dict[int, str]:
    """Return the states of the versions in the report *stated*."""
    return {int(it["version"]): it["state"] for it in stated["versions"]}


def ask(url: str, name: str = NAME) -> float:
    """Return the answer of the model *name* to one row."""
    request = Request(f"{url}models/{name}", BODY.encode())  # noqa: S310 - our own
    with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - the same
        found: float = json.loads(answer.read())["outputs"]["y"][0]
    return found


def wait_until_alone(url: str, version: int) -> None:
    """
    Wait until *version* serves and all other versions have been unloaded.

    Raises `click.ClickException` if that takes more than `PATIENCE` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        now = states(report(url))
        others = {state for number, state in now.items() if number != version}
        if now.get(version) == "serving" and others <= {"not served"}:
            return
        if time.monotonic() > deadline:
            raise click.ClickException(f"version {version} was not served: {now}")
        time.sleep(POLL_SECONDS)


def resident_mb(pid: int) -> float:
    """Return the MB of the process *pid* that are in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def thread_count(pid: int) -> int:
    """Return the number of threads of the process *pid*."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
