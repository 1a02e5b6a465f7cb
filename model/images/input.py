"""
Say how a client's image file becomes what a model takes, whoever decodes it.

The decoding itself is given: Pillow's (model/images/decode.py) or the model's own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from model.images.errors import NotAnImage
from model.images.header import check_size, first_image
from model.signature import STRING, Arrays, Feed, Signature


def guarded(feed: Feed, max_pixels: int) -> Feed:
    """
    Return *feed* for a model that decodes: each string that is an image, and no other, is checked.

    It becomes one image where it was several.  Raises `BadImage`, as for one over *max_pixels*.
    """
    guard = np.frompyfunc(lambda data: _guarded(data, max_pixels), 1, 1)
    arrays = (
        np.asarray(guard(each), STRING) if each.dtype == STRING else each for each in feed.arrays
    )
    return Feed(feed.signature, tuple(arrays))


def _guarded(data: bytes, max_pixels: int) -> bytes:
    try:
        image = check_size(data, max_pixels)
    except NotAnImage:
        return data
    return first_image(data, image.format)


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The way of an image into a signature with a single input."""

    signature: Signature
    array_of: Callable[[bytes], np.ndarray]
    """
    Return the whole input, with the batch axis where there is one.  Called on decode threads, any
    number of calls at once; raises `BadImage` and nothing else for what is wrong with the bytes.
    """
    meaning: str  #: in words, for the log: the size, the filter, the numbers
    scores: int = 0  #: which output has a score for each label
    two_classes: bool = False  #: whether it has one number: that of the second of two labels
    encoded: Signature | None = None
    """
    What requests may ask for that bring encoded images as strings; where the model's decoding is
    not a part of the run, it is not the same as *signature*.
    """

    @property
    def asked(self) -> Signature:
        """The signature that a request with images asks for."""
        return self.encoded or self.signature

    def scores_of(self, arrays: Arrays) -> np.ndarray:
        """Return the score of each label, [labels], in the outputs of a run for one image."""
        scores = arrays[self.scores].reshape(-1)
        return np.concatenate([1 - scores, scores]) if self.two_classes else scores

    def feed(self, data: bytes) -> Feed:
        """Return the feed of the image file *data*; raises `BadImage`."""
        (spec,) = self.signature.inputs
        return self.signature.feed({spec.name: self.array_of(data)})

    def feed_encoded(self, feed: Feed) -> Feed:
        """Return what is run for *feed*, of the signature *encoded*; raises `BadImage`."""
        strings = feed.arrays[0].reshape(-1)
        return self.feed_all(strings) if len(strings) else feed

    def feed_all(self, files: Iterable[bytes]) -> Feed:
        """
        Return the feed of one or more image *files*, a row each.

        Raises `BadImage`, and `FeedError` where there are more than the signature takes.
        """
        feeds = [self.feed(data) for data in files]
        if len(feeds) == 1:
            return feeds[0]
        (spec,) = self.signature.inputs
        rows = np.concatenate([each.arrays[0] for each in feeds])
        return self.signature.feed({spec.name: rows})
