"""
Read the header of a PNG file, and drop its metadata.

Pure.
"""

from struct import unpack_from

from model.images.errors import BadImage, TruncatedImage
from model.images.first_bytes import ImageFormat
from model.images.headers.exif import exif_orientation
from model.images.headers.image_header import MAX_FILE_PARTS, ImageHeader, too_many_parts

#: The last chunk of every file, IEND.
_LAST_CHUNK = b"\0\0\0\0IEND\xaeB`\x82"


def read_png(data: bytes) -> ImageHeader:
    """
    Return the header of the PNG file *data*.

    The parts in the header are the chunks that a decoder needs.  Raises `BadImage` if the first
    chunk is not IHDR or there are too many chunks, `TruncatedImage` if pixels are missing, and
    IndexError or `struct.error` if the file ends within the head of a chunk.
    """
    view, parts = memoryview(data), list[bytes | memoryview]()
    width, height, sample_bits = unpack_from(">IIB", data, 16)
    if data[12:16] != b"IHDR":
        raise BadImage(f"the PNG file begins with {data[12:16]!r} instead of its header")
    orientation, pixels = 1, False
    kept, position = 0, 8
    for _ in range(MAX_FILE_PARTS):
        length, kind = unpack_from(">I4s", data, position)
        start, position = position, position + 12 + length
        if position > len(data):
            if not pixels or kind == b"IDAT" or _LAST_CHUNK[4:] not in data[start:]:
                raise TruncatedImage(ImageFormat.PNG, len(data))
            # The length of metadata behind the pixels is wrong; the chunks of pixels are complete.
            parts += [view[kept:start], _LAST_CHUNK]
            return ImageHeader(
                ImageFormat.PNG, width, height, tuple(parts), orientation, sample_bits
            )
        pixels = pixels or kind == b"IDAT"
        if kind == b"IEND":
            parts.append(view[kept:position])
            return ImageHeader(
                ImageFormat.PNG, width, height, tuple(parts), orientation, sample_bits
            )
        # A decoder may skip a chunk that begins in lower case; of these only tRNS changes pixels.
        if kind[0] & 0x20 and kind != b"tRNS":
            if kind == b"eXIf" and orientation == 1:
                orientation = exif_orientation(view[start + 8 : position - 4])
            parts.append(view[kept:start])
            kept = position
    raise too_many_parts(ImageFormat.PNG)
