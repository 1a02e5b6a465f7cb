"""
Say how a client's picture file becomes what a model takes, whoever decodes it.

The decoding itself is given: Pillow's (model/preprocess.py) or the model's own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model.signature import Feed, Signature


@dataclass(frozen=True, slots=True)
class PictureInput:
    """The way of a picture into a signature with a single input."""

    signature: Signature
    array_of: Callable[[bytes], np.ndarray]
    """
    Return the whole input, with the batch axis where there is one.  Called on decode threads, any
    number of calls at once; raises `BadImage` and nothing else for what is wrong with the bytes.
    """
    meaning: str  #: in words, for the log: the size, the filter, the numbers
    scores: int = 0  #: which output has a score for each label

    def feed(self, data: bytes) -> Feed:
        """Return the feed of the picture file *data*; raises `BadImage`."""
        (spec,) = self.signature.inputs
        return self.signature.feed({spec.name: self.array_of(data)})
