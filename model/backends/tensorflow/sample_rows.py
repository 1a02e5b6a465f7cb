"""
Find a row that a model runs, to measure it with and to show to people.

A signature says that an input is a string or a whole number, not which ones its operations take,
and may leave sizes open: only runs can tell.  Blocks while it runs, on a thread that may run the
model.
"""

import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from io import BytesIO
from itertools import product
from math import prod

import numpy as np
from PIL import Image

from batcher.errors import OutOfMemory
from model.backends.tensorflow.quiet_stderr import no_warnings
from model.signature import STRING, Arrays, Feed, Signature

#: Seconds after which no further row is tried.
MAX_SECONDS = 2.0

#: Numbers in a row that is tried.
MAX_NUMBERS = 1 << 20

#: What a number may be, and a size that a signature leaves open; the plainest first.
_NUMBERS = (0, 1)
_SIZES = (1, 2, 3, 4, 5, 8, 10, 16, 32, 64, 128, 224)

#: The axes of an input of which not even their number is known: of that many sizes, and channels.
_UNKNOWN_SHAPES: tuple[Callable[[int], tuple[int, ...]], ...] = (
    lambda _: (),
    lambda size: (size,),
    lambda size: (1, size),
    lambda size: (1, size, size, 3),
)

#: A sound of one sample: 16 bits, one channel, 16000 a second.
_WAV = bytes.fromhex(
    "52494646260000005741564566 6d742010000000 0100 0100 803e0000 007d0000 0200 1000"
    "64617461 02000000 0000"
)


@cache
def sample_strings() -> tuple[bytes, ...]:
    """Return what a string may be, the plainest first: text, a number, base64, CSV, a file."""
    return (
        b"text",
        b"1",
        b"0",
        b"1.5",
        b64encode(b"text"),
        b"",  # a tf.train.Example without features, too
        b"{}",
        *(b",".join([b"1"] * fields) for fields in range(2, 11)),
        *map(_image, ("PNG", "JPEG", "BMP", "GIF")),
        _WAV,
    )


def runnable_row(
    signature: Signature,
    run: Callable[[Feed], Arrays],
    *,
    seconds: Callable[[], float] = time.monotonic,
) -> Feed | None:
    """
    Return the plainest row of *signature* that *run* runs; None where no row was found.

    Zeros, texts and sizes of 1 are tried first.
    """
    import tensorflow.compat.v1 as tf

    end = seconds() + MAX_SECONDS
    for feed in _rows(signature):
        try:
            with no_warnings():
                run(feed)
        except OutOfMemory:
            return None
        except (tf.errors.OpError, ValueError):
            if seconds() > end:
                return None
        else:
            return feed
    return None


def _rows(signature: Signature) -> Iterator[Feed]:
    """Yield the rows to try: those with one string for all inputs, then those with several."""
    specs = signature.inputs
    strings = sum(spec.dtype == STRING for spec in specs)
    texts = sample_strings() if strings else (b"",)
    numbers = _NUMBERS if strings < len(specs) else _NUMBERS[:1]
    unknown = any(spec.shape is None for spec in specs)
    sizes = _SIZES if unknown or any(None in spec.row_shape for spec in specs) else _SIZES[:1]
    shapes = _UNKNOWN_SHAPES if unknown else _UNKNOWN_SHAPES[:1]
    places = product(*(range(len(each)) for each in (texts, numbers, sizes, shapes)))
    for text, number, size, shape in sorted(places, key=lambda place: sum(map(bool, place))):
        row = _row(signature, [texts[text]] * strings, numbers[number], sizes[size], shapes[shape])
        if row is not None:
            yield row
    if strings > 1:
        for several in product(texts, repeat=strings):
            row = _row(signature, several, _NUMBERS[0], _SIZES[0], _UNKNOWN_SHAPES[0])
            if row is not None:
                yield row


def _row(
    signature: Signature,
    strings: Sequence[bytes],
    number: int,
    size: int,
    unknown: Callable[[int], tuple[int, ...]],
) -> Feed | None:
    """Return a row of one string an input and one number; None where it is too large."""
    left = iter(strings)
    arrays: list[np.ndarray] = []
    for spec in signature.inputs:
        shape = unknown(size) if spec.shape is None else _closed(spec.shape, size)
        if prod(shape) > MAX_NUMBERS:
            return None
        arrays.append(np.empty(shape, spec.dtype))
        # Not np.full: it cuts zero bytes off the end of a string.
        arrays[-1].fill(next(left) if spec.dtype == STRING else number)
    return Feed(signature, tuple(arrays))


def _closed(shape: Sequence[int | None], size: int) -> tuple[int, ...]:
    """Return *shape* with its open axes of *size*, but for the first one, of 1."""
    return tuple((size if axis else 1) if each is None else each for axis, each in enumerate(shape))


def _image(kind: str) -> bytes:
    """Return a white image, large enough for most models to make smaller."""
    file = BytesIO()
    Image.new("RGB", (32, 32), "white").save(file, kind)
    return file.getvalue()
