"""
Decode an image file into the array of pixels that a model takes.

Decides which pixels are cut out, how they are resized, and how they become RGB or grey.
A pure function of bytes, called on the threads of a decode pool; may import Pillow, never Twisted.
"""

from collections.abc import Callable
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
from model.images.errors import BadImage, TruncatedImage
from model.images.first_bytes import ImageFormat
from model.images.header import check_size
from model.images.headers.image_header import ImageHeader
from model.images.preprocessing import Preprocessing, Resample, centre_square


def decode_image(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    max_pixels: int,
    read_jpeg: Callable[[bytes], npt.NDArray[np.uint8]] | None = None,
) -> npt.NDArray[np.uint8]:
    """
    Return the image file *data* as a new, C-contiguous uint8 array [height, width, channels].

    Reads JPEG, PNG, WebP, BMP and GIF; of an animation, only the first image.  The image is turned
    upright by its EXIF orientation, and transparent pixels become white.  Colour profiles and gamma
    are ignored: samples are read as sRGB, as in training pipelines.  For a model of one channel,
    colours become grey by ITU-R 601.  `Resample.TF_BILINEAR` changes some of this, as `Resample`
    states; with that filter, JPEG files are decoded by *read_jpeg*, if given, instead of Pillow.
    *read_jpeg* returns uint8 [height, width, 3].

    Raises only `BadImage`, whatever *data* holds: its subclasses `NotAnImage`, `TruncatedImage` and
    `TooManyPixels`, and `BadImage` itself for other faults.  `TooManyPixels` is raised before a
    pixel is decoded, if the header states more than *max_pixels* pixels or a side over
    `MAX_SIDE_PIXELS`.  Called on a decode thread; any number of calls may run at once.

    Two faults are not detected, since Pillow does not report them: a JPEG that was cut and then
    closed with an end marker, and a PNG whose compressed rows end early.  Their missing pixels are
    grey or black.  A WebP of more than 179 million pixels (twice PIL.Image.MAX_IMAGE_PIXELS) is
    refused whatever *max_pixels* is.
    """
    header = check_size(data, max_pixels)
    try:
        return _decode(header, preprocessing, read_jpeg)
    except BadImage:
        raise
    except Exception as error:  # noqa: BLE001 - no list of what decoders raise on hostile bytes
        refusal = _refusal(error, header.format, len(data))
    # Raised outside the handler: a chained traceback would keep the half-decoded image alive.
    raise refusal


def _refusal(error: Exception, kind: ImageFormat, size: int) -> BadImage:
    # Pillow has no error class for a file that ends early; its messages contain this word.
    if "truncated" in str(error).lower():
        return TruncatedImage(kind, size)
    reason = str(error) or type(error).__name__
    return BadImage(f"the {kind} image ({size} bytes) cannot be decoded: {reason}")


#: Pillow's readers by format, instead of Image.open: no other plugin reads a client's bytes, a JPEG
#: of several images is read as a JPEG, and Pillow's process-wide pixel limit does not apply.
_OPENERS: dict[ImageFormat, Callable[[BytesIO], ImageFile]] = {
    ImageFormat.JPEG: JpegImageFile,
    ImageFormat.PNG: PngImageFile,
    ImageFormat.GIF: GifImageFile,
    ImageFormat.BMP: BmpImageFile,
    ImageFormat.WEBP: WebPImageFile,
}

#: The turn that makes a stored image upright, by EXIF orientation; 5 to 8 swap width and height.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: Orientations in which the first stored column, or row, is the last of the upright image.
_MIRRORED_X, _MIRRORED_Y = frozenset({2, 3, 7, 8}), frozenset({3, 4, 6, 7})


def _decode(
    header: ImageHeader,
    preprocessing: Preprocessing,
    read_jpeg: Callable[[bytes], npt.NDArray[np.uint8]] | None,
) -> npt.NDArray[np.uint8]:
    image = _OPENERS[header.format](BytesIO(b"".join(header.parts)))
    if image.size != (header.width, header.height):
        raise BadImage(
            f"the {header.format} image has two different sizes in its data: "
            f"{header.width} x {header.height} and {image.size[0]} x {image.size[1]} pixels"
        )
    if preprocessing.resample is Resample.TF_BILINEAR:
        pixels = None
        if read_jpeg is not None and header.format is ImageFormat.JPEG:
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
        # Turning the small image and not the stored one saves a quarter of the time of a photo.
        small = small.transpose(_UPRIGHT[header.orientation])
    return _pixels(small, preprocessing.channels)


def _as_tensorflow(
    image: ImageFile,
    header: ImageHeader,
    preprocessing: Preprocessing,
    pixels: npt.NDArray[np.uint8] | None,
) -> npt.NDArray[np.uint8]:
    """
    Return the pixels of *image* as label_image computes them: not turned, without alpha channel.

    *pixels*, if not None, holds the decoded image, uint8 [height, width, 3]; then *image* is not
    decoded.
    """
    region = _region(header, preprocessing.crop, orientation=1)
    if pixels is not None:
        left, top, right, bottom = region
        cropped = pixels[top:bottom, left:right]
        return resize_as_tensorflow(cropped, preprocessing.height, preprocessing.width)
    image.load()
    cut, _ = _cut(image, region, shrunk=1)
    if header.format is ImageFormat.GIF and "transparency" in cut.info:
        # TensorFlow's decoder of GIF makes transparent pixels black.
        black = Image.new("RGB", cut.size)
        black.paste(cut.convert("RGBA"), mask=cut.convert("RGBA"))
        cut = black
    cut.info.pop("transparency", None)
    if cut.mode.startswith("I"):
        cut = _opaque_grey(cut, None, 16)
    pixels = _pixels(cut, preprocessing.channels)
    return resize_as_tensorflow(pixels, preprocessing.height, preprocessing.width)


def _pixels(image: Image.Image, channels: int) -> npt.NDArray[np.uint8]:
    """Return the pixels of *image* as uint8 [height, width, channels]; *channels* is 3 or 1."""
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    return np.array(image) if channels == 3 else np.array(np.asarray(image)[..., np.newaxis])


def _region(header: ImageHeader, crop: float | None, orientation: int) -> tuple[int, int, int, int]:
    """
    Return left, top, right and bottom of the part to cut out, in pixels of the stored image.

    The stored image is not turned yet.  *orientation* is EXIF's, 1 to 8; for each value the part
    shows the same section of the scene.  *crop* is the side of a centred square, as a fraction of
    the shorter side; None selects the whole image.
    """
    if crop is None:
        return 0, 0, header.width, header.height
    left, top, right, bottom = centre_square(header.width, header.height, crop)
    # An odd pixel is dropped at the left and at the top of the upright image.
    if orientation in _MIRRORED_X:
        left, right = header.width - right, header.width - left
    if orientation in _MIRRORED_Y:
        top, bottom = header.height - bottom, header.height - top
    return left, top, right, bottom


def _let_decoder_shrink(
    image: ImageFile, region: tuple[int, int, int, int], size: tuple[int, int]
) -> int:
    """
    Let Pillow decode *image* smaller by a factor of 8, 4 or 2; return the factor, 1 for full size.

    The factor is the largest for which *region*, divided by it, has at least the width and height
    in *size*.  All sizes are in pixels.  Only JPEG images can be decoded smaller.
    """
    left, top, right, bottom = region
    for factor in (8, 4, 2):
        if right - left >= factor * size[0] and bottom - top >= factor * size[1]:
            # Pillow uses the largest factor that keeps at least this size, which is this factor.
            drafted = image.draft(None, (image.width // factor, image.height // factor))
            return factor if drafted else 1  # only the JPEG decoder can shrink
    return 1


def _cut(
    image: Image.Image, region: tuple[int, int, int, int], shrunk: int
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """
    Return the part of *image* with all pixels that *region* touches, and *region* within that part.

    *region* is in pixels of the stored image; *image* was decoded smaller by the factor *shrunk*,
    so *region* may end within a pixel.  The part is cut out, because Pillow's resize with a box
    alone would give pixels outside the box a weight at the border, and the result would differ from
    a crop followed by a resize.
    """
    left, top, right, bottom = (edge / shrunk for edge in region)
    outer = floor(left), floor(top), ceil(right), ceil(bottom)
    if outer != (0, 0, *image.size):
        # Not Pillow's crop method: it warns above a process-wide number of pixels.
        size = outer[2] - outer[0], outer[3] - outer[1]
        image = image.resize(size, Image.Resampling.NEAREST, outer)
    return image, (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1])


def _opaque(image: Image.Image, sample_bits: int) -> Image.Image:
    """
    Return *image* in mode RGB, or in mode L if it is grey; transparent pixels become white.

    White, because images with transparency are made for a white web page, and because the colours
    stored under transparent pixels are arbitrary, mostly black.  *sample_bits* is the number of
    bits of a sample in the file.
    """
    key: int | bytes | tuple[int, ...] | None = image.info.get("transparency")
    if image.mode in {"1", "L", "I", "I;16"}:
        return _opaque_grey(image, key if isinstance(key, int) else None, sample_bits)
    if isinstance(key, tuple) and sample_bits == 16:
        # Pillow keeps the upper byte of such samples, but both bytes of the transparent colour.
        image.info["transparency"] = tuple(sample >> 8 for sample in key)
    if key is not None:
        image = image.convert("RGBA")
    if image.mode in {"LA", "RGBA"}:
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _opaque_grey(image: Image.Image, key: int | None, sample_bits: int) -> Image.Image:
    """
    Return *image*, which is grey, in mode L; pixels of the level *key* become white.

    *key* is None if no level is transparent.  *sample_bits* is the number of bits of a sample in
    the file.
    """
    if image.mode.startswith("I"):
        # Pillow would clip here; the upper byte is what it keeps of 16-bit colours.
        levels = np.asarray(image)
        grey = (levels >> 8).astype(np.uint8)
        if key is not None:
            grey[levels == key] = 255
        return Image.fromarray(grey)
    if key is None:
        return image.convert("L") if image.mode == "1" else image
    if image.mode == "L" and sample_bits < 8:
        # Pillow spreads the levels of 2 and 4 bits over 0 to 255, but not the transparent level.
        key = key * 255 // ((1 << sample_bits) - 1)
    return image.convert("L").point([255 if level == key else level for level in range(256)])
