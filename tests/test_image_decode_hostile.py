"""Hostile and broken files, and the cost of refusing them: model/images/decode.py."""

import struct
import tracemalloc
import warnings
import zlib
from io import BytesIO
from random import Random
from struct import pack

import numpy as np
import pytest
from PIL import Image, ImageFile

from model.images import decode as preprocess
from model.images.errors import BadImage, NotAnImage, SideTooLong, TooManyPixels, TruncatedImage
from model.images.first_bytes import ImageFormat
from model.images.header import MAX_SIDE_PIXELS
from model.images.preprocessing import Preprocessing
from tests.decoded_images import decode
from tests.images import (
    PNG_MAGIC,
    chunk,
    claims,
    coloured,
    encoded,
    exif,
    jpeg_segment,
    png,
)

KINDS = ["JPEG", "PNG", "GIF", "BMP", "WebP"]
PHOTO = coloured(40, 24)
# --- cost of hostile files


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_refused_from_its_header(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """50,000 x 50,000 pixels: no decoder runs, and no memory is allocated."""
    bomb = claims(kind, 50_000, 50_000)
    monkeypatch.setattr(preprocess, "_OPENERS", {})
    tracemalloc.start()
    try:
        with pytest.raises(TooManyPixels, match="50000 x 50000 is 2500000000 pixels") as caught:
            decode(bomb, max_pixels=50_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 16
    refusal = caught.value
    assert (refusal.width, refusal.height, refusal.limit) == (50_000, 50_000, 50_000_000)


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_of_pixels_is_the_last_number_that_passes(kind: str) -> None:
    """An image of 40 x 24 has 960 pixels."""
    data = encoded(PHOTO, kind)
    assert decode(data, max_pixels=960).shape == (24, 40, 3)
    with pytest.raises(TooManyPixels, match="960 pixels, over the limit of 959"):
        decode(data, max_pixels=959)


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_a_side_over_the_limit_is_refused(kind: str) -> None:
    """The pixels are within their limit, but the weights of the resize would take gigabytes."""
    with pytest.raises(SideTooLong, match="1 x 65536 has a side over the limit of 65535"):
        decode(claims(kind, 1, MAX_SIDE_PIXELS + 1))


def test_metadata_costs_an_image_nothing() -> None:
    """Text and profile bombs, broken EXIF and several images in one file change no pixel."""
    expected = np.asarray(PHOTO)
    bomb = b"x\0\0" + zlib.compress(bytes(1 << 22), 9)
    chunks = [
        chunk(b"zTXt", bomb),
        chunk(b"iCCP", bomb),
        chunk(b"eXIf", b"junk"),
        chunk(b"gAMA", b""),
    ]
    np.testing.assert_array_equal(decode(png(expected, 8, 2, *chunks)), expected)
    plain = encoded(PHOTO, "JPEG")
    segments = [
        jpeg_segment(0xE1, b"Exif\0\0" + b"II*\0" + pack("<IH", 8, 65_535)),
        jpeg_segment(0xE2, b"MPF\0" + b"II*\0" + pack("<IH", 8, 65_535) + bytes(99)),
        jpeg_segment(0xED, b"Photoshop 3.0\0" + b"8BIM" * 9),
    ]
    data = plain[:2] + b"".join(segments) + plain[2:] + plain
    np.testing.assert_array_equal(decode(data), decode(plain))


def test_the_settings_of_pillow_do_not_change() -> None:
    """They belong to the whole process, and other code may rely on them."""
    decode(encoded(PHOTO, "PNG"))
    assert Image.MAX_IMAGE_PIXELS == 89_478_485
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


# --- broken files


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in KINDS),
        ("JPEG", {"progressive": True}),
        ("WebP", {"lossless": True}),
    ],
)
def test_an_image_cut_short_is_an_error(kind: str, options: dict[str, bool], part: float) -> None:
    """Not an image that is grey at the end."""
    data = encoded(coloured(200, 150), kind, **options)
    size = int(len(data) * part)
    with pytest.raises(TruncatedImage, match=f"the {kind} image is cut short.* {size} bytes"):
        decode(data[:size], Preprocessing(150, 200))


def test_a_file_that_is_not_an_image_is_refused() -> None:
    """Before a decoder gets the file."""
    with pytest.raises(NotAnImage, match="an HTML page"):
        decode(b"<html></html>")


def test_two_sizes_in_one_file_are_refused() -> None:
    """Otherwise the limit would be checked for one size, and the other decoded."""
    data = encoded(PHOTO, "PNG")
    header = chunk(b"IHDR", pack(">IIBBBBB", 400, 240, 8, 2, 0, 0, 0))
    with pytest.raises(
        BadImage, match="has two different sizes in its data: 40 x 24 and 400 x 240 pixels"
    ):
        decode(data[:33] + header + data[33:])


@pytest.mark.parametrize(
    "error",
    [
        OSError(-2),
        SyntaxError("x"),
        ValueError("x"),
        struct.error("x"),
        OverflowError("x"),
        IndexError("x"),
        KeyError("x"),
        EOFError(),
        MemoryError(),
        zlib.error("x"),
        Image.DecompressionBombError("x"),
        AttributeError("x"),
        UserWarning("x"),
        RecursionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_of_a_decoder_becomes_a_bad_image(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, and without the traceback, which would keep the image in memory."""

    def broken(_: BytesIO) -> ImageFile.ImageFile:
        raise error

    monkeypatch.setitem(preprocess._OPENERS, ImageFormat.PNG, broken)
    with pytest.raises(BadImage) as caught:
        decode(encoded(PHOTO, "PNG"))
    assert "the PNG image (" in str(caught.value)
    assert str(caught.value).endswith(str(error) or type(error).__name__)
    assert caught.value.__context__ is None


# --- hostile bytes

SMALL = coloured(20, 12)
FUZZED = {
    "JPEG": encoded(SMALL, "JPEG", exif=exif(6)),
    "progressive JPEG": encoded(SMALL, "JPEG", progressive=True),
    "CMYK JPEG": encoded(SMALL.convert("CMYK"), "JPEG"),
    "PNG": png(np.asarray(SMALL), 8, 2, chunk(b"eXIf", exif(5)), chunk(b"tRNS", bytes(6))),
    "palette PNG": encoded(SMALL.quantize(16), "PNG", transparency=bytes(range(16))),
    "grey PNG": png(
        np.asarray(SMALL.convert("L")).astype(int) * 257,
        16,
        0,
        chunk(b"tRNS", bytes(2)),
        interlaced=True,
    ),
    "GIF": encoded(SMALL.quantize(16), "GIF", transparency=3, comment=b"hello"),
    "BMP": encoded(SMALL.quantize(16), "BMP"),
    "WebP": encoded(SMALL, "WEBP", exif=exif(3)),
    "lossless WebP": encoded(SMALL.convert("RGBA"), "WEBP", lossless=True),
}


def mutated(data: bytes, random: Random) -> bytes:
    """Return *data* with some bytes changed, and sometimes a piece removed, doubled or moved."""
    result = bytearray(data)
    for _ in range(random.choice([0, 1, 1, 2, 8])):
        result[random.randrange(len(result))] = random.choice(
            [0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)]
        )
    for _ in range(random.choice([0, 0, 1, 2])):
        start = random.randrange(len(result) + 1)
        end = start + random.choice([1, 4, 64, len(result)])
        piece = result[start:end]
        if random.random() < 0.5:
            del result[start:end]
        at = random.randrange(len(result) + 1)
        result[at:at] = random.choice([b"", piece[:64]])
    return with_checksums(bytes(result)) if random.random() < 0.7 else bytes(result)


def with_checksums(data: bytes) -> bytes:
    """Return a PNG with correct checksums, so that decoders read on; other files unchanged."""
    if not data.startswith(PNG_MAGIC):
        return data
    result, position = [PNG_MAGIC], len(PNG_MAGIC)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        result.append(chunk(kind, data[position + 8 : end - 4]))
        position = end
    return b"".join(result) + data[position:]


@pytest.mark.parametrize("name", FUZZED)
def test_no_bytes_raise_anything_but_bad_image(name: str) -> None:
    """Hundreds of damaged files of each format give an array or BadImage, and never a warning."""
    random = Random(name)  # noqa: S311 - the same damage on every run
    wanted = Preprocessing(8, 8, crop=0.9)
    decoded = refused = 0
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(1000):
            try:
                assert decode(mutated(FUZZED[name], random), wanted).shape == (8, 8, 3)
                decoded += 1
            except BadImage:
                refused += 1
    assert warned == []
    assert decoded > 10
    assert refused > 10
