"""
Turn image files into the feed of a signature, with whichever decoder the model uses.

The decoder is an argument: Pillow's (model/images/decode.py) or the model's own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from model.images.errors import NotAnImage
from model.images.header import check_size, first_image
from model.signature import STRING, Arrays, Feed, Signature


def check_encoded_images(feed: Feed, max_pixels: int) -> Feed:
    """
    Check the encoded images in *feed*, for a model that decodes images itself; return the feed.

    An animation becomes its first image; strings that are not images stay unchanged.  Raises
    `BadImage`, also for more than *max_pixels* pixels.
    """
    check = np.frompyfunc(lambda data: _checked_image(data, max_pixels), 1, 1)
    arrays = (
        np.asarray(check(each), STRING) if each.dtype == STRING else each for each in feed.arrays
    )
    return Feed(feed.signature, tuple(arrays))


def _checked_image(data: bytes, max_pixels: int) -> bytes:
    try:
        image = check_size(data, max_pixels)
    except NotAnImage:
        return data
    return first_image(data, image.format)


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How an image becomes the feed of a signature with a single input."""

    signature: Signature
    array_of: Callable[[bytes], np.ndarray]
    """
    Return the whole input array of one image file, with the batch axis where there is one.  Called
    on decode threads, any number of calls at once.  Raises only `BadImage` for faulty bytes.
    """
    description: str  #: for the log and the status: the size, the filter, the range
    scores: int = 0  #: the index of the output with a score for each label
    #: Whether the output *scores* is a single number: the score of the second of two labels.
    two_classes: bool = False
    encoded: Signature | None = None
    """
    The signature of requests with encoded images as strings.  It differs from *signature* where the
    model's own decoding is not a part of the run.
    """

    @property
    def requested(self) -> Signature:
        """The signature that requests with images name."""
        return self.encoded or self.signature

    def scores_of(self, arrays: Arrays) -> np.ndarray:
        """Return the scores, [labels], from the outputs *arrays* of a run for one image."""
        scores = arrays[self.scores].reshape(-1)
        return np.concatenate([1 - scores, scores]) if self.two_classes else scores

    def feed(self, data: bytes) -> Feed:
        """Return the feed of the image file *data*; raises `BadImage`."""
        (spec,) = self.signature.inputs
        return self.signature.feed({spec.name: self.array_of(data)})

    def feed_encoded(self, feed: Feed) -> Feed:
        """Return the feed to run in place of *feed*, a feed of *encoded*; raises `BadImage`."""
        strings = feed.arrays[0].reshape(-1)
        return self.feed_all(strings) if len(strings) else feed

    def feed_all(self, files: Iterable[bytes]) -> Feed:
        """
        Return the feed of one or more image *files*, one row for each.

        Raises `BadImage`, and `FeedError` for more files than the signature takes rows.
        """
        feeds = [self.feed(data) for data in files]
        if len(feeds) == 1:
            return feeds[0]
        (spec,) = self.signature.inputs
        rows = np.concatenate([each.arrays[0] for each in feeds])
        return self.signature.feed({spec.name: rows})
