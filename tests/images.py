"""
Image files made in memory, good and hostile.

Pillow writes the good files where it can.  Others are built byte by byte, so that a test knows
every pixel without a decoder.
"""

import zlib
from io import BytesIO
from pathlib import Path
from struct import pack

import numpy as np
import numpy.typing as npt
import skimage
from PIL import Image

Samples = npt.NDArray[np.integer]


def photograph(name: str) -> bytes:
    """Return the file of one of the photographs that come with scikit-image."""
    return (Path(skimage.__file__).parent / "data" / name).read_bytes()


def coloured(width: int, height: int) -> Image.Image:
    """Return an RGB image with no symmetry: red grows rightwards, green downwards."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x // max(1, width - 1), 255 * y // max(1, height - 1)
    blue = (37 * x + 91 * y) % 256
    return Image.fromarray(np.stack([red, green, blue], axis=2).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return *image* as a file, written by Pillow."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int, order: str = "<") -> bytes:
    """Return an EXIF block that holds an orientation and nothing else."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    entry = pack(order + "HHIHxx", 0x0112, 3, 1, orientation)
    return head + pack(order + "IH", 8, 1) + entry + bytes(4)


def jpeg_segment(code: int, content: bytes) -> bytes:
    """Return a JPEG segment, for insertion behind the first two bytes of a file."""
    return pack(">BBH", 0xFF, code, len(content) + 2) + content


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a PNG chunk."""
    return pack(">I", len(content)) + kind + content + pack(">I", zlib.crc32(kind + content))


def png(samples: Samples, bits: int, colour: int, *extra: bytes, interlaced: bool = False) -> bytes:
    """
    Return a PNG of *samples*, [height, width] or [height, width, channels], *bits* each.

    *colour* is the format's number of a colour type; *extra* chunks come before the pixels.
    """
    height, width = samples.shape[:2]
    header = pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    passes = _ADAM7 if interlaced else [(0, 0, 1, 1)]
    rows = b"".join(_rows(samples[y::dy, x::dx], bits) for x, y, dx, dy in passes)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    end = chunk(b"IEND", b"")
    return PNG_MAGIC + chunk(b"IHDR", header) + b"".join(extra) + pixels + end


PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_ADAM7 = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]


def _rows(samples: Samples, bits: int) -> bytes:
    """Return the rows as PNG packs them: high bits first, each row from a new byte, unfiltered."""
    if not samples.size:
        return b""
    flat = samples.reshape(len(samples), -1).astype(">u2")
    spread = np.unpackbits(flat.view(np.uint8).reshape(*flat.shape, 2), axis=2)[:, :, -bits:]
    packed = np.packbits(spread.reshape(len(flat), -1), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in packed)


def claims(kind: str, width: int, height: int) -> bytes:
    """Return a small file whose header claims *width* x *height* pixels."""
    return {
        "PNG": _png_claim,
        "GIF": _gif_claim,
        "BMP": _bmp_claim,
        "JPEG": _jpeg_claim,
        "WebP": _webp_claim,
    }[kind](width, height)


def _png_claim(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(1 << 20), 9)
    return PNG_MAGIC + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _gif_claim(width: int, height: int) -> bytes:
    # The screen is empty, so that only the frame has a size.
    screen = b"GIF89a" + pack("<HHBBB", 0, 0, 0x80, 0, 0) + bytes(6)
    return screen + b"," + pack("<4HB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\0;"


def _bmp_claim(width: int, height: int) -> bytes:
    info = pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + pack("<IHHI", 54 + 1000, 0, 0, 54) + info + bytes(1000)


def _jpeg_claim(width: int, height: int) -> bytes:
    honest = encoded(coloured(16, 16), "JPEG")
    at = honest.index(b"\xff\xc0") + 5
    return honest[:at] + pack(">HH", height, width) + honest[at + 4 :]


def _webp_claim(width: int, height: int) -> bytes:
    frame = encoded(coloured(16, 16), "WEBP")[12:]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + pack("<I", 10) + bytes(4) + canvas + frame
    return b"RIFF" + pack("<I", len(body)) + body
