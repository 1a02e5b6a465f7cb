"""
Read the header of a BMP file.

Pure.
"""

from struct import unpack_from

from model.images.errors import BadImage
from model.images.first_bytes import ImageFormat
from model.images.headers.image_header import ImageHeader


def read_bmp(data: bytes) -> ImageHeader:
    """
    Return the header of the BMP file *data*.

    Raises `BadImage` for run-length encoding, and `struct.error` if the header is cut short.
    """
    (header_size,) = unpack_from("<I", data, 14)
    if header_size == 12:
        width, height = unpack_from("<HH", data, 18)
        return ImageHeader(ImageFormat.BMP, width, height, (data,))
    width, height, compression = unpack_from("<II4xI", data, 18)
    if height >= 0xFF000000:  # a negative height: the rows run from the top downwards
        height = 2**32 - height
    if compression in {1, 2}:
        # Pillow expands runs in a Python loop that holds the interpreter lock: 5 kB take 0.4 s.
        raise BadImage("the BMP image is run-length encoded; save it uncompressed, or as PNG")
    return ImageHeader(ImageFormat.BMP, width, height, (data,))
