"""
Describe the machine that measured, and tell what its cores have done.

What figures hang on, and nothing that identifies it.
"""

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.markdown import number

#: The vector instructions that a model's speed hangs on.
SIMD = ("avx2", "avx512f", "avx512_vnni", "amx_tile")


def this_machine() -> dict[str, Any]:
    """Return what is to be told of this machine; on Linux."""
    processor = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    name = re.search(r"model name\s*: (.*)", processor)
    flags = set(processor.split())
    return told(
        {
            "cpu": name[1] if name else platform.machine(),
            "cores": os.cpu_count(),
            "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
            "kernel": platform.release(),
            "libc": " ".join(platform.libc_ver()),
            "python": platform.python_version(),
            "simd": [flag for flag in SIMD if flag in flags],
        }
    )


def told(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return of *machine* what is kept: of a kernel's name the version alone."""
    keys = ("cpu", "cores", "memory_gib", "kernel", "libc", "python", "simd")
    kept = {key: machine[key] for key in keys if key in machine}
    if version := re.match(r"\d+\.\d+", str(kept.get("kernel", ""))):
        kept["kernel"] = version[0]
    return kept


def machine_cpu_seconds() -> float:
    """Return what all programs of the machine have used of its cores since it started."""
    fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def sentence(machine: Mapping[str, Any]) -> str:
    """Return *machine* in words."""
    parts = [
        f"{machine['cores']} cores of {machine['cpu']}",
        f"({', '.join(machine['simd'])})" if machine.get("simd") else "",
        f"with {number(machine['memory_gib'])} GiB" if machine.get("memory_gib") else "",
    ]
    software = [f"{word} {machine[key]}" for key, word in _SOFTWARE.items() if machine.get(key)]
    return ", ".join([" ".join(filter(None, parts)), *software])


_SOFTWARE = {"kernel": "Linux", "libc": "libc:", "python": "Python"}
