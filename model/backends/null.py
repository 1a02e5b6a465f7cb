"""
The null model: it returns the length of each row in bytes, and costs almost no time.

It serves to measure the cost of the server alone.  Imports no TensorFlow.
"""

from collections.abc import Sequence

import numpy as np

from model.signature import STRING, Arrays, Feed, Signature, TensorSpec

#: Takes one byte string per row; returns its length in bytes.
LENGTHS = Signature(
    inputs=(TensorSpec("body", STRING, (None,)),),
    outputs=(TensorSpec("length", np.dtype(np.int64), (None,)),),
)


class NullRunner:
    """A `model.backend.Runner` with one signature, `LENGTHS`."""

    signatures: Sequence[Signature] = (LENGTHS,)
    fingerprint = "null"
    device = "no device"

    def run(self, feed: Feed) -> Arrays:
        """Return the length in bytes of each row, int64 [rows]."""
        (bodies,) = feed.arrays
        return (np.array([len(body) for body in bodies], np.int64),)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""
