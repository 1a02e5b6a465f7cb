"""
Check the CPU: the instructions that TensorFlow needs, and the cores that this process may use.
"""

import os
from collections.abc import Set
from dataclasses import dataclass

from model.execution.cores import cpu_limit, usable_cores
from server.doctor.finding import Finding, fault, hint, ok, warning
from server.doctor.machine import Machine, read_text

CPU, CORES = "cpu", "cores"

#: Instructions that kernels of TensorFlow, Eigen or oneDNN use where the CPU has them, and the flag
#: of each in /proc/cpuinfo.
_INSTRUCTIONS = {
    "AVX": "avx",
    "AVX2": "avx2",
    "FMA": "fma",
    "AVX-512": "avx512f",
    "AVX-512 VNNI": "avx512_vnni",
    "AMX": "amx_tile",
}


@dataclass(frozen=True, slots=True)
class CpuFacts:
    """The instructions of the CPU, and whether oneDNN may use them."""

    flags: Set[str] | None  #: of an x86 CPU; None: of another architecture, or unknown
    one_dnn: bool  #: whether the environment leaves the kernels of oneDNN on


def read_cpu(machine: Machine) -> CpuFacts:
    """Return the facts about the CPU."""
    lines = read_text(machine.root / "proc/cpuinfo").splitlines()
    flags = [frozenset(line.partition(":")[2].split()) for line in lines if line[:5] == "flags"]
    off = machine.environ.get("TF_ENABLE_ONEDNN_OPTS", "").strip().lower() in ("0", "false")
    return CpuFacts(flags[0] if flags else None, not off)


def check_cpu(facts: CpuFacts) -> Finding:
    """
    Decide whether TensorFlow runs on this CPU.

    Its wheels for x86 are compiled for AVX: without it, the import ends with an illegal
    instruction.  Kernels for newer instructions are chosen when they run.
    """
    if facts.flags is None:
        return ok(CPU, "no flags of an x86 CPU in /proc/cpuinfo")
    if "avx" not in facts.flags:
        return fault(
            CPU,
            "the CPU has no AVX, for which the wheels of TensorFlow are compiled",
            "use a CPU with AVX; in a virtual machine, set its CPU type to that of the host "
            "(qemu -cpu host)",
        )
    used = ", ".join(name for name, flag in _INSTRUCTIONS.items() if flag in facts.flags)
    if not {"avx2", "fma"} <= facts.flags:
        return hint(
            CPU,
            f"only {used}: without AVX2 and FMA a model may take twice as long",
            "use a newer CPU; in a virtual machine, set its CPU type to that of the host",
        )
    if not facts.one_dnn:
        return hint(
            CPU,
            f"{used}; TF_ENABLE_ONEDNN_OPTS turns the faster kernels of oneDNN off",
            "unset TF_ENABLE_ONEDNN_OPTS",
        )
    return ok(CPU, f"{used}; oneDNN uses them")


@dataclass(frozen=True, slots=True)
class CoreFacts:
    """The cores of the machine, and what this process may use of them."""

    machine: int
    usable: int
    limit: float | None  #: the CPU time that control groups allow, in cores


def read_cores(machine: Machine) -> CoreFacts:
    """Return the facts about cores."""
    return CoreFacts(os.cpu_count() or 1, usable_cores(machine.root), cpu_limit(machine.root))


def check_cores(facts: CoreFacts) -> Finding:
    """Decide whether the process may use at least one whole core."""
    if facts.limit is not None and facts.limit < 1:
        return warning(
            CORES,
            f"the CPU time is limited to that of {facts.limit:g} cores: all threads pause when it "
            "is spent, so that answers take up to 0.1 s longer",
            "raise the limit to 1 core or more: docker run --cpus 2, Kubernetes "
            "resources.limits.cpu, systemd CPUQuota=200%",
        )
    limited = "" if facts.limit is None else f"; CPU time of {facts.limit:g} cores"
    return ok(CORES, f"{facts.usable} of {facts.machine} may be used{limited}")
