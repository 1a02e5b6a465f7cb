"""
Decide whether there is memory for one more version of a model.

Pure.  Sizes are bytes.
"""

from collections.abc import Iterable

from model.errors import ModelError

#: A model takes at least this multiple of the size of its files: its graph and its weights are in
#: memory twice while it is loaded.
MIN_MEMORY_PER_FILE_BYTE = 2.0

#: Memory that a load leaves to the rest of the machine.
RESERVED_BYTES = 64 * 2**20


def expected_memory(size: int, replaced: Iterable[tuple[int, int]]) -> int:
    """
    Return the memory that a version with files of *size* bytes is expected to need.

    *replaced* has the size of the files, and the memory that they took, of each version of this
    model that is in memory.  Only a part of that memory grows with the files: the first load in a
    process also takes what TensorFlow needs itself.
    """
    measured = [
        memory + MIN_MEMORY_PER_FILE_BYTE * (size - its_size) for its_size, memory in replaced
    ]
    return int(max([MIN_MEMORY_PER_FILE_BYTE * size, *measured]))


def check_memory(size: int, replaced: Iterable[tuple[int, int]], available: int | None) -> None:
    """
    Raise `ModelError`, with the figures, if *available* bytes are too few for the version.

    *size* and *replaced* are those of `expected_memory`; None: what is available is unknown.
    """
    needed = expected_memory(size, replaced)
    if size and available is not None and needed + RESERVED_BYTES > available:
        raise ModelError(
            f"not enough memory: {needed / 1e6:,.0f} MB are expected to be needed, "
            f"{RESERVED_BYTES / 1e6:,.0f} MB are kept free, {available / 1e6:,.0f} MB are available"
        )
