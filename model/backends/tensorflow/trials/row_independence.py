"""
See whether a signature that says so really answers each row for itself, whatever rides beside it.

A file says [?] of rows and of a list of words alike, and nothing of a mean over the batch; only
runs can tell: of different rows one at a time, and of the same rows together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from model.backends.tensorflow.session import Endpoint, LoadedGraph
from model.backends.tensorflow.trials.probe_images import FORMATS, probe_images
from model.images.header import BadImage
from model.signature import STRING, Arrays, Feed, Signature, TensorSpec, blank_feed

#: Rows are unlike each other in all that a batch may be measured by, level, spread and extremes,
#: and in no order by which it may be sorted.
_FLOAT_MOMENTS = ((0.5, 1.0), (3.0, 2.0), (-1.0, 0.3))  #: mean and deviation
_BYTE_RANGES = ((60, 150), (20, 250), (0, 40))
_STRINGS = (b"b", b"c a", b"")
TRIAL_ROWS = 3

#: Sizes that are tried where a signature leaves them open.
_TRIED_SIZES = (1, 32)

#: How far a number may lie from what it is alone, for the largest of its output.
_MAX_RELATIVE_DIFFERENCE = 1e-2


def mark_dependent_rows(graph: LoadedGraph) -> LoadedGraph:
    """Return *graph* with those signatures alone whose rows do not stand for themselves."""
    endpoints = [
        replace(each, signature=replace(each.signature, alone=_reason_to_run_alone(graph, each)))
        for each in graph.endpoints
    ]
    image_input = graph.image_input
    if image_input is not None:
        corrected = {each.signature.name: each.signature for each in endpoints}
        image_input = replace(
            image_input,
            signature=corrected[image_input.signature.name],
            encoded=image_input.encoded
            and corrected.get(image_input.encoded.name, image_input.encoded),
        )
    return replace(graph, endpoints=endpoints, image_input=image_input)


def _reason_to_run_alone(graph: LoadedGraph, endpoint: Endpoint) -> str:
    """Return why feeds cannot share a run, as the signature or rows that run tell."""
    if not endpoint.signature.batched:
        return endpoint.signature.alone
    most = endpoint.signature.max_rows or TRIAL_ROWS
    trials = _trials(graph, endpoint.signature)
    reasons = (_reason_rows_differ(graph, endpoint, rows[:most]) for rows in trials)
    return next(filter(None, reasons), "")


def _trials(graph: LoadedGraph, signature: Signature) -> Iterator[list[Feed]]:
    """Yield sets of feeds of one row each: different ones, and some that are all the same."""
    image_input = graph.image_input
    if image_input is not None and image_input.signature == signature:
        # The format is no matter where pixels are fed.
        kinds = FORMATS if signature.inputs[0].dtype == STRING else FORMATS[:1]
        for kind in kinds:
            try:
                yield [image_input.feed(each) for each in probe_images()[kind][:TRIAL_ROWS]]
            except BadImage:
                continue
    random = np.random.default_rng(5)
    for size in _TRIED_SIZES:
        yield [
            Feed(signature, tuple(_row(spec, row, size, random) for spec in signature.inputs))
            for row in range(TRIAL_ROWS)
        ]
    yield [blank_feed(signature)] * TRIAL_ROWS


def _row(spec: TensorSpec, row: int, size: int, random: np.random.Generator) -> np.ndarray:
    """Return one row for *spec*, [1, ...], that is unlike those of the other numbers."""
    shape = (1, *(size if each is None else each for each in spec.row_shape))
    if spec.dtype == STRING:
        return np.full(shape, _STRINGS[row], STRING)
    if spec.dtype == np.uint8:
        return random.integers(*_BYTE_RANGES[row], shape).astype(np.uint8)
    if spec.dtype.kind in "iub":
        # Any index is in range that a table of two has.
        return ((random.integers(0, 2, shape) + row) % 2).astype(spec.dtype)
    return random.normal(*_FLOAT_MOMENTS[row], shape).astype(spec.dtype)


def _reason_rows_differ(graph: LoadedGraph, endpoint: Endpoint, rows: Sequence[Feed]) -> str:
    """Return why *rows* cannot share a run; empty where they can, or do not run at all."""
    import tensorflow.compat.v1 as tf

    def run(arrays: Arrays) -> list[np.ndarray]:
        fed = dict(zip(endpoint.feeds, arrays, strict=True))
        return [np.asarray(each) for each in graph.session.run(list(endpoint.fetches), fed)]

    try:
        together = tuple(map(np.concatenate, zip(*(each.arrays for each in rows), strict=True)))
        batch = run(together)
        alone = [run(each.arrays) for each in rows]
        again = run(rows[0].arrays)
    except (tf.errors.OpError, ValueError):
        return ""  # it may want other values, or no more than one row: warm-up tells
    for number, (spec, output) in enumerate(zip(endpoint.signature.outputs, batch, strict=True)):
        singles = [each[number] for each in alone]
        count = len(rows)
        if output.shape[:1] != (count,) or any(each.shape[:1] != (1,) for each in singles):
            shape = list(output.shape)
            return f"output {spec.name!r} is {shape} for {count} rows: not one row for each row"
        if not _nearly_equal(again[number], singles[0]):
            return ""  # it draws lots, or counts: nothing can be compared
        if not all(_nearly_equal(output[at : at + 1], each) for at, each in enumerate(singles)):
            return f"output {spec.name!r} mixes the rows of a batch"
    return ""


def _nearly_equal(output: np.ndarray, expected: np.ndarray) -> bool:
    if output.shape != expected.shape:
        return False
    if output.dtype.kind in "iubOS":
        return bool(np.array_equal(output, expected))
    exact = expected.astype(np.float64)
    largest = np.abs(exact[np.isfinite(exact)]).max(initial=0.0)
    near = np.isclose(
        output.astype(np.float64),
        exact,
        rtol=0,
        atol=_MAX_RELATIVE_DIFFERENCE * largest + 1e-6,
        equal_nan=True,
    )
    return bool(near.all())
