"""
Identify a file by its first bytes: an image format that the server reads, or another file.

Pure.
"""

from enum import StrEnum


class ImageFormat(StrEnum):
    """The image formats that the server reads; the values are their names in messages."""

    JPEG = "JPEG"
    PNG = "PNG"
    GIF = "GIF"
    BMP = "BMP"
    WEBP = "WebP"


_BMP_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})

#: Images that the server does not read: the offset of the first bytes, the bytes, the name.
_OTHER_IMAGES = (
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (4, b"ftypavi", "an AVIF image"),
    (4, b"ftyphe", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftypmsf1", "a HEIC image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (4, b"JXL ", "a JPEG XL image"),
    (4, b"jP  ", "a JPEG 2000 image"),
)

#: The bytes after "PNG" if line ends were converted; the format has them to detect that.
_CHANGED_ENDS = (b"\x1a", b"\n", b"\r\r")

#: Other files that clients send by mistake, in the same columns.
_OTHER_FILES = (
    (0, b"%PDF-", "a PDF document"),
    (4, b"ftyp", "a video"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip-compressed data"),
    # EF BF BD replaces bytes that are not UTF-8; the others are Latin-1 that was written as UTF-8.
    (0, b"\xef\xbf\xbd" * 3, "a JPEG image that was read as text (UTF-8)"),
    (0, b"\xc3\xbf\xc3\x98\xc3\xbf", "a JPEG image that was read as text (Latin-1)"),
    (0, b"\xef\xbf\xbdPNG", "a PNG image that was read as text (UTF-8)"),
    (0, b"\xc2\x89PNG", "a PNG image that was read as text (Latin-1)"),
    (0, b"\xe2\x80\xb0PNG", "a PNG image that was read as text (Windows-1252)"),
    *((0, b"\x89PNG" + end, "a PNG image whose line ends were changed") for end in _CHANGED_ENDS),
)

#: Texts that clients send by mistake, in lower case and without leading white space.
_OTHER_TEXTS = (
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"{", "a JSON text"),
    (b"[", "a JSON text"),
    (b"data:", "a data URL"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file that `git lfs pull` gets,"),
    (b"/9j/", "an image in base64"),
    (b"ivborw0kggo", "an image in base64"),
    (b"r0lgod", "an image in base64"),
    (b"uklgr", "an image in base64"),
)


def image_format(data: bytes) -> ImageFormat | None:
    """Return the format of *data* by its first 18 bytes; None if the server does not read it."""
    if data.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageFormat.PNG
    if data.startswith((b"GIF87a", b"GIF89a")):
        return ImageFormat.GIF
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    # A text may begin with "BM", too: the size of the header decides.
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return ImageFormat.BMP
    return None


def is_unread_image(data: bytes) -> bool:
    """Whether *data* is an image in a format that the server does not read, such as TIFF."""
    return any(data.startswith(magic, offset) for offset, magic, _ in _OTHER_IMAGES)


def describe(data: bytes) -> str:
    """
    Return what *data* is in a few words, such as "a PDF document", by its first bytes.

    Call this only if `image_format` returns None for *data*.
    """
    if not data:
        return "nothing at all"
    for offset, magic, name in _OTHER_IMAGES + _OTHER_FILES:
        if data.startswith(magic, offset):
            return name
    text = data[:64].lstrip().lower()
    for opening, name in _OTHER_TEXTS:
        if text.startswith(opening):
            return name
    return f"data that begins with {data[:8].hex(' ')}"
