"""
See whether a signature that says so really answers with a row for each row.

A file says [?] of rows and of a list of words alike; only a run can tell.
"""

from dataclasses import replace

import numpy as np

from model.backends.tensorflow.session import Endpoint, LoadedGraph
from model.signature import blank_feed

ROWS = 3


def with_rows_seen(graph: LoadedGraph) -> LoadedGraph:
    """Return *graph* with those signatures alone whose answers are no rows, whatever they say."""
    endpoints = [
        replace(each, signature=replace(each.signature, alone=_reason_seen(graph, each)))
        for each in graph.endpoints
    ]
    pictures = graph.pictures
    if pictures is not None:
        put_right = {each.signature.name: each.signature for each in endpoints}
        pictures = replace(
            pictures,
            signature=put_right[pictures.signature.name],
            encoded=pictures.encoded and put_right.get(pictures.encoded.name, pictures.encoded),
        )
    return replace(graph, endpoints=endpoints, pictures=pictures)


def _reason_seen(graph: LoadedGraph, endpoint: Endpoint) -> str:
    """Return why feeds cannot share a run, as the signature or a run of a few rows tells."""
    import tensorflow.compat.v1 as tf

    signature = endpoint.signature
    if not signature.batched:
        return signature.alone
    arrays = blank_feed(signature).repeated(ROWS).arrays
    try:
        outputs = graph.session.run(
            list(endpoint.fetches), dict(zip(endpoint.feeds, arrays, strict=True))
        )
    except (tf.errors.OpError, ValueError):
        return ""  # it may want other values than zeros, or no more than one row: warm-up tells
    for spec, output in zip(signature.outputs, outputs, strict=True):
        shape = list(np.shape(output))
        if shape[:1] != [ROWS]:
            return f"output {spec.name!r} is {shape} for {ROWS} rows: not one row for each row"
    return ""
