"""Measure the ways from one of Pillow's images to an array; all of them hold the lock."""

from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np
from PIL import Image

CALLS = 300


def copies(side: int) -> dict[str, float]:
    """Return the microseconds of each way for an RGB image of *side* x *side* pixels."""
    shape = (side, side, 3)
    levels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    image, slot = Image.fromarray(levels), np.empty(shape, np.uint8)

    def into_slot() -> None:
        slot.reshape(-1)[:] = np.frombuffer(image.tobytes(), np.uint8)

    return {
        "np.array": _microseconds(partial(np.array, image)),
        "np.asarray": _microseconds(partial(np.asarray, image)),
        "np.frombuffer of tobytes": _microseconds(
            lambda: np.frombuffer(image.tobytes(), np.uint8).reshape(shape)
        ),
        "tobytes into a kept array": _microseconds(into_slot),
        "np.stack of 8, per image": _microseconds(partial(np.stack, [levels] * 8)) / 8,
        "copy into a kept array": _microseconds(partial(np.copyto, slot, levels)),
    }


def _microseconds(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(CALLS):
        began = perf_counter()
        call()
        seconds.append(perf_counter() - began)
    return 1e6 * median(seconds)
