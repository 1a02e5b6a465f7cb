"""
The sources of all facts: files of the kernel, programs, environment, packages and clocks.

A test replaces each by a folder of files, a fake program or a function.
"""

import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from model.execution.memory import resident_bytes


def _now() -> datetime:
    return datetime.now(UTC)


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def _descriptors() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def _address_space() -> int:
    return resource.getrlimit(resource.RLIMIT_AS)[0]


#: How long a connection may take to be accepted.
MAX_CONNECT_SECONDS = 1.0


def _connect(host: str, port: int) -> None:
    socket.create_connection((host, port), MAX_CONNECT_SECONDS).close()


@dataclass(frozen=True, slots=True)
class Answer:
    """How a program ended, and what it wrote."""

    code: int | None  #: minus the number of a signal that ended it; None: stopped at its time limit
    output: str
    errors: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine, as this process sees it."""

    root: Path = Path("/")  #: the folder that holds proc, sys, dev and run
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    #: the folders in which packages are looked for
    packages: Sequence[str] = field(default_factory=lambda: tuple(sys.path))
    python: str = sys.executable  #: the interpreter that imports TensorFlow
    free_bytes: Callable[[Path], int] = _free_bytes
    #: returns the soft and the hard limit of open file descriptors
    descriptors: Callable[[], tuple[int, int]] = _descriptors
    #: returns the soft limit of the address space, in bytes; -1: no limit
    address_space: Callable[[], int] = _address_space
    resident_bytes: Callable[[], int] = resident_bytes  #: returns the memory of this process
    now: Callable[[], datetime] = _now  #: the wall clock, UTC
    #: connects to a host and a port, and closes the connection; raises OSError
    connect: Callable[[str, int], None] = _connect

    @property
    def in_container(self) -> bool:
        """Whether this process runs in a container, as far as its files and variables show."""
        marks = (self.root / ".dockerenv", self.root / "run/.containerenv")
        names = {"container", "KUBERNETES_SERVICE_HOST"}
        return any(mark.exists() for mark in marks) or not names.isdisjoint(self.environ)

    def run(self, name: str, *arguments: str, seconds: float) -> Answer | None:
        """
        Run the program *name* of the PATH for at most *seconds*; None if it cannot be run.

        Its locale is C, so that its words are those that a check looks for.
        """
        program = shutil.which(name, path=self.environ.get("PATH", os.defpath))
        if program is None:
            return None
        try:
            done = subprocess.run(  # noqa: S603 - found on the user's own PATH
                [program, *arguments],
                env={**self.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            return Answer(None, _text(late.stdout), _text(late.stderr))
        except OSError:
            return None
        return Answer(done.returncode, _text(done.stdout), _text(done.stderr))


def read_text(path: Path) -> str:
    """Return the text of the file at *path*; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _text(output: bytes | None) -> str:
    return (output or b"").decode(errors="replace")
