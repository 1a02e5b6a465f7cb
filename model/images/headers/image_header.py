"""Define the header of an image file, in the same form for every format."""

from dataclasses import dataclass

from model.images.errors import BadImage
from model.images.first_bytes import ImageFormat

#: Largest number of chunks, segments or blocks of a file; real files have thousands at most.
MAX_FILE_PARTS = 65_536


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of an image, and the bytes from which its pixels can be decoded."""

    format: ImageFormat
    width: int  #: pixels as stored, before the orientation is applied; at least 1
    height: int
    parts: tuple[bytes | memoryview, ...]  #: when joined, the file without its metadata
    orientation: int = 1  #: EXIF's, 1 to 8
    sample_bits: int = 8  #: bits of a sample in the file


def too_many_parts(kind: ImageFormat) -> BadImage:
    """Return the error for a file of more than `MAX_FILE_PARTS` parts."""
    return BadImage(f"the {kind} file has more than {MAX_FILE_PARTS} parts")
