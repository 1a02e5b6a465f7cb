"""
Check that the memory suffices for TensorFlow and the model.

Sizes are bytes.
"""

from dataclasses import dataclass

from model.execution.memory import available_bytes, memory_limit
from server.doctor.finding import Finding, fault, megabytes, ok, warning
from server.doctor.machine import Machine
from server.repository.memory_check import expected_memory

MEMORY = "memory"

#: What a server with a model of some kilobytes has in memory at least.  With TensorFlow 2.21 it has
#: 605 MB after the import, and 680 MB when it is ready (measured at 7b19538, 2026-11-30).
MIN_SERVER_BYTES = 640_000_000
#: What such a server has as its address space, of which most is not in memory.  With TensorFlow
#: 2.21 on 2 cores it starts with a limit of 2.7 GB and not with 2.25 GB; it takes 2.37 GB without a
#: limit (measured at a60d7f8, 2026-11-30).
MIN_ADDRESS_BYTES = 2_300_000_000


@dataclass(frozen=True, slots=True)
class MemoryFacts:
    """The memory that this process may use."""

    limit: int | None  #: of the machine, or of a control group if that is less
    available: int | None  #: to this process, with what it has already
    address_space: int  #: the limit of it; -1: no limit


def read_memory(machine: Machine) -> MemoryFacts:
    """Return the facts about memory."""
    available = available_bytes(machine.root)
    return MemoryFacts(
        memory_limit(machine.root),
        None if available is None else available + machine.resident_bytes(),
        machine.address_space(),
    )


def check_memory(facts: MemoryFacts, model_size: int) -> Finding:
    """Decide whether a server with a model of *model_size* bytes, 0 if unknown, has memory."""
    needed = MIN_SERVER_BYTES + expected_memory(model_size, ())
    what = "TensorFlow and the model need" if model_size else "TensorFlow alone needs"
    needs = f"{what} about {megabytes(needed)}"
    if facts.limit is not None and facts.limit < needed:
        return fault(
            MEMORY,
            f"the limit is {megabytes(facts.limit)}, and {needs}",
            "raise the limit: docker run --memory 2g, Kubernetes resources.limits.memory, systemd "
            "MemoryMax=2G",
        )
    needed_space = MIN_ADDRESS_BYTES + needed - MIN_SERVER_BYTES
    if 0 <= facts.address_space < needed_space:
        return fault(
            MEMORY,
            f"the limit of the address space is {megabytes(facts.address_space)}, and {what} about "
            f"{megabytes(needed_space)} of it",
            "ulimit -v unlimited; systemd LimitAS=infinity",
        )
    if facts.available is not None and facts.available < needed:
        return warning(
            MEMORY,
            f"{megabytes(facts.available)} are available, and {needs}",
            "end other programs; ps -e -o pid,rss,comm --sort=-rss lists them by their memory",
        )
    if facts.limit is None or facts.available is None:
        return ok(MEMORY, f"unknown; {needs}")
    return ok(
        MEMORY, f"{megabytes(facts.available)} of {megabytes(facts.limit)} available; {needs}"
    )
