"""
Read the header of a WebP file.

Pure.
"""

from struct import unpack_from

from model.images.errors import BadImage, TruncatedImage
from model.images.first_bytes import ImageFormat
from model.images.headers.exif import exif_orientation
from model.images.headers.image_header import MAX_FILE_PARTS, ImageHeader, too_many_parts


def read_webp(data: bytes) -> ImageHeader:
    """
    Return the header of the WebP file *data*.

    Raises `BadImage` for an unknown first chunk and for too many chunks, `TruncatedImage` if *data*
    is shorter than it states, and IndexError or `struct.error` if the header is cut short.
    """
    (riff_size,) = unpack_from("<I", data, 4)
    end = 8 + riff_size
    if end > len(data):
        raise TruncatedImage(ImageFormat.WEBP, len(data))
    orientation = 1
    match data[12:16]:
        case b"VP8 ":
            width, height = (side & 0x3FFF for side in unpack_from("<HH", data, 26))
        case b"VP8L":
            (bits,) = unpack_from("<I", data, 21)
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
            orientation = _orientation(data, end)
        case other:
            raise BadImage(f"the WebP file begins with an unknown chunk {other!r}")
    return ImageHeader(ImageFormat.WEBP, width, height, (data,), orientation)


def _orientation(data: bytes, end: int) -> int:
    position = 12
    for _ in range(MAX_FILE_PARTS):
        if position + 8 > end:
            return 1
        kind, size = unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return exif_orientation(memoryview(data)[position + 8 : position + 8 + size])
        position += 8 + size + (size & 1)
    raise too_many_parts(ImageFormat.WEBP)


def is_animation(data: bytes) -> bool:
    """Whether *data*, a WebP file that `read_webp` has accepted, is an animation."""
    return data[12:16] == b"VP8X" and bool(data[20] & 2)
