"""
Make the feed of a body in the native dialect: an image, or JSON tensors.

The functions run on decode threads; for a small JSON body without images, on the reactor thread.
"""

from collections.abc import Callable

from model.images.errors import BadImage, TooManyPixels
from model.signature import Feed
from server.api import json_tensors
from server.api.image_body import from_text, image_file, texts_in
from server.served_model import ServedModel

#: Advice for a client whose image may have been changed by curl.
CURL_HINT = (
    "curl -d drops line ends and zero bytes: send the image with --data-binary @photo.jpg, "
    "or with -F data=@photo.jpg"
)


def image_feed(model: ServedModel, data: bytes) -> Feed:
    """
    Return the feed of the image in *data*, which is an image file or holds one as base64.

    Raises `BadImage` if *data* has no image that can be decoded.
    """
    return model.prepare_image(image_file(data))


def with_curl_hint(prepare: Callable[[], Feed]) -> Feed:
    """
    Return the feed that *prepare* returns.

    If it raises a `BadImage` that is no `TooManyPixels`, advice for users of ``curl -d`` is added.
    """
    try:
        return prepare()
    except TooManyPixels:
        raise
    except BadImage as error:
        raise BadImage(f"{error}; {CURL_HINT}") from error


def tensor_feed(model: ServedModel, body: bytes) -> Feed:
    """
    Return the feed in *body*, a JSON request to *model*.

    Raises `FeedError` if the body is no valid request to *model*, `BadImage` if an image in it
    cannot be decoded, and `QueueFull` for more images than the queue can ever hold.
    """
    name, inputs = json_tensors.parse_request(body)
    signature = model.signature_of(name)
    if model.takes_images_for(signature):
        texts = texts_in(inputs, signature.inputs[0].name)
        if texts:
            return model.prepare_images(texts, from_text)
    return model.prepare_tensors(signature, json_tensors.arrays_of(signature, inputs))
