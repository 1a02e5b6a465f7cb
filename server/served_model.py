"""
A model that is ready to run: how images and tensors become its feeds, and its outputs labels.

The one place for what an answer needs to know of a model; the dialects in server/api use it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batcher.batcher import Batcher
from batcher.errors import QueueFull
from model.errors import ModelError
from model.execution.queues import FeedQueue, Queues
from model.execution.recorder import Recorder
from model.images.input import ImageInput, check_encoded_images
from model.repository.labels import top_k
from model.signature import STRING, Arrays, Feed, FeedError, Signature
from server.call import Outputs


@dataclass(frozen=True, slots=True)
class ServedModel:
    """
    A model that is ready to run, with the data that answers to tensors and images need.

    Its methods are the one place where images and tensors become feeds, and outputs become labels.
    """

    name: str
    version: str
    device: str  #: a description for users
    signatures: Mapping[str, Signature]
    default: str  #: name of the signature for requests that name no signature
    image_input: ImageInput | None  #: None if the model takes no images
    samples: Mapping[str, Feed]  #: by signature name: one row that the model has run, if any
    labels: tuple[str, ...]  #: empty for a model without labels
    top: int  #: count of labels in the answer to a request that does not set ``k``
    #: The most pixels of an encoded image in a tensor of strings; None if the model decodes no
    #: images.
    max_pixels: int | None
    queues: Queues
    batcher: Batcher[Feed, Arrays]
    recorder: Recorder  #: observes the batcher

    @property
    def full_name(self) -> str:
        """The text ``NAME/VERSION``, which clients see."""
        return f"{self.name}/{self.version}"

    @property
    def default_queue(self) -> FeedQueue:
        """The queue that images use; that of the default signature if the model takes no images."""
        image_input = self.image_input
        name = self.default if image_input is None else image_input.signature.name
        return self.queues.known[name]

    def cap(self, signature: str) -> int:
        """
        Return the cap of *signature*, in rows, as it was at the start.

        Failed runs may have lowered the cap since.
        """
        return self.queues.cap(self._run_as(signature))

    @property
    def reads_images(self) -> bool:
        """Whether a string in a tensor may be an image, which is decoded or checked."""
        return self.image_input is not None or self.max_pixels is not None

    def signature_of(self, name: str | None) -> Signature:
        """Return the signature *name*, None: the default one; raises `FeedError`."""
        signature = self.signatures.get(self.default if name is None else name)
        if signature is None:
            known = ", ".join(self.signatures)
            raise FeedError(f"unknown signature {str(name)[:80]!r}: the model has {known}")
        return signature

    def prepare_image(self, data: bytes) -> Feed:
        """
        Return the feed of the image file *data*; called on a decode thread.

        Raises `BadImage` if it cannot be decoded, and `ModelError` if the model takes no images.
        """
        return self._images().feed(data)

    def prepare_images(
        self, texts: Sequence[bytes], read: Callable[[bytes], bytes] = bytes
    ) -> Feed:
        """
        Return the feed of several images, a row each; called on a decode thread.

        *read* returns the image file in one of *texts*, or raises `BadImage`.  Raises the errors of
        `prepare_image`, `FeedError` for more images than rows are accepted, and `QueueFull` for
        more than the queue can ever hold.
        """
        image_input = self._images()
        self.check_images_fit(len(texts))
        return image_input.feed_all(map(read, texts))

    def check_images_fit(self, count: int) -> None:
        """
        Raise `QueueFull` if *count* images, a row each, are more than the queue can ever hold.

        Called before decoding, since pixels take far more memory than files.
        """
        limit = self.default_queue.max_queued_rows
        if count > limit:
            raise QueueFull(count, 0, limit)

    def takes_images_for(self, signature: Signature) -> bool:
        """
        Whether images, decoded to pixels, can take the place of the input of *signature*.

        That is: it has one input, whose dtype is not strings, and its outputs are equal to
        those of the signature that images use.
        """
        return (
            self.image_input is not None
            and len(signature.inputs) == 1
            and signature.inputs[0].dtype != STRING
            and signature.outputs == self.image_input.signature.outputs
        )

    def takes_files_for(self, signature: Signature) -> bool:
        """
        Whether image files can be given for the only input of *signature*.

        They are the strings that it takes, or their pixels take the place of it.
        """
        image_input = self.image_input
        return self.takes_images_for(signature) or (
            image_input is not None
            and signature == image_input.requested
            and signature.inputs[0].dtype == STRING
        )

    def prepare_tensors(self, signature: Signature, arrays: Mapping[str, np.ndarray]) -> Feed:
        """
        Return the feed of *arrays* by the names of the inputs of *signature*, one of the model's.

        Encoded images among the strings are decoded as the model requires it, or their size is
        checked; called on a decode thread if `reads_images`.  Raises `FeedError` if the arrays do
        not fit, and the errors of `prepare_images`.
        """
        feed = signature.feed(arrays)
        image_input = self.image_input
        if image_input is not None and signature == image_input.encoded:
            self.check_images_fit(feed.rows)
            return image_input.feed_encoded(feed)
        return feed if self.max_pixels is None else check_encoded_images(feed, self.max_pixels)

    def finish_image(self, outputs: Outputs, k: int) -> list[tuple[str, np.floating]]:
        """
        Return the *k* best labels in the *outputs* of one image, each with its score; best first.

        The model must have labels.  Called on any thread.
        """
        return top_k(self._images().scores_of(outputs.arrays), self.labels, k)

    def _images(self) -> ImageInput:
        if self.image_input is None:
            raise ModelError(f"{self.full_name} takes no images")
        return self.image_input

    def _run_as(self, signature: str) -> str:
        """Return the name of the signature that runs when a request names *signature*."""
        image_input = self.image_input
        if image_input is not None and image_input.requested.name == signature:
            return image_input.signature.name
        return signature
