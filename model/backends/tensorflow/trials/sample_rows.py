"""
Find a row that a model runs, for warm-up and for examples of requests.

A signature states that an input is a string or an integer, but not which values the model's
operations take, and it may leave sizes open.  So rows are tried until one runs.  Blocks for up to
`MAX_SECONDS` and one more run; call it on a thread that may run the model.
"""

import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from io import BytesIO
from itertools import product
from math import prod
from operator import ne

import numpy as np
from PIL import Image

from batcher.errors import OutOfMemory
from model.backends.tensorflow.quiet_stderr import no_warnings
from model.backends.tensorflow.trials.sample_examples import parsable_example
from model.signature import STRING, Arrays, Feed, Signature, blank_feed

#: Seconds after which no further row is tried.
MAX_SECONDS = 2.0

#: Largest number of elements of an input with open sizes.
MAX_NUMBERS = 1 << 20

#: Values tried for numbers, and for sizes that a signature leaves open, the simplest first.
_NUMBERS = (0, 1)
_SIZES = (1, 2, 3, 4, 5, 8, 10, 16, 32, 64, 128, 224)

#: Shapes tried for an input of unknown rank, given the size of an axis; 3 is channels.
_UNKNOWN_SHAPES: tuple[Callable[[int], tuple[int, ...]], ...] = (
    lambda _: (),
    lambda size: (size,),
    lambda size: (1, size),
    lambda size: (1, size, size, 3),
)

#: A WAV file of one sample: 16 bits, one channel, 16,000 samples a second.
_WAV = bytes.fromhex(
    "52494646260000005741564566 6d742010000000 0100 0100 803e0000 007d0000 0200 1000"
    "64617461 02000000 0000"
)


@cache
def sample_strings() -> tuple[bytes, ...]:
    """Return strings to try, the simplest first: text, numbers, base64, CSV, files."""
    return (
        b"text",
        b"1",
        b"0",
        b"1.5",
        b64encode(b"text"),
        b"",  # also a tf.train.Example without features
        b"{}",
        *(b",".join([b"1"] * fields) for fields in range(2, 11)),
        *map(_image, ("PNG", "JPEG", "BMP", "GIF")),
        _WAV,
    )


def runnable_row(
    signature: Signature,
    run: Callable[[Feed], Arrays],
    *,
    blank_only: bool = False,
    seconds: Callable[[], float] = time.monotonic,
) -> Feed | None:
    """
    Return the simplest row of *signature* that *run* accepts; None if none was found.

    Zeros, texts and sizes of 1 are tried first; with *blank_only*, only zeros and empty strings are
    tried.  *seconds* returns the time of a monotonic clock.
    """
    import tensorflow.compat.v1 as tf

    end = seconds() + MAX_SECONDS

    def refusal_reason(feed: Feed) -> str:
        try:
            with no_warnings():
                run(feed)
        except (tf.errors.OpError, ValueError) as error:
            if seconds() > end:
                raise _TrialsTimedOut from error
            return str(error) or type(error).__name__
        return ""

    try:
        rows = iter([blank_feed(signature)]) if blank_only else _rows(signature, refusal_reason)
        return next((row for row in rows if not refusal_reason(row)), None)
    except (OutOfMemory, _TrialsTimedOut):
        return None


class _TrialsTimedOut(Exception):
    """The trials took longer than `MAX_SECONDS`."""


def _rows(signature: Signature, refusal_reason: Callable[[Feed], str]) -> Iterator[Feed]:
    """
    Yield the rows to try: the same string in all inputs, an Example, then different strings.

    *refusal_reason* returns the model's error for a row, from which the Example is built.
    """
    specs = signature.inputs
    strings = sum(spec.dtype == STRING for spec in specs)
    texts = sample_strings() if strings else (b"",)
    numbers = _NUMBERS if strings < len(specs) else _NUMBERS[:1]
    places = product(texts, numbers, _shapes(signature))
    plainest = (texts[0], numbers[0], next(_shapes(signature)))
    for text, number, shapes in sorted(places, key=lambda it: sum(map(ne, it, plainest))):
        yield _row(signature, [text] * strings, number, shapes)
    row = partial(_row, signature, number=numbers[0], shapes=plainest[2])
    if strings:
        example = parsable_example(lambda data: refusal_reason(row([data] * strings)), texts)
        if example is not None:
            yield row([example] * strings)
    if strings > 1:
        yield from map(row, product(texts, repeat=strings))


def _shapes(signature: Signature) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield tuples of shapes to try, one shape for each input; the smallest first, none twice."""
    specs = signature.inputs
    found: dict[tuple[tuple[int, ...], ...], None] = {}
    for unknown, size in product(_UNKNOWN_SHAPES, _SIZES):
        shapes = tuple(
            unknown(size) if spec.shape is None else _fill_open_axes(spec.shape, size)
            for spec in specs
        )
        if not found or max(map(prod, shapes), default=0) <= MAX_NUMBERS:
            found[shapes] = None
    yield from sorted(found, key=lambda shapes: sum(map(prod, shapes)))


def _fill_open_axes(shape: Sequence[int | None], size: int) -> tuple[int, ...]:
    """Return *shape* with *size* for each open axis; an open first axis becomes 1."""
    return tuple((size if axis else 1) if each is None else each for axis, each in enumerate(shape))


def _row(
    signature: Signature,
    strings: Sequence[bytes],
    number: int,
    shapes: Sequence[tuple[int, ...]],
) -> Feed:
    """
    Return a row of *signature* with *strings* in its string inputs, in order.

    All other inputs are filled with *number*.  *shapes* has the shape of each input.
    """
    remaining = iter(strings)
    arrays = []
    for spec, shape in zip(signature.inputs, shapes, strict=True):
        array = np.empty(shape, spec.dtype)
        # np.full would cut zero bytes off the end of a string.
        array.fill(next(remaining) if spec.dtype == STRING else number)
        arrays.append(array)
    return Feed(signature, tuple(arrays))


def _image(kind: str) -> bytes:
    """
    Return a white image of 32 x 32 pixels as a file of the format *kind*.

    It is large enough for most models to scale down.
    """
    file = BytesIO()
    Image.new("RGB", (32, 32), "white").save(file, kind)
    return file.getvalue()
