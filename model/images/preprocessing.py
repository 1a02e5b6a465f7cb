"""
State how an image file becomes a model's pixels: the size, the crop, the filter, the channels.

Pure data; imports no imaging library.
"""

from dataclasses import dataclass
from enum import StrEnum


class Resample(StrEnum):
    """
    The filter of a resize.

    When an image becomes smaller, every filter but NEAREST and TF_BILINEAR averages pixels.
    TF_BILINEAR gives the same pixels as label_image, an example program of TensorFlow: it
    interpolates and decodes as TensorFlow does.  This decoding ignores an EXIF orientation and uses
    the colours under transparent pixels.
    """

    NEAREST = "nearest"
    BOX = "box"
    BILINEAR = "bilinear"
    HAMMING = "hamming"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"
    TF_BILINEAR = "tf_bilinear"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """
    How an image file becomes an array of pixels.

    Raises ValueError for sizes below 1 and for a crop outside (0, 1].
    """

    height: int  #: pixels
    width: int
    crop: float | None = None
    """
    The side of the centred square that is cut out, as a fraction of the shorter side.  With None
    the whole image is resized, whatever its proportions, as by label_image.
    """
    resample: Resample = Resample.BILINEAR
    scaled_decode: bool = False
    """
    Whether the JPEG decoder may shrink by 2, 4 or 8, if the part that is cut out still has at least
    *height* x *width* pixels.  A large photograph takes a fraction of the time; pixels differ a
    little.
    """
    channels: int = 3  #: 3 for red, green and blue; 1 for grey

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a size of {self.width} x {self.height} holds no pixel")
        if self.crop is not None and not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}, but a fraction over 0 and up to 1 is needed")


def centre_square(width: int, height: int, fraction: float) -> tuple[int, int, int, int]:
    """
    Return left, top, right and bottom of the centred square to cut from an image, in pixels.

    *width* and *height* are those of the image.  The side of the square is *fraction* of the
    shorter side, rounded down but at least 1.  If the square cannot be exactly in the centre, it is
    half a pixel to the right of it, or below it, as in EfficientNet's own preprocessing.
    """
    side = max(1, int(min(width, height) * fraction))
    left, top = (width - side + 1) // 2, (height - side + 1) // 2
    return left, top, left + side, top + side
