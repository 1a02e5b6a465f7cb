"""
Check by trial runs whether the result of a row depends on the other rows of its batch.

In a file, the shape [?] may mean rows or a list of words, and nothing states that a model takes a
mean over the batch.  So different rows are run one at a time and in one batch, and the results are
compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from model.backends.tensorflow.session import Endpoint, LoadedGraph
from model.images.errors import BadImage
from model.images.probe_images import FORMATS, probe_images
from model.signature import STRING, Arrays, Feed, Signature, TensorSpec, blank_feed

#: The rows differ in level, spread and extremes, and are not sorted by any of them, so that any
#: dependence on the batch changes a result.
_FLOAT_MOMENTS = ((0.5, 1.0), (3.0, 2.0), (-1.0, 0.3))  #: mean, standard deviation
_BYTE_RANGES = ((60, 150), (20, 250), (0, 40))
_STRINGS = (b"b", b"c a", b"")
TRIAL_ROWS = 3

#: Sizes that replace the open sizes of a signature.
_TRIED_SIZES = (1, 32)

#: Largest difference between a batch and single rows, relative to the output's largest number.
_MAX_RELATIVE_DIFFERENCE = 1e-2


def mark_dependent_rows(graph: LoadedGraph) -> LoadedGraph:
    """
    Return *graph* after trial runs of each signature.

    `Signature.alone` is set if the runs show that the result of a row depends on other rows.
    """
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
    """
    Return why feeds for *endpoint* cannot share a run; "" if they can.

    The reason is that of the signature, or one that trial runs show.
    """
    if not endpoint.signature.batched:
        return endpoint.signature.alone
    most = endpoint.signature.max_rows or TRIAL_ROWS
    trials = _trials(graph, endpoint.signature)
    reasons = (_reason_rows_differ(graph, endpoint, rows[:most]) for rows in trials)
    return next(filter(None, reasons), "")


def _trials(graph: LoadedGraph, signature: Signature) -> Iterator[list[Feed]]:
    """
    Yield lists of feeds, each feed with one row.

    The rows of a list differ, except in the last list, where all are equal.
    """
    image_input = graph.image_input
    if image_input is not None and image_input.signature == signature:
        # Pixels are the same for every format.
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
    """
    Return an array of one row for *spec*, [1, ...]; its values differ for each number *row*.

    *size* is the size of each open axis.
    """
    shape = (1, *(size if each is None else each for each in spec.row_shape))
    if spec.dtype == STRING:
        return np.full(shape, _STRINGS[row], STRING)
    if spec.dtype == np.uint8:
        return random.integers(*_BYTE_RANGES[row], shape).astype(np.uint8)
    if spec.dtype.kind in "iub":
        # 0 and 1 are valid indices of every table with two entries.
        return ((random.integers(0, 2, shape) + row) % 2).astype(spec.dtype)
    return random.normal(*_FLOAT_MOMENTS[row], shape).astype(spec.dtype)


def _reason_rows_differ(graph: LoadedGraph, endpoint: Endpoint, rows: Sequence[Feed]) -> str:
    """Return why *rows* cannot share a run; "" if they can, or if no trial can show it."""
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
        return ""  # other values or one row at a time may run: warm-up reports a failure
    for number, (spec, output) in enumerate(zip(endpoint.signature.outputs, batch, strict=True)):
        singles = [each[number] for each in alone]
        count = len(rows)
        if output.shape[:1] != (count,) or any(each.shape[:1] != (1,) for each in singles):
            got = f"{list(output.shape)} for {count} rows"
            return f"output {spec.name!r} is {got}: expected one output row for each input row"
        if not _nearly_equal(again[number], singles[0]):
            return ""  # random or stateful: results cannot be compared
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
