"""
Read the header of a JPEG file, and drop the metadata before its pixels.

Pure.
"""

import re
from struct import unpack_from

from model.images.errors import BadImage, TruncatedImage
from model.images.first_bytes import ImageFormat
from model.images.headers.exif import exif_orientation
from model.images.headers.image_header import MAX_FILE_PARTS, ImageHeader, too_many_parts

#: Largest number of scans; each is a pass over all pixels.  Progressive images have about 10.
MAX_JPEG_SCANS = 100

#: A marker among the segments before the pixels; bytes between segments are skipped, as by libjpeg.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
#: A marker among the pixels, where FF 00 and the restarts are a part of them.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
#: Markers without a segment: TEM and the restarts.
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START, _END, _SCAN, _EXIF = 0xD8, 0xD9, 0xDA, 0xE1
#: All application data and comments but APP0 and APP14, which state how colours are coded.
_METADATA = frozenset({*range(0xE1, 0xF0), 0xFE}) - {0xEE}
#: Bytes of an APP0 and an APP14, marker included, below which they state no coding of colours.
_MIN_SEGMENT_BYTES = {0xE0: 18, 0xEE: 16}


def read_jpeg(data: bytes) -> ImageHeader:
    """
    Return the header of the JPEG file *data*.

    `ImageHeader.parts` holds what a decoder needs: its segments without metadata, and all pixels.
    Raises `BadImage` for markers in a wrong order and for too many scans or segments; if the file
    is cut short, `TruncatedImage`, IndexError or `struct.error`.
    """
    view = memoryview(data)
    parts = [view[:2]]
    width = height = 0
    orientation, position = 1, 2
    for _ in range(MAX_FILE_PARTS):
        marker = _MARKER.search(data, position)
        if marker is None:
            raise TruncatedImage(ImageFormat.JPEG, len(data))
        start, code = marker.start(), data[marker.start() + 1]
        position = marker.end()
        if code in _BARE_MARKERS:
            continue
        if code in {_START, _END}:
            raise BadImage(
                "the JPEG image has a second start marker, or its end marker, before the pixels"
            )
        if code == _SCAN:
            # The rest is kept unchanged: Pillow's own reader of metadata stops here.
            parts.append(view[start : _image_end(data, start)])
            return ImageHeader(ImageFormat.JPEG, width, height, tuple(parts), orientation)
        position = _segment_end(data, start)
        if code in _FRAMES and not width:
            height, width = unpack_from(">HH", data, start + 5)
        if code not in _METADATA and position - start >= _MIN_SEGMENT_BYTES.get(code, 0):
            parts.append(view[start:position])
        elif code == _EXIF and orientation == 1:
            orientation = exif_orientation(view[start + 4 : position])
    raise too_many_parts(ImageFormat.JPEG)


def _segment_end(data: bytes, start: int) -> int:
    """
    Return the position behind the segment whose marker is at *start*.

    The length in a segment counts its own 2 bytes, but not the 2 bytes of the marker.
    """
    (length,) = unpack_from(">H", data, start + 2)
    return start + 2 + max(2, int(length))


def _image_end(data: bytes, scan: int) -> int:
    """
    Return the position behind the image whose first scan begins at the position *scan*.

    Raises `TruncatedImage` if no end marker follows, and `BadImage` for too many scans or segments.
    """
    position, scans = scan, 0
    for _ in range(MAX_FILE_PARTS):
        marker = _MARKER_IN_SCAN.search(data, position)
        if marker is None:
            break
        code = data[marker.start() + 1]
        if code == _END:
            # A phone may add a second image or a video after the end.
            return marker.end()
        scans += code == _SCAN
        if scans > MAX_JPEG_SCANS:
            raise _too_many_scans()
        position = _segment_end(data, marker.start())
    else:
        raise too_many_parts(ImageFormat.JPEG)
    # A segment behind the pixels, whose length goes beyond the file, hides the end marker; decoders
    # do not need to find that marker, but it has to be in the file.
    if data.rfind(b"\xff\xd9", scan) < 0:
        raise TruncatedImage(ImageFormat.JPEG, len(data))
    if data.count(b"\xff\xda", scan) > MAX_JPEG_SCANS:
        raise _too_many_scans()
    return len(data)


def _too_many_scans() -> BadImage:
    return BadImage(f"the JPEG image has more than {MAX_JPEG_SCANS} scans")
