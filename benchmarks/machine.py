"""
Describe the machine that measures, and read how much CPU one or all of its programs have used.

The description has only what the figures depend on, and nothing that identifies the machine.  Linux
only.
"""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: The vector instructions that the speed of a model depends on.
SIMD = ("avx2", "avx512f", "avx512_vnni", "amx_tile")

#: The packages that contain TensorFlow.
TENSORFLOW = ("tensorflow", "tensorflow-cpu")


def this_machine() -> dict[str, Any]:
    """Return the CPU, cores, memory in GiB and versions of the software, as a JSON object."""
    processor = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    name = re.search(r"model name\s*: (.*)", processor)
    kernel = re.match(r"\d+\.\d+", platform.release())
    flags = set(processor.split())
    return {
        "cpu": name[1] if name else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "kernel": kernel[0] if kernel else platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "tensorflow": tensorflow_version(),
        "simd": [flag for flag in SIMD if flag in flags],
    }


def tensorflow_version() -> str | None:
    """Return the version of TensorFlow that is installed, without importing it."""
    for package in TENSORFLOW:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def process_cpu_seconds(pid: int, thread: int | None = None) -> float:
    """
    Return the CPU seconds that the process *pid*, or one *thread* of it, has used so far.

    The time in the kernel is included.
    """
    files = Path(f"/proc/{pid}/task").glob(f"{thread or '*'}/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def resident_bytes(pid: int) -> int:
    """Return the bytes of memory that the process *pid* has in use."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024


def machine_cpu_seconds() -> float:
    """Return the CPU seconds that all programs of the machine have used since it started."""
    fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
