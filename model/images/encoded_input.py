"""
Turn image files into an input of encoded images: the model gets the file, and decodes it.
"""

from collections.abc import Callable

import numpy as np

from model.images.header import check_size, first_image
from model.images.input import ImageInput
from model.signature import STRING, Signature


def takes_encoded_image(signature: Signature) -> bool:
    """Whether *signature* has one input, with one string per row, which may be an encoded image."""
    if len(signature.inputs) != 1:
        return False
    (spec,) = signature.inputs
    return spec.dtype == STRING and spec.shape in ((), (None,), (1,), (None, 1))


def encoded_image_input(
    signature: Signature,
    max_pixels: int,
    decode: Callable[[bytes], np.ndarray] | None = None,
) -> ImageInput:
    """
    Return the image input for *signature*, which takes encoded images.

    If *decode* is given, *signature* takes instead the arrays that it returns for encoded images.
    The image input raises `BadImage` for data that is no image, or has more than *max_pixels*
    pixels.  Of an animation only the first image is kept.
    """
    rank = len(signature.inputs[0].shape or ())

    def array_of(data: bytes) -> np.ndarray:
        data = first_image(data, check_size(data, max_pixels).format)
        if decode is not None:
            return decode(data)
        # An object array first: numpy's own strings lose trailing zero bytes.
        return np.array(data, STRING).reshape((1,) * rank)

    encoded = signature if decode is None else None
    return ImageInput(signature, array_of, "decoded by the model itself", encoded=encoded)
