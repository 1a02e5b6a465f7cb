"""
Check that TensorFlow can be imported, and that it uses the GPUs that the driver lists.

A process of its own imports it, because a broken installation may crash or hang there.
"""

import json
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model import packages
from server.doctor.finding import Finding, fault, hint, ok
from server.doctor.machine import Machine
from server.doctor.nvidia import DriverFacts
from server.doctor.packages import PackageFacts
from server.settings.table import Device

IMPORT, GPU = "import", "gpu"

MAX_IMPORT_SECONDS = 90.0
#: The import takes 3 to 5 s from a disk cache (measured at 7b19538, 2026-11-30); a slow disk takes
#: longer.
MAX_USUAL_SECONDS = 20.0

#: Run by Python in the child; writes one line of JSON after what TensorFlow writes.  If TensorFlow
#: sees no GPU, the libraries in the arguments are loaded one by one.
_PROGRAM = """
import ctypes
import json
import sys
facts = {}
try:
    import tensorflow
    facts["version"] = tensorflow.__version__
    facts["gpus"] = [it.name for it in tensorflow.config.list_physical_devices("GPU")]
    facts["cuda"] = bool(tensorflow.test.is_built_with_cuda())
except Exception as error:
    facts["error"] = f"{type(error).__name__}: {error}"
facts["unloadable"] = []
for library in [] if facts.get("gpus") else sys.argv[1:]:
    try:
        ctypes.CDLL(library)
    except OSError as error:
        facts["unloadable"].append(str(error))
print()
print(json.dumps(facts))
"""

#: The driver's own library; it is not in a package.
_LIBCUDA = "libcuda.so.1"

_REINSTALL = "pip install --force-reinstall tensorflow"
_SHOW = "python -c 'import tensorflow' shows the whole error"
_SHOW_GPUS = "python -c 'import tensorflow; tensorflow.config.list_physical_devices()'"


@dataclass(frozen=True, slots=True)
class ImportFacts:
    """How the import ended in a process of its own."""

    code: int | None  #: exit code, minus the number of a signal; None: at the time limit
    seconds: float
    version: str = ""
    error: str = ""  #: of the import; empty if it succeeded
    gpus: tuple[str, ...] = ()  #: those that TensorFlow sees
    with_cuda: bool = False
    unloadable: tuple[str, ...] = ()  #: errors of libraries for a GPU that TensorFlow does not see


def read_import(machine: Machine, device: Device | None, driver: DriverFacts) -> ImportFacts:
    """
    Import TensorFlow in a child process; takes seconds, and at most `MAX_IMPORT_SECONDS`.

    If the *driver* shows a GPU, which TensorFlow does not see, libraries for it are loaded there.
    """
    libraries = _cuda_libraries(machine) if driver.shown and device != "cpu" else []
    environ = {**machine.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if device == "cpu":
        environ["CUDA_VISIBLE_DEVICES"] = "-1"
    begun = time.monotonic()
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter of this process
            [machine.python, "-P", "-c", _PROGRAM, *libraries],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MAX_IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ImportFacts(None, MAX_IMPORT_SECONDS)
    seconds = time.monotonic() - begun
    facts = _facts(_last_line(done.stdout))
    if facts is None:
        error = _last_line(done.stderr) or "the process ended without a result"
        return ImportFacts(done.returncode, seconds, error=error)
    return ImportFacts(
        done.returncode,
        seconds,
        str(facts.get("version", "")),
        " ".join(str(facts.get("error", "")).split()),
        tuple(map(str, facts.get("gpus", ()))),
        bool(facts.get("cuda")),
        tuple(map(str, facts.get("unloadable", ()))),
    )


def _cuda_libraries(machine: Machine) -> list[str]:
    """Return the names and paths of the libraries that TensorFlow needs for a GPU."""
    folders = [Path(folder, "nvidia") for folder in machine.packages]
    return [_LIBCUDA, *(str(it) for folder in folders for it in folder.glob("*/lib/lib*.so*"))]


def check_import(facts: ImportFacts) -> Finding:
    """Decide whether TensorFlow can be imported."""
    if facts.code is None:
        return fault(
            IMPORT,
            f"the import has not ended after {facts.seconds:g} s",
            "python -X importtime -c 'import tensorflow' shows where it waits",
        )
    if facts.code < 0:
        return _ended_by(-facts.code)
    if facts.error:
        return fault(IMPORT, facts.error[:300], _remedy(facts.error))
    took = f"TensorFlow {facts.version}, imported in {facts.seconds:.1f} s"
    if facts.seconds > MAX_USUAL_SECONDS:
        return hint(
            IMPORT, f"{took}: slow", "put the virtualenv on a local disk, or end other programs"
        )
    return ok(IMPORT, took)


def _ended_by(number: int) -> Finding:
    """Return the finding for an import that the signal *number* ended."""
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    found = f"the import ends with {name}"
    if number == signal.SIGILL:
        return fault(
            IMPORT,
            f"{found}: TensorFlow is compiled for instructions that the CPU does not have",
            f"use a CPU with these instructions, or the wheel of PyPI: {_REINSTALL}",
        )
    if number == signal.SIGKILL:
        return fault(
            IMPORT,
            f"{found}, as if there was too little memory",
            "raise the limit of memory: docker run --memory 2g, systemd MemoryMax=2G",
        )
    return fault(IMPORT, found, _REINSTALL)


def _remedy(error: str) -> str:
    """Return the remedy for *error*, the text of an exception at the import."""
    library = re.search(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file", error)
    if library is not None:
        of_cuda = re.match(r"lib(cu|nv|nccl)", library[1])
        return packages.CUDA if of_cuda else f"{_REINSTALL}, or install {library[1]} in the system"
    if "failed to map segment" in error:
        return "ulimit -v unlimited; mount the file system of the virtualenv without noexec"
    if error.startswith("ModuleNotFoundError"):
        return _REINSTALL
    return f"{_REINSTALL}; {_SHOW}"


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What TensorFlow and its libraries need to use a GPU."""

    shown: str  #: the GPUs that the driver shows; empty without any
    seen: tuple[str, ...]  #: the GPUs that TensorFlow sees
    with_cuda: bool
    visible: str | None  #: CUDA_VISIBLE_DEVICES
    missing: tuple[str, ...]  #: packages of CUDA libraries that are not installed
    unloadable: tuple[str, ...]  #: errors of libraries


def gpu_facts(
    machine: Machine, driver: DriverFacts, imported: ImportFacts, installed: PackageFacts
) -> GpuFacts:
    """Return the facts about the use of GPUs, from those of other checks."""
    needed = {name for wheel in installed.wheels for name in wheel.cuda_packages}
    return GpuFacts(
        driver.shown,
        imported.gpus,
        imported.with_cuda,
        machine.environ.get("CUDA_VISIBLE_DEVICES"),
        tuple(sorted(needed - installed.installed.keys())),
        imported.unloadable,
    )


def check_gpu(facts: GpuFacts, device: Device | None) -> Finding:
    """Decide whether TensorFlow uses the GPUs that the driver shows."""
    if device == "cpu":
        return ok(GPU, "not used with --device cpu")
    if facts.seen:
        return ok(GPU, f"TensorFlow sees {len(facts.seen)}")
    if not facts.shown:
        return ok(GPU, "none")
    cause, remedy = _why_unseen(facts)
    found = f"the driver shows {facts.shown}, but TensorFlow sees no GPU: {cause}"
    return fault(GPU, found, remedy)


def _why_unseen(facts: GpuFacts) -> tuple[str, str]:
    """Return the likeliest reason why TensorFlow sees no GPU, and the remedy."""
    if not facts.with_cuda:
        return "it is built without CUDA", f"pip uninstall -y tensorflow-cpu; {packages.CUDA}"
    if facts.visible is not None and facts.visible.strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES is {facts.visible!r}", "unset CUDA_VISIBLE_DEVICES"
    if any(error.startswith(_LIBCUDA) for error in facts.unloadable):
        return (
            f"the driver's library {_LIBCUDA} cannot be loaded",
            "install the driver again; docker run -e NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    if facts.missing:
        return f"{', '.join(facts.missing)} are not installed", packages.CUDA
    if facts.unloadable:
        return facts.unloadable[0], f"unset LD_LIBRARY_PATH; {packages.CUDA} --force-reinstall"
    return "its libraries can be loaded", f"TF_CPP_MIN_LOG_LEVEL=0 {_SHOW_GPUS} shows the reason"


def _facts(line: str) -> Mapping[str, Any] | None:  # Any: values of JSON
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
