"""
Read what an image file says of itself, before any decoder sees a byte.

Decides whether bytes are an image at all, how large it is, which way up it is held, and which
of its bytes make pixels.  Pure and flat in memory; may not import an imaging library.

Why not leave this to the decoder: Pillow allocates a WebP's canvas before it tells its size,
and spends time on metadata that nobody here asked for.  64 MiB of tiny EXIF segments or of
compressed colour profiles keep it busy for minutes, and a broken tag can fail a good image.
So metadata is read here, as far as it is wanted, and does not travel on.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from struct import error as StructError  # noqa: N812 - the library's name says nothing here
from struct import pack, unpack_from

from model.images.other_files import describe

MAX_PARTS = 65_536  #: chunks, segments or blocks; real files have some thousands at most
MAX_SCANS = 100  #: of one JPEG, each a pass over all its pixels; a progressive one has about 10


class BadImage(ValueError):
    """The client's bytes cannot be turned into pixels; the message says why."""


class NotAnImage(BadImage):
    """The bytes are something else than an image in a format that is read here."""

    def __init__(self, found: str, size: int) -> None:
        super().__init__(f"{found} ({size} bytes) is not a JPEG, PNG, GIF, BMP or WebP image")


class TruncatedImage(BadImage):
    """The image's file ends before its pixels do."""

    def __init__(self, kind: str, size: int) -> None:
        super().__init__(f"the {kind} image is cut short: it ends after {size} bytes")


class TooManyPixels(BadImage):
    """The image, whole as it may be, is larger than this server decodes."""

    def __init__(self, width: int, height: int, limit: int) -> None:
        pixels = width * height
        super().__init__(f"{width} x {height} is {pixels} pixels, over the limit of {limit}")
        self.width = width
        self.height = height
        self.limit = limit


class SideTooLong(TooManyPixels):
    """The image is within the limit of pixels, but absurdly wide or high."""

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(width, height, limit)
        self.args = (f"{width} x {height} has a side over the limit of {limit} pixels",)


class Format(StrEnum):
    """The formats that are read; the values are their names in messages."""

    JPEG = "JPEG"
    PNG = "PNG"
    GIF = "GIF"
    BMP = "BMP"
    WEBP = "WebP"


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """An image's header, and the bytes from which its pixels can be decoded."""

    format: Format
    width: int  #: pixels as stored, before the orientation is applied; at least 1
    height: int
    parts: tuple[bytes | memoryview, ...]  #: joined, a file without metadata
    orientation: int = 1  #: EXIF's, 1 to 8
    sample_bits: int = 8  #: bits a sample takes in the file


_BMP_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})


def image_format(data: bytes) -> Format | None:
    """Return the format whose first bytes *data* has; its first 18 bytes decide."""
    if data.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Format.GIF
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Format.WEBP
    # "BM" alone is too little to go by.
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return Format.BMP
    return None


def read_header(data: bytes) -> ImageHeader:
    """
    Return the header of the image file *data*, copying none of it.

    Raises NotAnImage, TruncatedImage, or BadImage for a header that makes no sense.  A decoder
    may still find the pixels broken.  Any thread.
    """
    kind = image_format(data)
    if kind is None:
        raise NotAnImage(describe(data), len(data))
    if b"\xef\xbf\xbd" in data[:1024] and _is_text(data):
        raise BadImage(f"the {kind} image was read as text (UTF-8): its other bytes are lost")
    try:
        header = _READERS[kind](data)
    except (IndexError, StructError):
        raise TruncatedImage(kind, len(data)) from None
    if header.width < 1 or header.height < 1:
        raise BadImage(f"the {kind} image is {header.width} x {header.height} pixels")
    return header


def first_image(data: bytes, kind: Format) -> bytes:
    """
    Return *data*, which `read_header` has taken, with no image behind the first.

    For decoders that would decode all of an animation, whatever memory that takes.  Raises
    BadImage for a WebP animation, whose first image does not stand alone.
    """
    if kind is Format.WEBP and data[12:16] == b"VP8X" and data[20] & 2:
        raise BadImage("the WebP file is an animation, which this model cannot decode")
    if kind is not Format.GIF:
        return data
    try:
        position = _gif_frame(data) + 9
        # Behind the head of the frame: its colours if it has any, and one byte more.
        position += 2 + _gif_colours(data[position])
        for _ in range(MAX_PARTS):
            length = data[position]
            position += 1 + length
            if length == 0:
                return data[:position] + b";"
    except IndexError:
        raise TruncatedImage(kind, len(data)) from None
    raise _too_many_parts(kind)


def exif_orientation(exif: bytes | memoryview) -> int:
    """
    Return how an image is to be turned, 1 to 8 as EXIF counts; 1 when *exif* does not tell.

    Never raises: cameras and editors write much that is not quite EXIF, and an image is not
    worth less for it.
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


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _too_many_parts(kind: Format) -> BadImage:
    return BadImage(f"the {kind} file is in more than {MAX_PARTS} parts")


#: A JPEG marker among the segments before the pixels: what is none is skipped, as libjpeg does.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
#: The same among pixels, where FF is followed by 00 or a restart.
_JPEG_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
#: Markers without a segment: TEM and the restarts.
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_START, _JPEG_END, _JPEG_SCAN, _JPEG_EXIF = 0xD8, 0xD9, 0xDA, 0xE1
#: All application data and comments but APP0 and APP14, which tell how colours are coded.
_JPEG_METADATA = frozenset({*range(0xE1, 0xF0), 0xFE}) - {0xEE}


#: Bytes of an APP0 and an APP14, marker included, below which they say nothing of the colours.
_MIN_BYTES = {0xE0: 18, 0xEE: 16}


def _read_jpeg(data: bytes) -> ImageHeader:
    """Keep the segments before the pixels that a decoder needs, and no other byte there."""
    view = memoryview(data)
    parts = [view[:2]]
    width = height = 0
    orientation, position = 1, 2
    for _ in range(MAX_PARTS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None:
            raise TruncatedImage(Format.JPEG, len(data))
        start, code = marker.start(), data[marker.start() + 1]
        position = marker.end()
        if code in _JPEG_BARE:
            continue
        if code in {_JPEG_START, _JPEG_END}:
            raise BadImage("the JPEG image begins twice, or ends, before its pixels")
        if code == _JPEG_SCAN:
            # All the rest as it is: Pillow's own reader of metadata stops here.
            parts.append(view[start : _jpeg_end(data, start)])
            return ImageHeader(Format.JPEG, width, height, tuple(parts), orientation)
        position = _behind_segment(data, start)
        if code in _JPEG_FRAMES and not width:
            height, width = unpack_from(">HH", data, start + 5)
        if code not in _JPEG_METADATA and position - start >= _MIN_BYTES.get(code, 0):
            parts.append(view[start:position])
        elif code == _JPEG_EXIF and orientation == 1:
            orientation = exif_orientation(view[start + 4 : position])
    raise _too_many_parts(Format.JPEG)


def _behind_segment(data: bytes, start: int) -> int:
    """Return where the JPEG segment at *start* ends; a length is its own 2 bytes at least."""
    (length,) = unpack_from(">H", data, start + 2)
    return start + 2 + max(2, int(length))


def _jpeg_end(data: bytes, scan: int) -> int:
    """Return where the image whose first scan begins at *scan* ends."""
    position, scans = scan, 0
    for _ in range(MAX_PARTS):
        marker = _JPEG_MARKER_IN_SCAN.search(data, position)
        if marker is None:
            break
        code = data[marker.start() + 1]
        if code == _JPEG_END:
            # A phone may add a second image or a whole film after the end.
            return marker.end()
        scans += code == _JPEG_SCAN
        if scans > MAX_SCANS:
            raise _too_many_scans()
        position = _behind_segment(data, marker.start())
    else:
        raise _too_many_parts(Format.JPEG)
    # A segment behind the pixels that is longer than the file hides an end that decoders can miss.
    if data.rfind(b"\xff\xd9", scan) < 0:
        raise TruncatedImage(Format.JPEG, len(data))
    if data.count(b"\xff\xda", scan) > MAX_SCANS:
        raise _too_many_scans()
    return len(data)


def _too_many_scans() -> BadImage:
    return BadImage(f"the JPEG image has more than {MAX_SCANS} scans")


#: The last chunk of every file.
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def _read_png(data: bytes) -> ImageHeader:
    view, parts = memoryview(data), list[bytes | memoryview]()
    width, height, sample_bits = unpack_from(">IIB", data, 16)
    if data[12:16] != b"IHDR":
        raise BadImage(f"the PNG file begins with {data[12:16]!r} instead of its header")
    orientation, pixels = 1, False
    kept, position = 0, 8
    for _ in range(MAX_PARTS):
        length, kind = unpack_from(">I4s", data, position)
        start, position = position, position + 12 + length
        if position > len(data):
            if not pixels or kind == b"IDAT" or _PNG_END[4:] not in data[start:]:
                raise TruncatedImage(Format.PNG, len(data))
            # Metadata behind the pixels whose length is wrong; all that makes pixels is here.
            parts += [view[kept:start], _PNG_END]
            return ImageHeader(Format.PNG, width, height, tuple(parts), orientation, sample_bits)
        pixels = pixels or kind == b"IDAT"
        if kind == b"IEND":
            parts.append(view[kept:position])
            return ImageHeader(Format.PNG, width, height, tuple(parts), orientation, sample_bits)
        # A small first letter marks what a decoder may skip; of that only tRNS makes pixels.
        if kind[0] & 0x20 and kind != b"tRNS":
            if kind == b"eXIf" and orientation == 1:
                orientation = exif_orientation(view[start + 8 : position - 4])
            parts.append(view[kept:start])
            kept = position
    raise _too_many_parts(Format.PNG)


def _read_gif(data: bytes) -> ImageHeader:
    width, height = unpack_from("<HH", data, 6)
    left, top, frame_width, frame_height = unpack_from("<4H", data, _gif_frame(data) + 1)
    width, height = max(width, left + frame_width), max(height, top + frame_height)
    # The screen is written anew, so that no decoder has to enlarge it for the frame.
    parts = (data[:6], pack("<HH", width, height), memoryview(data)[10:])
    return ImageHeader(Format.GIF, width, height, parts)


def _gif_colours(flags: int) -> int:
    """Return the bytes of the table of colours that stands behind *flags* and what goes with it."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_frame(data: bytes) -> int:
    """Return where the first image begins."""
    position = 13 + _gif_colours(data[10])
    in_extension = False
    for _ in range(MAX_PARTS):
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
    raise _too_many_parts(Format.GIF)


def _read_webp(data: bytes) -> ImageHeader:
    (riff_size,) = unpack_from("<I", data, 4)
    end = 8 + riff_size
    if end > len(data):
        raise TruncatedImage(Format.WEBP, len(data))
    orientation = 1
    match data[12:16]:
        case b"VP8 ":
            width, height = (side & 0x3FFF for side in unpack_from("<HH", data, 26))
        case b"VP8L":
            (bits,) = unpack_from("<I", data, 21)
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
            orientation = _webp_orientation(data, end)
        case other:
            raise BadImage(f"the WebP file begins with an unknown chunk {other!r}")
    return ImageHeader(Format.WEBP, width, height, (data,), orientation)


def _webp_orientation(data: bytes, end: int) -> int:
    position = 12
    for _ in range(MAX_PARTS):
        if position + 8 > end:
            return 1
        kind, size = unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return exif_orientation(memoryview(data)[position + 8 : position + 8 + size])
        position += 8 + size + (size & 1)
    raise _too_many_parts(Format.WEBP)


def _read_bmp(data: bytes) -> ImageHeader:
    (header_size,) = unpack_from("<I", data, 14)
    if header_size == 12:
        width, height = unpack_from("<HH", data, 18)
        return ImageHeader(Format.BMP, width, height, (data,))
    width, height, compression = unpack_from("<II4xI", data, 18)
    if height >= 0xFF000000:  # a negative height: rows from the top downwards
        height = 2**32 - height
    if compression in {1, 2}:
        # Pillow expands runs in a Python loop that holds the interpreter: 5 kB cost 0.4 s.
        raise BadImage("the BMP image is run-length encoded; save it uncompressed, or as PNG")
    return ImageHeader(Format.BMP, width, height, (data,))


_READERS: dict[Format, Callable[[bytes], ImageHeader]] = {
    Format.JPEG: _read_jpeg,
    Format.PNG: _read_png,
    Format.GIF: _read_gif,
    Format.BMP: _read_bmp,
    Format.WEBP: _read_webp,
}
