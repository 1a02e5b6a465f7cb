"""
Turn a client's image file into the array that a model takes.

Decides what is cut out, how it is resized, and how every kind of pixel becomes RGB.  A pure
function of bytes, called on the threads of a decode pool; may import Pillow, never Twisted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from math import ceil, floor

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from model.images.bilinear import resize_as_tensorflow
from model.images.header import (
    BadImage,
    Format,
    ImageHeader,
    NotAnImage,
    SideTooLong,
    TooManyPixels,
    TruncatedImage,
    read_header,
)

__all__ = [
    "MAX_SIDE",
    "BadImage",
    "NotAnImage",
    "Preprocessing",
    "Resample",
    "SideTooLong",
    "TooManyPixels",
    "TruncatedImage",
    "centre_square",
    "check_size",
    "decode_image",
]

#: As far as GIF goes, and JPEG.  Resampling takes some 32 bytes of weights for each pixel of a
#: side: 50 million pixels in a single row would take 1.6 GB.
MAX_SIDE = 65_535


class Resample(StrEnum):
    """
    How pixels are weighed when an image is resized.

    All but NEAREST and TF_BILINEAR average when they shrink.  TF_BILINEAR makes label_image's
    pixels: TensorFlow's own interpolation, and its own reading of files: an EXIF orientation is
    ignored, and the colours under transparent pixels count.
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
    What a model wants of an image: its size, the cut, the filter and the channels.

    Three channels are R, G, B; one is grey.

    Raises ValueError for sizes below 1 and for a crop outside (0, 1].
    """

    height: int  #: pixels
    width: int
    crop: float | None = None
    """
    The side of the centred square that is cut out, as a fraction of the shorter side.  With None
    the whole image is squeezed into the size, as label_image does it.
    """
    resample: Resample = Resample.BILINEAR
    scaled_decode: bool = False
    """
    Let the JPEG decoder shrink by 2, 4 or 8 where what is cut out stays at least as large as the
    size.  Large photographs take a fraction of the time, and their pixels differ a little.
    """
    channels: int = 3  #: 3 or 1

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a size of {self.width} x {self.height} holds no pixel")
        if self.crop is not None and not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}, but a fraction over 0 and up to 1 is needed")


def centre_square(width: int, height: int, fraction: float) -> tuple[int, int, int, int]:
    """
    Return left, top, right and bottom of the square to cut from an image, in pixels.

    Its side is *fraction* of the shorter side, rounded down but at least 1; an odd pixel left
    over stays out at the left and at the top, as in EfficientNet's own preprocessing.
    """
    side = max(1, int(min(width, height) * fraction))
    left, top = (width - side + 1) // 2, (height - side + 1) // 2
    return left, top, left + side, top + side


def check_size(data: bytes, max_pixels: int) -> ImageHeader:
    """
    Return what the image file *data* says of itself; no pixel is decoded.

    Raises BadImage, or of it TooManyPixels where there are more than *max_pixels* and SideTooLong.
    """
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise TooManyPixels(header.width, header.height, max_pixels)
    if max(header.width, header.height) > MAX_SIDE:
        raise SideTooLong(header.width, header.height, MAX_SIDE)
    return header


def decode_image(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    max_pixels: int,
    read_jpeg: Callable[[bytes], npt.NDArray[np.uint8]] | None = None,
) -> npt.NDArray[np.uint8]:
    """
    Return the image file *data* as uint8 [height, width, channels]: C-contiguous, the caller's own.

    Reads JPEG, PNG, WebP, BMP and GIF; of an animation the first image.  The image is turned
    upright as its EXIF orientation says and put on white where it is transparent.  Colour
    profiles and gamma are ignored: samples are taken for sRGB, as training pipelines do.  Grey is
    what ITU-R 601 makes of colours.  For TF_BILINEAR, *read_jpeg* decodes JPEG files as uint8
    [height, width, 3] in Pillow's place.

    Raises BadImage, and nothing else, whatever *data* holds: NotAnImage, TruncatedImage,
    TooManyPixels when it is over *max_pixels* or has a side over MAX_SIDE (from the header,
    before any pixel is decoded), and BadImage itself for what is broken otherwise.  Called on a
    decode thread; any number of calls may run at once.

    Not seen, since Pillow does not tell: a JPEG that was cut and then closed with a proper end,
    or a PNG whose compressed rows end early, has grey or black where pixels are missing.  WebP
    over twice PIL.Image.MAX_IMAGE_PIXELS, 179 million, is refused whatever *max_pixels* is.
    """
    header = check_size(data, max_pixels)
    try:
        return _decode(header, preprocessing, read_jpeg)
    except BadImage:
        raise
    except Exception as error:  # noqa: BLE001 - no list says what decoders raise on hostile bytes
        refusal = _refusal(error, header.format, len(data))
    # Raised outside the handler: a chained traceback would keep the half-decoded image alive.
    raise refusal


def _refusal(error: Exception, kind: Format, size: int) -> BadImage:
    # Pillow has no error class for a file that ends early, only this word.
    if "truncated" in str(error).lower():
        return TruncatedImage(kind, size)
    reason = str(error) or type(error).__name__
    return BadImage(f"the {kind} image ({size} bytes) cannot be decoded: {reason}")


#: Pillow's readers by name, not Image.open: no other plugin ever sees a client's bytes, JPEGs of
#: several images stay JPEGs, and Pillow's process-wide pixel limit and its warning stay out.
_OPENERS: dict[Format, Callable[[BytesIO], ImageFile]] = {
    Format.JPEG: JpegImageFile,
    Format.PNG: PngImageFile,
    Format.GIF: GifImageFile,
    Format.BMP: BmpImageFile,
    Format.WEBP: WebPImageFile,
}

#: What makes a stored image upright, by EXIF orientation; from 5 on width and height change.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: Orientations whose first stored column, or row, is the last of its axis when upright.
_MIRRORED_X, _MIRRORED_Y = frozenset({2, 3, 7, 8}), frozenset({3, 4, 6, 7})


def _decode(
    header: ImageHeader,
    preprocessing: Preprocessing,
    read_jpeg: Callable[[bytes], npt.NDArray[np.uint8]] | None,
) -> npt.NDArray[np.uint8]:
    image = _OPENERS[header.format](BytesIO(b"".join(header.parts)))
    if image.size != (header.width, header.height):
        raise BadImage(
            f"the {header.format} image says two sizes: {header.width} x {header.height} "
            f"and {image.size[0]} x {image.size[1]} pixels"
        )
    if preprocessing.resample is Resample.TF_BILINEAR:
        pixels = None
        if read_jpeg is not None and header.format is Format.JPEG:
            pixels = read_jpeg(b"".join(header.parts))
        return _as_tensorflow(image, header, preprocessing, pixels)
    size = preprocessing.width, preprocessing.height
    if header.orientation >= 5:
        size = size[1], size[0]
    region = _region(header, preprocessing.crop, header.orientation)
    shrunk = _let_decoder_shrink(image, region, size) if preprocessing.scaled_decode else 1
    image.load()
    cut, box = _cut(image, region, shrunk)
    resample = Image.Resampling[preprocessing.resample.name]
    small = _opaque(cut, header.sample_bits).resize(size, resample, box)
    if header.orientation in _UPRIGHT:
        # The small image is turned, not the stored one: a quarter of a photo's time is saved.
        small = small.transpose(_UPRIGHT[header.orientation])
    return _pixels(small, preprocessing.channels)


def _as_tensorflow(
    image: ImageFile,
    header: ImageHeader,
    preprocessing: Preprocessing,
    pixels: npt.NDArray[np.uint8] | None,
) -> npt.NDArray[np.uint8]:
    """
    Return the pixels that label_image makes of *image*: as it is stored, without its alpha.

    Where its *pixels* are known, [height, width, 3], it is not decoded.
    """
    region = _region(header, preprocessing.crop, orientation=1)
    if pixels is not None:
        left, top, right, bottom = region
        cropped = pixels[top:bottom, left:right]
        return resize_as_tensorflow(cropped, preprocessing.height, preprocessing.width)
    image.load()
    cut, _ = _cut(image, region, shrunk=1)
    if header.format is Format.GIF and "transparency" in cut.info:
        # Its decoder there leaves transparent pixels black.
        black = Image.new("RGB", cut.size)
        black.paste(cut.convert("RGBA"), mask=cut.convert("RGBA"))
        cut = black
    cut.info.pop("transparency", None)
    if cut.mode.startswith("I"):
        cut = _opaque_grey(cut, None, 16)
    pixels = _pixels(cut, preprocessing.channels)
    return resize_as_tensorflow(pixels, preprocessing.height, preprocessing.width)


def _pixels(image: Image.Image, channels: int) -> npt.NDArray[np.uint8]:
    """Return *image*, [height, width, channels], with 3 channels or 1."""
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    return np.array(image) if channels == 3 else np.array(np.asarray(image)[..., np.newaxis])


def _region(header: ImageHeader, crop: float | None, orientation: int) -> tuple[int, int, int, int]:
    """Return what to cut out of *image* as it is stored: the same whichever way that is."""
    if crop is None:
        return 0, 0, header.width, header.height
    left, top, right, bottom = centre_square(header.width, header.height, crop)
    # An odd pixel stays out at the left and at the top of the upright image.
    if orientation in _MIRRORED_X:
        left, right = header.width - right, header.width - left
    if orientation in _MIRRORED_Y:
        top, bottom = header.height - bottom, header.height - top
    return left, top, right, bottom


def _let_decoder_shrink(
    image: ImageFile, region: tuple[int, int, int, int], size: tuple[int, int]
) -> int:
    """Have *image* decoded smaller, if it can be with *region* at least *size*; tell how much."""
    left, top, right, bottom = region
    for factor in (8, 4, 2):
        if right - left >= factor * size[0] and bottom - top >= factor * size[1]:
            # Pillow takes the largest factor that leaves this size, which is this one.
            drafted = image.draft(None, (image.width // factor, image.height // factor))
            return factor if drafted else 1  # only a JPEG's decoder can
    return 1


def _cut(
    image: Image.Image, region: tuple[int, int, int, int], shrunk: int
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """
    Return a copy of the pixels of *image* that *region* touches, and where in them it lies.

    Cut before resizing, not with resize's own box alone: there the pixels outside still weigh on
    the border, and the array would not be the one that a crop and a resize give.  Of an image that
    is *shrunk* the region may end within a pixel.
    """
    left, top, right, bottom = (edge / shrunk for edge in region)
    outer = floor(left), floor(top), ceil(right), ceil(bottom)
    if outer != (0, 0, *image.size):
        # A plain cut inside Pillow.  Its crop method warns at a process-wide number of pixels.
        size = outer[2] - outer[0], outer[3] - outer[1]
        image = image.resize(size, Image.Resampling.NEAREST, outer)
    return image, (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1])


def _opaque(image: Image.Image, sample_bits: int) -> Image.Image:
    """
    Return *image* in mode RGB, or L where it is grey, with white where it is transparent.

    White, because cut-out images are made to be seen on a page, and because the colours stored
    under transparent pixels are arbitrary, mostly black.
    """
    key: int | bytes | tuple[int, ...] | None = image.info.get("transparency")
    if image.mode in {"1", "L", "I", "I;16"}:
        return _opaque_grey(image, key if isinstance(key, int) else None, sample_bits)
    if isinstance(key, tuple) and sample_bits == 16:
        # Pillow keeps the upper byte of such samples, but all of the colour to compare with.
        image.info["transparency"] = tuple(sample >> 8 for sample in key)
    if key is not None:
        image = image.convert("RGBA")
    if image.mode in {"LA", "RGBA"}:
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _opaque_grey(image: Image.Image, key: int | None, sample_bits: int) -> Image.Image:
    """Return a grey *image* in mode L, with white for the transparent level *key*."""
    if image.mode.startswith("I"):
        # By hand, since Pillow clips here: the upper byte, as it does for 16-bit colours.
        levels = np.asarray(image)
        grey = (levels >> 8).astype(np.uint8)
        if key is not None:
            grey[levels == key] = 255
        return Image.fromarray(grey)
    if key is None:
        return image.convert("L") if image.mode == "1" else image
    if image.mode == "L" and sample_bits < 8:
        # Pillow spreads the levels of 2 and 4 bits over 0 to 255, but not the transparent one.
        key = key * 255 // ((1 << sample_bits) - 1)
    return image.convert("L").point([255 if level == key else level for level in range(256)])
