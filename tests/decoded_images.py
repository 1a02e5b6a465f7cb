"""Images as tests have them decoded."""

import numpy as np
import numpy.typing as npt

from model.images.decode import decode_image
from model.images.preprocessing import Preprocessing, Resample

Pixels = npt.NDArray[np.uint8]
AS_IT_IS = Preprocessing(height=24, width=40)
MODEL = Preprocessing(height=224, width=224, crop=0.875, resample=Resample.BICUBIC)


def decode(data: bytes, wanted: Preprocessing = AS_IT_IS, max_pixels: int = 1_000_000) -> Pixels:
    """Return the array that decode_image makes of *data*."""
    return decode_image(data, wanted, max_pixels=max_pixels)


def whole(height: int, width: int) -> Preprocessing:
    """Return a preprocessing that does not change an image of this size."""
    return Preprocessing(height=height, width=width)


#: The turn with which an image is stored, by the EXIF orientation that makes it upright again.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
