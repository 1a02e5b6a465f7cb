"""
Virtualenvs with the clients of other servers, made once and kept in pytest's cache folder.

pip installs them without the constraints of this project, so that their own requirements decide.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

#: What pip and apt write when no server can be reached, or has no package for this Python.
_UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|NameResolutionError"
    r"|Could not resolve|Could not connect|Temporary failure|Network is unreachable"
    r"|from versions: none|require a different python version|Unable to locate package"
)

#: The most seconds for one command that downloads.
_DOWNLOAD_SECONDS = 300


@dataclass(frozen=True)
class Environment:
    """What is in a virtualenv."""

    name: str
    requirements: tuple[str, ...]  #: for pip

    @property
    def folder_name(self) -> str:
        """The name of its folder, another one for other requirements and another Python."""
        digest = sha256(repr((self.requirements, sys.version)).encode()).hexdigest()
        return f"{self.name}-{digest[:12]}"


TRITON = Environment("triton", ("tritonclient[http]==2.73.0",))
KSERVE = Environment("kserve", ("kserve==0.21.0",))
OVMS = Environment("ovms", ("ovmsclient==2023.1",))
#: The last wheel that has the program perf_analyzer, and the library of CUDA that it is linked to.
PERF = Environment("perf", ("tritonclient==2.41.0", "nvidia-cuda-runtime-cu12==12.9.79"))
SCHEMATHESIS = Environment(
    "schemathesis", ("schemathesis==4.32.5", "openapi-spec-validator==0.9.0")
)

#: The package of Debian with the other library of perf_analyzer, which PyPI does not have.
_LIBB64 = "libb64-0d"


def download(command: Sequence[str], folder: Path) -> None:
    """Run *command* in *folder*; skip the test if it cannot download, fail for any other error."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PIP_CONSTRAINT", "PYTHONPATH", "VIRTUAL_ENV"}
    }
    ran = subprocess.run(
        command, cwd=folder, env=inherited, capture_output=True, text=True, check=False,
        timeout=_DOWNLOAD_SECONDS,
    )  # fmt: skip
    output = ran.stdout + ran.stderr
    if ran.returncode and _UNREACHABLE.search(output):
        pytest.skip(f"not downloaded by {' '.join(command)}: {output.strip().splitlines()[-1]}")
    assert ran.returncode == 0, output


def _make(environment: Environment, folder: Path) -> None:
    """Make *environment* in *folder*."""
    subprocess.run(
        [sys.executable, "-m", "venv", str(folder)], check=True, timeout=120, capture_output=True
    )
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    download([*pip, "install", "--quiet", *environment.requirements], folder)
    if environment is PERF:
        _add_libraries(folder)


def _add_libraries(folder: Path) -> None:
    """Put the libraries of perf_analyzer into the folder `libraries` of *folder*."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip(f"perf_analyzer needs {_LIBB64}, a package of Debian, and there is no apt-get")
    download(["apt-get", "download", _LIBB64], folder)
    (package,) = folder.glob(f"{_LIBB64}_*.deb")
    subprocess.run(["dpkg-deb", "-x", package, folder / "debian"], check=True, timeout=60)
    libraries = folder / "libraries"
    libraries.mkdir()
    found = [
        *folder.glob("debian/usr/lib/*/libb64.so.0d"),
        *folder.glob("lib/python3*/site-packages/nvidia/cuda_runtime/lib/libcudart.so.12"),
    ]
    assert len(found) == 2, found
    for library in found:
        (libraries / library.name).symlink_to(library)


#: Returns the folder of an environment.
EnvironmentAt = Callable[[Environment], Path]


@pytest.fixture(scope="session")
def environment_at(request: pytest.FixtureRequest) -> EnvironmentAt:
    """Return a function that makes an environment, unless this or an earlier run has made it."""
    base = request.config.cache.mkdir("real-clients")

    def made(environment: Environment) -> Path:
        folder = base / environment.folder_name
        complete = folder / "complete"
        if not complete.exists():
            for old in base.glob(f"{environment.name}-*"):
                shutil.rmtree(old)
            _make(environment, folder)
            complete.touch()
        return folder

    return made
