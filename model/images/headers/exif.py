"""
Read the orientation of an image from its EXIF block.

Pure.
"""

from struct import error as StructError  # noqa: N812 - "error" alone does not name the library
from struct import unpack_from


def exif_orientation(exif: bytes | memoryview) -> int:
    """
    Return the orientation that the EXIF block *exif* states, 1 to 8; 1 if it states none.

    Never raises: cameras and editors write blocks that break the standard, but the image itself is
    good.
    """
    tiff = bytes(exif).removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (offset,) = unpack_from(order + "I", tiff, 4)
        (entries,) = unpack_from(order + "H", tiff, offset)
        for entry in range(offset + 2, offset + 2 + 12 * entries, 12):
            tag, value_type = unpack_from(order + "HH", tiff, entry)
            if tag == 0x0112:
                (value,) = unpack_from(order + ("I" if value_type == 4 else "H"), tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
    except StructError:
        pass  # the directory points outside its own segment
    return 1
