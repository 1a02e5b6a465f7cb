"""
Read what a picture file says of itself, before any decoder sees a byte.

Decides whether bytes are a picture at all, how large it is, which way up it is held, and which
of its bytes make pixels.  Pure and flat in memory; may not import an imaging library.

Why not leave this to the decoder: Pillow allocates a WebP's canvas before it tells its size,
and spends time on metadata that nobody here asked for.  64 MiB of tiny EXIF segments or of
compressed colour profiles keep it busy for minutes, and a broken tag can fail a good picture.
So metadata is read here, as far as it is wanted, and does not travel on.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from struct import error as StructError  # noqa: N812 - the library's name says nothing here
from struct import pack, unpack_from

MAX_PARTS = 65_536  #: chunks, segments or blocks; real files have some thousands at most
MAX_SCANS = 100  #: of one JPEG, each a pass over all its pixels; a progressive one has about 10


class BadImage(ValueError):
    """The client's bytes cannot be turned into pixels; the message says why."""


class NotAnImage(BadImage):
    """The bytes are something else than a picture in a format that is read here."""

    def __init__(self, found: str, size: int) -> None:
        super().__init__(f"{found} ({size} bytes) is not a JPEG, PNG, GIF, BMP or WebP picture")


class TruncatedImage(BadImage):
    """The picture's file ends before its pixels do."""

    def __init__(self, kind: str, size: int) -> None:
        super().__init__(f"the {kind} picture is cut short: it ends after {size} bytes")


class TooManyPixels(BadImage):
    """The picture, whole as it may be, is larger than this server decodes."""

    def __init__(self, width: int, height: int, limit: int) -> None:
        pixels = width * height
        super().__init__(f"{width} x {height} is {pixels} pixels, over the limit of {limit}")
        self.width = width
        self.height = height
        self.limit = limit


class SideTooLong(TooManyPixels):
    """The picture is within the limit of pixels, but absurdly wide or high."""

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
class Picture:
    """A picture's header, and the bytes from which its pixels can be decoded."""

    format: Format
    width: int  #: pixels as stored, before the orientation is applied; at least 1
    height: int
    parts: tuple[bytes | memoryview, ...]  #: joined, a file without metadata
    orientation: int = 1  #: EXIF's, 1 to 8
    sample_bits: int = 8  #: bits a sample takes in the file


def read_picture(data: bytes) -> Picture:
    """
    Return the header of the picture file *data*, copying none of it.

    Raises NotAnImage, TruncatedImage, or BadImage for a header that makes no sense.  A decoder
    may still find the pixels broken.  Any thread.
    """
    kind = _sniff(data)
    if kind is None:
        raise NotAnImage(_describe(data), len(data))
    try:
        picture = _READERS[kind](data)
    except (IndexError, StructError):
        raise TruncatedImage(kind, len(data)) from None
    if picture.width < 1 or picture.height < 1:
        raise BadImage(f"the {kind} picture is {picture.width} x {picture.height} pixels")
    return picture


def first_picture(data: bytes, kind: Format) -> bytes:
    """
    Return *data*, which `read_picture` has taken, with no picture behind the first.

    For decoders that would decode all of an animation, whatever memory that takes.  Raises
    BadImage for a WebP animation, whose first picture does not stand alone.
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
    Return how a picture is to be turned, 1 to 8 as EXIF counts; 1 when *exif* does not tell.

    Never raises: cameras and editors write much that is not quite EXIF, and a picture is not
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


_BMP_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})


def _sniff(data: bytes) -> Format | None:
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


#: What clients send by mistake: where its first bytes stand, what they are, what it is.
_OTHER_FILES = (
    (0, b"%PDF-", "a PDF document"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (4, b"ftypavi", "an AVIF picture"),
    (4, b"ftyphe", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIC picture"),
    (4, b"ftypmsf1", "a HEIC picture"),
    (4, b"ftyp", "a video"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip-compressed data"),
)
#: The same for text, after leading white space and in lower case.
_OTHER_TEXTS = (
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"{", "a JSON text"),
    (b"[", "a JSON text"),
    (b"data:", "a data URL"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file that `git lfs pull` gets,"),
    (b"/9j/", "a picture in base64"),
    (b"ivborw0kggo", "a picture in base64"),
    (b"r0lgod", "a picture in base64"),
    (b"uklgr", "a picture in base64"),
)


def _describe(data: bytes) -> str:
    if not data:
        return "nothing at all"
    for offset, magic, name in _OTHER_FILES:
        if data.startswith(magic, offset):
            return name
    text = data[:64].lstrip().lower()
    for opening, name in _OTHER_TEXTS:
        if text.startswith(opening):
            return name
    return f"data that begins with {data[:8].hex(' ')}"


def _too_many_parts(kind: Format) -> BadImage:
    return BadImage(f"the {kind} file is in more than {MAX_PARTS} parts")


#: A JPEG marker with a segment, or the end.  In pixel data FF is followed by 00 or a restart.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_END, _JPEG_EXIF = 0xDA, 0xD9, 0xE1
#: All application data and comments but APP0 and APP14, which tell how colours are coded.
_JPEG_METADATA = frozenset({*range(0xE1, 0xF0), 0xFE}) - {0xEE}


def _read_jpeg(data: bytes) -> Picture:
    view, parts = memoryview(data), list[memoryview]()
    width = height = scans = kept = position = 0
    orientation = 1
    for _ in range(MAX_PARTS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None:
            raise TruncatedImage(Format.JPEG, len(data))
        start, code = marker.start(), data[marker.start() + 1]
        if code == _JPEG_END:
            # A phone may add a second picture or a whole film after the end.
            parts.append(view[kept : start + 2])
            return Picture(Format.JPEG, width, height, tuple(parts), orientation)
        (length,) = unpack_from(">H", data, start + 2)
        position = start + 2 + length
        if code in _JPEG_FRAMES and not width:
            height, width = unpack_from(">HH", data, start + 5)
        elif code in _JPEG_METADATA:
            if code == _JPEG_EXIF and orientation == 1:
                orientation = exif_orientation(view[start + 4 : position])
            parts.append(view[kept:start])
            kept = position
        elif code == _JPEG_SCAN:
            scans += 1
            if scans > MAX_SCANS:
                raise BadImage(f"the JPEG picture has more than {MAX_SCANS} scans")
    raise _too_many_parts(Format.JPEG)


def _read_png(data: bytes) -> Picture:
    view, parts = memoryview(data), list[memoryview]()
    width, height, sample_bits = unpack_from(">IIB", data, 16)
    if data[12:16] != b"IHDR":
        raise BadImage(f"the PNG file begins with {data[12:16]!r} instead of its header")
    orientation = 1
    kept, position = 0, 8
    for _ in range(MAX_PARTS):
        length, kind = unpack_from(">I4s", data, position)
        start, position = position, position + 12 + length
        if position > len(data):
            raise TruncatedImage(Format.PNG, len(data))
        if kind == b"IEND":
            parts.append(view[kept:position])
            return Picture(Format.PNG, width, height, tuple(parts), orientation, sample_bits)
        # A small first letter marks what a decoder may skip; of that only tRNS makes pixels.
        if kind[0] & 0x20 and kind != b"tRNS":
            if kind == b"eXIf" and orientation == 1:
                orientation = exif_orientation(view[start + 8 : position - 4])
            parts.append(view[kept:start])
            kept = position
    raise _too_many_parts(Format.PNG)


def _read_gif(data: bytes) -> Picture:
    width, height = unpack_from("<HH", data, 6)
    left, top, frame_width, frame_height = unpack_from("<4H", data, _gif_frame(data) + 1)
    width, height = max(width, left + frame_width), max(height, top + frame_height)
    # The screen is written anew, so that no decoder has to enlarge it for the frame.
    parts = (data[:6], pack("<HH", width, height), memoryview(data)[10:])
    return Picture(Format.GIF, width, height, parts)


def _gif_colours(flags: int) -> int:
    """Return the bytes of the table of colours that stands behind *flags* and what goes with it."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_frame(data: bytes) -> int:
    """Return where the first picture begins."""
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
            raise BadImage("the GIF file holds no picture")
        else:
            position += 1
    raise _too_many_parts(Format.GIF)


def _read_webp(data: bytes) -> Picture:
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
    return Picture(Format.WEBP, width, height, (data,), orientation)


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


def _read_bmp(data: bytes) -> Picture:
    (header_size,) = unpack_from("<I", data, 14)
    if header_size == 12:
        width, height = unpack_from("<HH", data, 18)
        return Picture(Format.BMP, width, height, (data,))
    width, height, compression = unpack_from("<II4xI", data, 18)
    if height >= 0xFF000000:  # a negative height: rows from the top downwards
        height = 2**32 - height
    if compression in {1, 2}:
        # Pillow expands runs in a Python loop that holds the interpreter: 5 kB cost 0.4 s.
        raise BadImage("the BMP picture is run-length encoded; save it uncompressed, or as PNG")
    return Picture(Format.BMP, width, height, (data,))


_READERS: dict[Format, Callable[[bytes], Picture]] = {
    Format.JPEG: _read_jpeg,
    Format.PNG: _read_png,
    Format.GIF: _read_gif,
    Format.BMP: _read_bmp,
    Format.WEBP: _read_webp,
}
