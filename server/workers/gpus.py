"""
Which GPU a worker may use: one of those that are visible to the supervisor, in turn.

Lists a folder; runs no other program and loads no driver.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

#: CUDA's own variable, which lists the visible GPUs.
VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environ: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """
    Return the names of the visible GPUs, as `VISIBLE` takes them.

    If *environ* has this variable, its list ends before -1, as for CUDA; otherwise the GPUs are the
    device files in *devices*, which are numbered.
    """
    listed = environ.get(VISIBLE)
    if listed is None:
        numbers = [it.name.removeprefix("nvidia") for it in devices.glob("nvidia[0-9]*")]
        return [str(number) for number in range(len(numbers))]
    names = [name.strip() for name in listed.split(",")]
    names = names[: names.index("-1")] if "-1" in names else names
    return [name for name in names if name]


def gpu_variables(index: int, gpus: Sequence[str]) -> dict[str, str]:
    """Return the variable that shows one of *gpus* to the worker *index*; none without GPUs."""
    return {VISIBLE: gpus[index % len(gpus)]} if gpus else {}
