"""Headers of image files: model/images/header.py, headers/ and first_bytes.py."""

from io import BytesIO
from struct import pack

import numpy as np
import pytest
from PIL import Image

from model.images.errors import BadImage, NotAnImage, TruncatedImage
from model.images.first_bytes import ImageFormat
from model.images.header import first_image, read_header
from model.images.headers.exif import exif_orientation
from model.images.headers.image_header import MAX_FILE_PARTS
from model.images.headers.jpeg import MAX_JPEG_SCANS
from tests.images import chunk, claims, coloured, encoded, exif, jpeg_segment, png

PHOTO = coloured(40, 24)
JPEG = encoded(PHOTO, "JPEG")
PNG = encoded(PHOTO, "PNG")
GIF = encoded(PHOTO, "GIF")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (JPEG, ImageFormat.JPEG),
        (encoded(PHOTO, "JPEG", progressive=True), ImageFormat.JPEG),
        (encoded(PHOTO, "JPEG", restart_marker_blocks=1), ImageFormat.JPEG),
        (PNG, ImageFormat.PNG),
        (GIF, ImageFormat.GIF),
        (encoded(PHOTO, "BMP"), ImageFormat.BMP),
        (encoded(PHOTO, "WEBP"), ImageFormat.WEBP),
        (encoded(PHOTO, "WEBP", lossless=True), ImageFormat.WEBP),
        (encoded(PHOTO, "WEBP", exif=exif(3)), ImageFormat.WEBP),
        (encoded(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(90)]), ImageFormat.WEBP),
    ],
)
def test_the_format_and_the_size_are_read(data: bytes, kind: ImageFormat) -> None:
    """Files as Pillow writes them, of 40 x 24 pixels."""
    image = read_header(data)
    assert (image.format, image.width, image.height) == (kind, 40, 24)


def test_old_and_top_down_bitmaps_have_a_size() -> None:
    """OS/2 headers have sides of 2 bytes; a negative height means rows from the top."""
    os2 = b"BM" + pack("<IHHIIHHHH", 38, 0, 0, 26, 12, 40, 24, 1, 24)
    assert (read_header(os2).width, read_header(os2).height) == (40, 24)
    downwards = claims("BMP", 40, -24)
    assert (read_header(downwards).width, read_header(downwards).height) == (40, 24)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "nothing at all (0 bytes)"),
        (b"\n <!DOCTYPE HTML><title>Not found", "an HTML page (33 bytes)"),
        (b"<html>", "an HTML page"),
        (b"%PDF-1.7", "a PDF document"),
        (b"II*\0\x08\0\0\0", "a TIFF image"),
        (b"MM\0*\0\0\0\x08", "a TIFF image"),
        (b"\0\0\0\x18ftypheic", "a HEIC image"),
        (b"\0\0\0\x18ftypmif1", "a HEIC image"),
        (b"\0\0\0\x18ftypavif", "an AVIF image"),
        (b"\0\0\0\x18ftypisom", "a video"),
        (b"\xff\x0a\0\0", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n", "a JPEG XL image"),
        (b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 image"),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"\0\0\1\0\1\0", "an icon"),
        (b"PK\3\4", "a ZIP archive"),
        (b"\x1f\x8b\x08", "gzip-compressed data"),
        (JPEG.decode(errors="replace").encode(), "a JPEG image that was read as text (UTF-8)"),
        (PNG.decode(errors="replace").encode(), "a PNG image that was read as text (UTF-8)"),
        (JPEG.decode("latin-1").encode(), "a JPEG image that was read as text (Latin-1)"),
        (PNG.decode("latin-1").encode(), "a PNG image that was read as text (Latin-1)"),
        (PNG.replace(b"\r\n", b"\n"), "a PNG image whose line ends were changed"),
        (PNG.replace(b"\r", b"").replace(b"\n", b""), "a PNG image whose line ends were"),
        (b"<svg xmlns=", "an SVG drawing"),
        (b"<?xml version=", "an XML document"),
        (b'{"instances": []}', "a JSON text"),
        (b"[1, 2]", "a JSON text"),
        (b"data:image/png;base64,", "a data URL"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:",
            "a Git LFS pointer, not the file that `git lfs pull` gets,",
        ),
        (b"/9j/4AAQSkZJRg", "an image in base64"),
        (b"iVBORw0KGgo", "an image in base64"),
        (b"R0lGODlh", "an image in base64"),
        (b"UklGRg", "an image in base64"),
        (b"BMW sells cars", "data that begins with 42 4d 57 20 73 65 6c 6c (14 bytes)"),
        (b"RIFF\0\0\0\0WAVEfmt ", "data that begins with 52 49 46 46"),
    ],
)
def test_a_file_that_is_not_an_image_is_named(data: bytes, found: str) -> None:
    """The message states the kind of file, its bytes, and the formats that are read."""
    with pytest.raises(NotAnImage) as caught:
        read_header(data)
    assert str(caught.value).startswith(found)
    assert str(caught.value).endswith("is not a JPEG, PNG, GIF, BMP or WebP image")


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WEBP"])
def test_an_image_that_was_read_as_text_is_not_decoded(kind: str) -> None:
    """Its first bytes are still those of an image, but the pixels are lost."""
    data = encoded(PHOTO, kind).decode(errors="replace").encode()
    with pytest.raises(BadImage, match=r"read as text|data that begins"):
        read_header(data)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "JPEG"])
def test_a_side_of_zero_is_refused(kind: str) -> None:
    """In every format but WebP, which cannot express it."""
    data = claims(kind, 0, 7)
    with pytest.raises(BadImage, match="is 0 x 7 pixels"):
        read_header(data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_read_in_both_byte_orders(orientation: int, order: str) -> None:
    """With and without the prefix that JPEG gives it, as SHORT and as LONG."""
    block = exif(orientation, order)
    assert exif_orientation(block) == orientation
    assert exif_orientation(b"Exif\0\0" + block) == orientation
    as_long = block[:12] + pack(order + "HII", 4, 1, orientation) + block[22:]
    assert exif_orientation(as_long) == orientation


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II*\0",
        b"nonsense" * 4,
        exif(0),
        exif(9),
        exif(6)[:15],
        b"II*\0" + pack("<I", 2**32 - 1),
        b"II*\0" + pack("<IH", 8, 65_535),
        exif(6).replace(pack("<H", 0x0112), pack("<H", 0x0113)),
    ],
)
def test_broken_exif_has_no_orientation(block: bytes) -> None:
    """The image itself is still good."""
    assert exif_orientation(block) == 1


def test_metadata_of_a_jpeg_is_dropped() -> None:
    """The parts are the file without the metadata and without the bytes behind its end."""
    noise = jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>") + jpeg_segment(0xFE, b"hello")
    profile = jpeg_segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(500))
    turned = jpeg_segment(0xE1, b"Exif\0\0" + exif(6)) + jpeg_segment(0xE1, b"Exif\0\0" + exif(1))
    data = JPEG[:2] + noise + profile + turned + JPEG[2:] + b"a film of the same moment"
    image = read_header(data)
    assert b"".join(image.parts) == JPEG
    assert image.orientation == 6


def test_segments_with_the_coding_of_colours_are_kept() -> None:
    """APP0 and APP14 decide how a decoder reads three or four channels."""
    data = encoded(PHOTO.convert("CMYK"), "JPEG")
    assert b"Adobe" in data
    assert b"".join(read_header(data).parts) == data


def test_restart_markers_are_pixels() -> None:
    """They have no length and no segment, so no bytes are skipped."""
    data = encoded(coloured(200, 150), "JPEG", restart_marker_blocks=1)
    assert data.count(b"\xff\xd3") > 5
    assert b"".join(read_header(data).parts) == data


def test_metadata_of_a_png_is_dropped() -> None:
    """Optional chunks are dropped, also those of an animation; the transparent colour is kept."""
    grey = np.arange(12).reshape(3, 4)
    key = chunk(b"tRNS", pack(">H", 5))
    extra = [chunk(b"tEXt", b"a\0b"), chunk(b"eXIf", exif(8)), chunk(b"acTL", pack(">II", 1, 0))]
    image = read_header(png(grey, 8, 0, *extra, key) + b"tail")
    assert b"".join(image.parts) == png(grey, 8, 0, key)
    assert (image.orientation, image.sample_bits) == (8, 8)


def test_the_orientation_of_a_webp_is_read() -> None:
    """It is in a chunk of its own behind the pixels."""
    assert read_header(encoded(PHOTO, "WEBP", exif=exif(5))).orientation == 5
    assert read_header(encoded(PHOTO, "WEBP", xmp=b"<x/>")).orientation == 1


def test_a_gif_is_as_large_as_its_first_frame_needs() -> None:
    """Decoders enlarge the screen for a frame that does not fit, so the header counts the frame."""
    image = read_header(claims("GIF", 300, 200))
    assert (image.width, image.height) == (300, 200)
    assert b"".join(image.parts)[6:10] == pack("<HH", 300, 200)


def test_blocks_before_the_first_frame_of_a_gif_are_skipped() -> None:
    """They may be comments and stray bytes."""
    head = 13 + (3 << (GIF[10] & 7) + 1)
    data = GIF[:head] + b"!\xfe\x05hello\x02!,\0" + b"\0" + GIF[head:]
    assert (read_header(data).width, read_header(data).height) == (40, 24)


FILM = {"save_all": True, "append_images": [PHOTO.rotate(90), PHOTO.rotate(180)]}


@pytest.mark.parametrize("photo", [PHOTO, PHOTO.convert("L")])
def test_a_gif_is_cut_behind_its_first_image(photo: Image.Image) -> None:
    """With or without a table of colours of its own; a file of one image does not change."""
    alone, film = encoded(photo, "GIF"), encoded(photo, "GIF", **FILM)
    assert first_image(alone, ImageFormat.GIF) == alone
    cut = Image.open(BytesIO(first_image(film, ImageFormat.GIF)))
    assert getattr(cut, "n_frames", 1) == 1
    np.testing.assert_array_equal(cut.convert("RGB"), Image.open(BytesIO(film)).convert("RGB"))


def test_files_of_one_image_do_not_change() -> None:
    """`first_image` returns the same object."""
    for kind in ("JPEG", "PNG", "BMP", "WEBP"):
        data = encoded(PHOTO, kind)
        assert first_image(data, read_header(data).format) is data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded(PHOTO, "WEBP", **FILM), "the WebP file is an animation"),
        (GIF[:-20], "cut short"),
        (claims("GIF", 4, 4)[:-2] + b"\1\0" * MAX_FILE_PARTS + b"\0;", "has more than 65536 parts"),
    ],
    ids=["film", "cut", "parts"],
)
def test_a_first_image_that_cannot_be_cut_out_is_refused(data: bytes, message: str) -> None:
    """So that no decoder of all images gets the file."""
    with pytest.raises(BadImage, match=message):
        first_image(data, read_header(data).format)


SCANS = encoded(PHOTO, "JPEG", progressive=True)
LAST_SCAN = SCANS[SCANS.rindex(b"\xff\xda") : -2]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            JPEG[:2] + jpeg_segment(0xE1, b"Exif\0\0x") * MAX_FILE_PARTS + JPEG[2:],
            "has more than 65536",
        ),
        (PNG[:33] + chunk(b"tEXt", b"") * MAX_FILE_PARTS + PNG[33:], "has more than 65536 parts"),
        (b"GIF89a" + bytes(7) + b"!\xfe\0" * MAX_FILE_PARTS + b",", "has more than 65536 parts"),
        (
            b"RIFF"
            + pack("<I", 22 + 8 * MAX_FILE_PARTS)
            + b"WEBPVP8X"
            + pack("<I10x", 10)
            + b"ANMF\0\0\0\0" * MAX_FILE_PARTS,
            "has more than 65536 parts",
        ),
        (SCANS[:-2] + LAST_SCAN * MAX_JPEG_SCANS + SCANS[-2:], "more than 100 scans"),
    ],
    ids=["JPEG", "PNG", "GIF", "WebP", "scans"],
)
def test_files_of_too_many_parts_are_refused(data: bytes, message: str) -> None:
    """Each part costs time for only a few bytes of the file."""
    with pytest.raises(BadImage, match=message):
        read_header(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GIF89a" + bytes(7) + b";", "holds no image"),
        (PNG[:8] + chunk(b"CgBI", bytes(13)) + PNG[8:], "begins with b'CgBI'"),
        (b"RIFF\x10\0\0\0WEBPXXXX" + bytes(20), "unknown chunk b'XXXX'"),
        (claims("BMP", 4, 4)[:30] + pack("<I", 1) + bytes(100), "run-length encoded"),
    ],
)
def test_broken_headers_are_refused(data: bytes, message: str) -> None:
    """The message gives the reason."""
    with pytest.raises(BadImage, match=message):
        read_header(data)


@pytest.mark.parametrize(
    "data", [JPEG, PNG, encoded(PHOTO, "WEBP"), encoded(PHOTO, "WEBP", exif=exif(2))]
)
def test_every_cut_of_a_file_with_a_marked_end_is_detected(data: bytes) -> None:
    """JPEG, PNG and WebP mark their end; a few bytes are not an image at all."""
    for size in range(len(data)):
        with pytest.raises((TruncatedImage, NotAnImage)):
            read_header(data[:size])
