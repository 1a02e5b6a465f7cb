"""
Name what clients send by mistake instead of an image.

Pure.
"""

#: What a conversion of line ends makes of those in a PNG's first bytes, which detect just this.
_CHANGED_ENDS = (b"\x1a", b"\n", b"\r\r")

#: What clients send by mistake: where its first bytes stand, what they are, what it is.
_OTHER_FILES = (
    (0, b"%PDF-", "a PDF document"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (4, b"ftypavi", "an AVIF image"),
    (4, b"ftyphe", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftypmsf1", "a HEIC image"),
    (4, b"ftyp", "a video"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (4, b"JXL ", "a JPEG XL image"),
    (4, b"jP  ", "a JPEG 2000 image"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip-compressed data"),
    # EF BF BD stands for what is no UTF-8; the others are Latin-1 that was written as UTF-8.
    (0, b"\xef\xbf\xbd" * 3, "a JPEG image that was read as text (UTF-8)"),
    (0, b"\xc3\xbf\xc3\x98\xc3\xbf", "a JPEG image that was read as text (Latin-1)"),
    (0, b"\xef\xbf\xbdPNG", "a PNG image that was read as text (UTF-8)"),
    (0, b"\xc2\x89PNG", "a PNG image that was read as text (Latin-1)"),
    (0, b"\xe2\x80\xb0PNG", "a PNG image that was read as text (Windows-1252)"),
    *((0, b"\x89PNG" + end, "a PNG image whose line ends were changed") for end in _CHANGED_ENDS),
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
    (b"/9j/", "an image in base64"),
    (b"ivborw0kggo", "an image in base64"),
    (b"r0lgod", "an image in base64"),
    (b"uklgr", "an image in base64"),
)


def describe(data: bytes) -> str:
    """Return what *data* is in a few words, by its first bytes."""
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
