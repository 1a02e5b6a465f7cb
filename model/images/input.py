"""
Turn image files into the feed of a signature, with the decoder that the model uses.

The decoder is an argument: Pillow's (model/images/decode.py) or the model's own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from model.images.errors import NotAnImage
from model.images.facts import ImageFacts
from model.images.header import check_size, first_image
from model.signature import STRING, Arrays, Feed, Signature


def check_encoded_images(feed: Feed, max_pixels: int) -> Feed:
    """
    Check the encoded images in *feed*, for a model that decodes images itself; return the feed.

    Each string that is an image file is checked.  In the returned feed, an animated GIF is replaced
    by its first image; strings that are not images are unchanged.  Raises `BadImage` for a broken
    image, for an animated WebP, and for more than *max_pixels* pixels.
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
    """How image files become the feed of a signature with a single input."""

    signature: Signature
    array_of: Callable[[bytes], np.ndarray]
    """
    Return the input array for one image file, with the batch axis if the input has one.  Called on
    decode threads, any number of calls at once.  Raises only `BadImage` for faulty bytes.
    """
    description: str  #: for the log and the status: the size, the filter, the range
    scores: int = 0  #: the index of the output with a score for each label
    #: Whether the output *scores* is a single number: the score of the second of two labels.
    two_classes: bool = False
    encoded: Signature | None = None
    """
    The signature of requests with encoded images as strings; None if the model takes no such
    strings.  It differs from *signature* if the model's own decoding is not a part of the run.
    """

    @property
    def requested(self) -> Signature:
        """
        The signature that a JSON request names to send images.

        It is `encoded`, or `signature` if `encoded` is None.
        """
        return self.encoded or self.signature

    def scores_of(self, arrays: Arrays) -> np.ndarray:
        """Return one score for each label, from *arrays*, the outputs of a run for one image."""
        scores = arrays[self.scores].reshape(-1)
        return np.concatenate([1 - scores, scores]) if self.two_classes else scores

    def feed(self, data: bytes) -> Feed:
        """Return the feed of `signature` for the image file *data*; raises `BadImage`."""
        (spec,) = self.signature.inputs
        return self.signature.feed({spec.name: self.array_of(data)})

    def feed_encoded(self, feed: Feed) -> Feed:
        """
        Return the feed of `signature` to run in place of *feed*, which is a feed of `encoded`.

        *feed* holds encoded images as strings; if it holds none, it is returned itself.  Raises
        `BadImage`, and `FeedError` as `feed_all` does.
        """
        strings = feed.arrays[0].reshape(-1)
        return self.feed_all(strings) if len(strings) else feed

    def feed_all(self, files: Iterable[bytes]) -> Feed:
        """
        Return the feed of `signature` for one or more image *files*, with one row for each file.

        Raises `BadImage`, and `FeedError` if there are more files than `signature` accepts rows.
        """
        feeds = [self.feed(data) for data in files]
        if len(feeds) == 1:
            return feeds[0]
        (spec,) = self.signature.inputs
        rows = np.concatenate([each.arrays[0] for each in feeds])
        return self.signature.feed({spec.name: rows})


def requested_signatures(
    run: Sequence[Signature], images: ImageInput | None
) -> tuple[Signature, ...]:
    """
    Return the signatures that requests may name, the default one first.

    These are the signatures of the runner, *run*, and before them that of requests with encoded
    images, if *images* turns these into the feed of another signature.
    """
    if images is None or images.requested in run:
        return tuple(run)
    return (images.requested, *run)


def describe_inputs(signature: Signature) -> str:
    """Return the names, dtypes and shapes of the inputs of *signature* as text."""
    return ", ".join(f"{spec.name!r} is {spec}" for spec in signature.inputs)


def report_images(
    images: ImageInput | None,
    facts: ImageFacts,
    default: Signature,
    on_progress: Callable[[str], object],
) -> None:
    """
    Call *on_progress* with the description of *images*.

    If *images* is None, call it instead with a warning if *facts* state a size or numbers, which
    are for images only; *default* is the signature of requests that name none.
    """
    if images is not None:
        on_progress(f"images: {images.description}")
    elif facts.given_keys:
        on_progress(
            f"warning: {', '.join(facts.given_keys)}: given for images, but "
            f"the model takes none: {describe_inputs(default)}"
        )
