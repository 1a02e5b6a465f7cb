"""Images with whole pixels and broken metadata: this server reads what Pillow reads."""

import random
from io import BytesIO
from struct import pack

import numpy as np
import pytest
from PIL import Image

from model.images.decode import decode_image
from model.images.errors import BadImage, TruncatedImage
from model.images.header import read_header
from model.images.headers.jpeg import MAX_JPEG_SCANS
from model.images.preprocessing import Preprocessing
from tests.images import chunk, coloured, encoded, exif, jpeg_segment

PHOTO = coloured(40, 24)
JPEG = encoded(PHOTO, "JPEG")
PROGRESSIVE = encoded(PHOTO, "JPEG", progressive=True)
PNG = encoded(PHOTO, "PNG")

IRB = b"Photoshop 3.0\0" + b"8BIM\x04\x04" + bytes(50)
APP13 = jpeg_segment(0xED, IRB)
PREVIEW = encoded(coloured(8, 8), "JPEG")


def pixels_by_pillow(data: bytes) -> np.ndarray | None:
    """Return the pixels of *data* by Pillow alone; None where Pillow refuses the file."""
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None


def pixels_by_us(data: bytes, height: int = 24, width: int = 40) -> np.ndarray | None:
    """Return the pixels of *data* by the server; None for `BadImage`, the only error."""
    try:
        return decode_image(data, Preprocessing(height, width), max_pixels=10**8)
    except BadImage:
        return None


def behind_start(content: bytes) -> bytes:
    """Return the JPEG with *content* as its first segments."""
    return JPEG[:2] + content + JPEG[2:]


def with_length(segment: bytes, length: int) -> bytes:
    """Return a JPEG segment with the wrong *length*."""
    return segment[:2] + pack(">H", length) + segment[4:]


READ = {
    "APP13 longer than it states": behind_start(APP13 + b"8BIM and more text"),
    "the same with stuffed FF": behind_start(APP13 + b"8BIM\xff\x00\xff\x00\x04"),
    "one byte longer": behind_start(APP13 + b"\x04\x06"),
    "APP13 shorter than it states, within the next": behind_start(
        with_length(APP13, len(APP13) + 6) + jpeg_segment(0xFE, b"a comment")
    ),
    "a length of 0": behind_start(b"\xff\xed\0\0"),
    "a length of 1": behind_start(b"\xff\xe1\0\1"),
    "a length of 2": behind_start(b"\xff\xe1\0\2"),
    "a comment of length 0 with content": behind_start(b"\xff\xfe\0\0hello"),
    "fill bytes": behind_start(b"\xff\xff\xff" + APP13 + b"\xff\xff"),
    "FF at the end of garbage": behind_start(APP13 + b"\x04\xff" + jpeg_segment(0xE1, b"x")),
    "an XMP that is cut": behind_start(jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x")),
    "EXIF that points outside": behind_start(jpeg_segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f")),
    "a profile in pieces that are missing": behind_start(
        jpeg_segment(0xE2, b"ICC_PROFILE\0\3\7" + bytes(9))
    ),
    "a preview in a segment of the right length": behind_start(jpeg_segment(0xE1, PREVIEW)),
    "garbage before the tables": JPEG[:20] + b"\0\1\2garbage" + JPEG[20:],
    "a longer segment behind the pixels": JPEG[:-2] + b"\xff\xe1\x80\x04" + JPEG[-2:],
    "garbage behind the pixels": JPEG[:-2] + b"garbage" + JPEG[-2:],
    "metadata between scans": PROGRESSIVE.replace(
        b"\xff\xda", jpeg_segment(0xFE, b"\xff\xd9") + b"\xff\xda"
    ),
    "another file behind the end": JPEG + PREVIEW + b"film",
    "PNG: a text with a wrong checksum": PNG[:33] + chunk(b"tEXt", b"a\0b")[:-1] + b"?" + PNG[33:],
    "PNG: a text behind the pixels that is too long": (
        PNG[:-12] + pack(">I", 9999) + chunk(b"tEXt", b"a\0b")[4:] + PNG[-12:]
    ),
    "PNG: a text behind the pixels that is too short": (
        PNG[:-12] + pack(">I", 1) + chunk(b"tEXt", b"a\0bcdefghijkl")[4:] + PNG[-12:]
    ),
    "APP0 that is too short": behind_start(jpeg_segment(0xE0, b"JFIF")),
    "APP14 that is too short": behind_start(jpeg_segment(0xEE, b"Adobe")),
    "PNG: broken EXIF": PNG[:33] + chunk(b"eXIf", exif(6)[:9]) + PNG[33:],
}


@pytest.mark.parametrize("data", READ.values(), ids=READ.keys())
def test_broken_metadata_changes_no_pixel(data: bytes) -> None:
    """The pixels are those of the file with whole metadata."""
    whole = PNG if data.startswith(b"\x89") else PROGRESSIVE if b"\xff\xc2" in data else JPEG
    ours = pixels_by_us(data)
    assert ours is not None
    np.testing.assert_array_equal(ours, pixels_by_pillow(whole))


REFUSED = {
    "a segment over the whole file": behind_start(with_length(APP13, 0xFFFF)),
    "a preview behind a segment that is too short": behind_start(APP13 + PREVIEW),
    "the start twice": JPEG[:2] + JPEG,
    "the end before the pixels": behind_start(b"\xff\xd9"),
    "no length": JPEG[:2] + b"\xff\xed",
    "an unknown marker": behind_start(b"\xff\x03\0\4ab"),
    "PNG: a text before the pixels that is too long": (
        PNG[:33] + pack(">I", 9999) + chunk(b"tEXt", b"a\0b")[4:] + PNG[33:]
    ),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_no_decoder_reads_is_refused(data: bytes) -> None:
    """With a `BadImage`, as Pillow refuses it."""
    assert pixels_by_pillow(data) is None
    assert pixels_by_us(data) is None


@pytest.mark.parametrize("tail", [b"", b"\0" * 400, b"junk" * 100])
def test_a_jpeg_without_an_end_is_cut_short_with_any_bytes_behind(tail: bytes) -> None:
    """Pillow decodes some of these, and the missing part of a download would be grey."""
    with pytest.raises(TruncatedImage):
        read_header(JPEG[:-2] + tail)


def test_scans_are_counted_also_where_lengths_are_wrong() -> None:
    """A decoder may find scans behind a segment that is longer than the file."""
    scans = b"\xff\xda\0\2" * MAX_JPEG_SCANS
    with pytest.raises(BadImage, match="more than 100 scans"):
        read_header(JPEG[:-2] + b"\xff\xe1\xff\xff" + scans + JPEG[-2:])


def mutated(draw: random.Random, data: bytes, header: int) -> bytes:
    """Return *data* with up to three changes to the first bytes, *header* of them."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(2, header)
        match draw.randrange(4):
            case 0:
                changed[at] = draw.randrange(256)
            case 1:
                likely = (0, 0xFF, 0xD0, 0xD8, 0xD9, 0xE1, 0xED, 0xFE, draw.randrange(256))
                changed[at:at] = bytes(draw.choices(likely, k=draw.randint(1, 6)))
            case 2:
                del changed[at : at + draw.randint(1, 4)]
            case _:
                changed[at] = draw.choice((0, 1, 0xFF))
    return bytes(changed)


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (behind_start(APP13 + jpeg_segment(0xE1, b"some" + bytes(30))), 260),
        (PROGRESSIVE, len(PROGRESSIVE) - 20),
    ],
    ids=["header", "progressive"],
)
def test_files_that_pillow_reads_have_the_same_pixels(data: bytes, header: int) -> None:
    """Some hundreds of headers with random damage, the same in each run."""
    draw = random.Random(7)  # noqa: S311 - the same numbers in each run
    read = 0
    for _ in range(400):
        broken = mutated(draw, data, header)
        theirs = pixels_by_pillow(broken)
        if theirs is None:
            pixels_by_us(broken)
            continue
        read += 1
        np.testing.assert_array_equal(pixels_by_us(broken, *theirs.shape[:2]), theirs)
    assert read > 50
