"""
The null model: it answers each row with its length, in next to no time.

Whatever a server takes beside its model is measured with it.  Imports no TensorFlow.
"""

from collections.abc import Sequence

import numpy as np

from model.signature import STRING, Arrays, Feed, Signature, TensorSpec

#: Bytes in, their number out.
LENGTHS = Signature(
    inputs=(TensorSpec("body", STRING, (None,)),),
    outputs=(TensorSpec("length", np.dtype(np.int64), (None,)),),
)


class NullRunner:
    """A `model.backend.Runner` of `LENGTHS`."""

    signatures: Sequence[Signature] = (LENGTHS,)
    fingerprint = "null"
    device = "no device"

    def run(self, feed: Feed) -> Arrays:
        """Return the length of each row."""
        (bodies,) = feed.arrays
        return (np.array([len(body) for body in bodies], np.int64),)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""
