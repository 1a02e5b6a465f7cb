"""
Read the header of an image file before a decoder sees the file.

Decides whether a file is an image and which of its bytes a decoder gets; reads its size and its
orientation.  Pure, copies no pixels; may not import an imaging library.

The decoder does not do this, because Pillow allocates a WebP's canvas before it reports the size,
and spends time on metadata that no model uses: 64 MiB of tiny EXIF segments or of compressed colour
profiles keep it busy for minutes, and one broken tag can make a good image fail.  So the
orientation is read here, and a JPEG or PNG goes to the decoder without its metadata.
"""

from collections.abc import Callable
from struct import error as StructError  # noqa: N812 - "error" alone does not name the library

from model.images.errors import BadImage, NotAnImage, SideTooLong, TooManyPixels, TruncatedImage
from model.images.first_bytes import ImageFormat, describe, image_format
from model.images.headers.bmp import read_bmp
from model.images.headers.gif import first_gif_image, read_gif
from model.images.headers.image_header import ImageHeader
from model.images.headers.jpeg import read_jpeg
from model.images.headers.png import read_png
from model.images.headers.webp import is_animation, read_webp

#: Pixels of the longer side: the limit of the formats GIF and JPEG.  Resampling takes some 32
#: bytes of weights for each pixel of a side: 50 million pixels in a single row would take 1.6 GB.
MAX_SIDE_PIXELS = 65_535

_READERS: dict[ImageFormat, Callable[[bytes], ImageHeader]] = {
    ImageFormat.JPEG: read_jpeg,
    ImageFormat.PNG: read_png,
    ImageFormat.GIF: read_gif,
    ImageFormat.BMP: read_bmp,
    ImageFormat.WEBP: read_webp,
}


def check_size(data: bytes, max_pixels: int) -> ImageHeader:
    """
    Return the header of the image file *data* if its size is allowed; no pixel is decoded.

    Raises `TooManyPixels` for more than *max_pixels* pixels, `SideTooLong` for a side over
    `MAX_SIDE_PIXELS`, and the errors of `read_header`.
    """
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise TooManyPixels(header.width, header.height, max_pixels)
    if max(header.width, header.height) > MAX_SIDE_PIXELS:
        raise SideTooLong(header.width, header.height, MAX_SIDE_PIXELS)
    return header


def read_header(data: bytes) -> ImageHeader:
    """
    Return the header of the image file *data*, without a copy of its pixels.

    Raises `NotAnImage` if *data* is no image that the server reads, `TruncatedImage` if the file is
    cut short, and `BadImage` if the header contradicts the format or the file has too many parts.
    Does not check the pixels, which may be broken.  Called on any thread.
    """
    kind = image_format(data)
    if kind is None:
        raise NotAnImage(describe(data), len(data))
    if b"\xef\xbf\xbd" in data[:1024] and _is_text(data):
        raise BadImage(f"the {kind} image was read as text (UTF-8), so some bytes were destroyed")
    try:
        header = _READERS[kind](data)
    except (IndexError, StructError):
        raise TruncatedImage(kind, len(data)) from None
    if header.width < 1 or header.height < 1:
        raise BadImage(f"the {kind} image is {header.width} x {header.height} pixels")
    return header


def first_image(data: bytes, kind: ImageFormat) -> bytes:
    """
    Return the image file *data*, cut after its first image if it is a GIF.

    *kind* is the format of *data*, which `read_header` has accepted.  Use the result for decoders
    that decode all images of an animation, with no limit on memory.  Raises `BadImage` for a WebP
    animation, whose first image cannot be cut out.
    """
    if kind is ImageFormat.WEBP and is_animation(data):
        raise BadImage("the WebP file is an animation, which this model cannot decode")
    if kind is not ImageFormat.GIF:
        return data
    try:
        return first_gif_image(data)
    except IndexError:
        raise TruncatedImage(kind, len(data)) from None


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
