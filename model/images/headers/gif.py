"""
Read the header of a GIF file, and cut off the images behind the first.

Pure.
"""

from struct import pack, unpack_from

from model.images.errors import BadImage
from model.images.first_bytes import ImageFormat
from model.images.headers.image_header import MAX_FILE_PARTS, ImageHeader, too_many_parts


def read_gif(data: bytes) -> ImageHeader:
    """
    Return the header of the GIF file *data*.

    Its width and height are those of the screen, enlarged if the first image does not fit.  Raises
    `BadImage` if the file holds no image or too many blocks, and IndexError or `struct.error` if it
    is cut short.
    """
    width, height = unpack_from("<HH", data, 6)
    left, top, frame_width, frame_height = unpack_from("<4H", data, _first_frame(data) + 1)
    width, height = max(width, left + frame_width), max(height, top + frame_height)
    # With the enlarged screen in the header, no decoder has to enlarge it for the frame.
    parts = (data[:6], pack("<HH", width, height), memoryview(data)[10:])
    return ImageHeader(ImageFormat.GIF, width, height, parts)


def first_gif_image(data: bytes) -> bytes:
    """
    Return the GIF file *data*, which `read_gif` has accepted, cut after its first image.

    Raises `BadImage` if the first image has too many blocks, and IndexError if it is cut short.
    """
    position = _first_frame(data) + 9
    # Behind the head of the frame come its table of colours, if any, and one byte more.
    position += 2 + _colour_table_bytes(data[position])
    for _ in range(MAX_FILE_PARTS):
        length = data[position]
        position += 1 + length
        if length == 0:
            return data[:position] + b";"
    raise too_many_parts(ImageFormat.GIF)


def _colour_table_bytes(flags: int) -> int:
    """
    Return the size in bytes of a colour table; 0 if there is none.

    *flags* is the byte of flags of the screen or of the frame that the table belongs to.
    """
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _first_frame(data: bytes) -> int:
    """Return the position of the first image: that of its separator, the byte 0x2C."""
    position = 13 + _colour_table_bytes(data[10])
    in_extension = False
    for _ in range(MAX_FILE_PARTS):
        lead = data[position]
        if in_extension:
            position += 1 + lead
            in_extension = lead != 0
        elif lead == 0x21:
            position += 2
            in_extension = True
        elif lead == 0x2C:
            return position
        elif lead == 0x3B:
            raise BadImage("the GIF file holds no image")
        else:
            position += 1
    raise too_many_parts(ImageFormat.GIF)
