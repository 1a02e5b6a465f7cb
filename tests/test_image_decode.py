"""From an image file to the array of a model: model/images/decode.py."""

from io import BytesIO
from struct import pack

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.images.preprocessing import Preprocessing, Resample, centre_square
from tests.decoded_images import MODEL, STORED, decode, whole
from tests.images import (
    Samples,
    chunk,
    coloured,
    encoded,
    exif,
    jpeg_segment,
    photograph,
    png,
)

Pixels = npt.NDArray[np.uint8]
KINDS = ["JPEG", "PNG", "GIF", "BMP", "WebP"]
PHOTO = coloured(40, 24)


# --- cut and size


@pytest.mark.parametrize("name", ["chelsea.png", "rocket.jpg", "coffee.png", "camera.png"])
def test_a_photograph_gives_the_pixels_of_plain_pillow_calls(name: str) -> None:
    """A centred crop and a bicubic resize; without a crop, a bilinear resize of the whole image."""
    data = photograph(name)
    photo = Image.open(BytesIO(data)).convert("RGB")
    side = min(photo.size) * 7 // 8
    left, top = (photo.width - side + 1) // 2, (photo.height - side + 1) // 2
    square = photo.crop((left, top, left + side, top + side))
    expected = square.resize((224, 224), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(decode(data, MODEL), np.asarray(expected))
    squeezed = photo.resize((320, 240), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode(data, whole(240, 320)), np.asarray(squeezed))


@pytest.mark.parametrize(
    "resample", [each for each in Resample if each is not Resample.TF_BILINEAR]
)
def test_every_filter_is_pillows_filter_of_that_name(resample: Resample) -> None:
    """With the spelling of model.toml."""
    expected = PHOTO.resize((7, 5), Image.Resampling[resample.value.upper()])
    result = decode(encoded(PHOTO, "PNG"), Preprocessing(5, 7, resample=Resample(resample.value)))
    np.testing.assert_array_equal(result, np.asarray(expected))


@pytest.mark.parametrize(
    ("width", "height", "fraction", "box"),
    [
        (640, 480, 1.0, (80, 0, 560, 480)),
        (640, 480, 0.875, (110, 30, 530, 450)),
        (480, 640, 0.5, (120, 200, 360, 440)),
        (5, 4, 1.0, (1, 0, 5, 4)),
        (10, 10, 0.05, (5, 5, 6, 6)),
        (1, 50_000, 0.875, (0, 25_000, 1, 25_001)),
    ],
)
def test_the_square_is_centred_and_never_empty(
    width: int, height: int, fraction: float, box: tuple[int, int, int, int]
) -> None:
    """The side is rounded down, the margin up."""
    assert centre_square(width, height, fraction) == box


@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1), (1, 1)])
@pytest.mark.parametrize("crop", [None, 0.875, 0.001])
def test_the_thinnest_images_are_decoded(size: tuple[int, int], crop: float | None) -> None:
    """Of one colour, so that every pixel is known."""
    data = encoded(Image.new("RGB", size, (10, 200, 30)), "PNG")
    result = decode(data, Preprocessing(8, 16, crop=crop))
    np.testing.assert_array_equal(result, np.full((8, 16, 3), (10, 200, 30)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_array_is_contiguous_and_writable(kind: str) -> None:
    """Staging relies on layout and dtype; the caller may change the array."""
    array = decode(encoded(PHOTO, kind), MODEL)
    assert array.shape == (224, 224, 3)
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    assert array.flags.owndata
    assert array.flags.writeable


@pytest.mark.parametrize(
    ("height", "width", "crop"),
    [(0, 1, None), (1, 0, None), (-1, 1, None), (1, 1, 0.0), (1, 1, 1.01), (1, 1, float("nan"))],
)
def test_senseless_preprocessing_is_refused(height: int, width: int, crop: float | None) -> None:
    """At construction, not when an image is decoded."""
    with pytest.raises(ValueError, match=r"holds no pixel|crop is"):
        Preprocessing(height, width, crop)


# --- kinds of pixels

RANDOM = np.random.default_rng(7)


def levels(bits: int, *shape: int) -> Samples:
    """Return random samples that include the lowest and the highest."""
    samples = RANDOM.integers(0, 1 << bits, (5, 9, *shape))
    samples[0, 0], samples[-1, -1] = 0, (1 << bits) - 1
    return samples


def on_white(colours: Samples, alpha: Samples) -> Samples:
    """Return *colours* on white with the opacity *alpha*, 0 to 255."""
    return np.rint((colours * alpha + 255.0 * (255 - alpha)) / 255).astype(int)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_grey_png_spreads_its_levels_over_all_of_uint8(bits: int, interlaced: bool) -> None:
    """Black is 0 and white 255 at every depth; 16 bits lose the lower byte and clip nothing."""
    samples = levels(bits)
    expected = samples >> 8 if bits == 16 else samples * 255 // ((1 << bits) - 1)
    result = decode(png(samples, bits, 0, interlaced=interlaced), whole(5, 9))
    np.testing.assert_array_equal(result, np.stack([expected] * 3, axis=2))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_level_of_a_grey_png_is_white(bits: int) -> None:
    """The levels next to it are not."""
    samples = levels(bits)
    key = int(samples[2, 3])
    expected = samples >> 8 if bits == 16 else samples * 255 // ((1 << bits) - 1)
    expected[samples == key] = 255
    result = decode(png(samples, bits, 0, chunk(b"tRNS", pack(">H", key))), whole(5, 9))
    np.testing.assert_array_equal(result, np.stack([expected] * 3, axis=2))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_colour_png_keeps_its_upper_bytes(bits: int, interlaced: bool) -> None:
    """Its transparent colour becomes white."""
    samples = levels(bits, 3)
    expected = samples >> (bits - 8)
    result = decode(png(samples, bits, 2, interlaced=interlaced), whole(5, 9))
    np.testing.assert_array_equal(result, expected)
    key = chunk(b"tRNS", pack(">HHH", *samples[2, 3]))
    expected[2, 3] = 255
    np.testing.assert_array_equal(decode(png(samples, bits, 2, key), whole(5, 9)), expected)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_png_shows_its_colours_on_white(bits: int, interlaced: bool) -> None:
    """Without transparency, with one transparent colour, and with an alpha for each."""
    samples = levels(bits)
    colours = RANDOM.integers(0, 256, (1 << bits, 3))
    palette = chunk(b"PLTE", colours.astype(np.uint8).tobytes())
    plain = png(samples, bits, 3, palette, interlaced=interlaced)
    np.testing.assert_array_equal(decode(plain, whole(5, 9)), colours[samples])
    single = png(samples, bits, 3, palette, chunk(b"tRNS", b"\xff\0"), interlaced=interlaced)
    alpha = np.where(samples == 1, 0, 255)[:, :, None]
    np.testing.assert_array_equal(decode(single, whole(5, 9)), on_white(colours[samples], alpha))
    alphas = RANDOM.integers(0, 256, 1 << bits)
    several = png(samples, bits, 3, palette, chunk(b"tRNS", alphas.astype(np.uint8).tobytes()))
    expected = on_white(colours[samples], alphas[samples][:, :, None])
    np.testing.assert_allclose(decode(several, whole(5, 9)), expected, atol=1)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("colour", "channels"), [(4, 2), (6, 4)])
def test_a_png_with_alpha_is_put_on_white(colour: int, channels: int, bits: int) -> None:
    """Grey or coloured; rounding may differ by one level."""
    samples = levels(bits, channels)
    upper = samples >> (bits - 8)
    expected = on_white(upper[:, :, :-1], upper[:, :, -1:])
    result = decode(png(samples, bits, colour), whole(5, 9))
    np.testing.assert_allclose(result, np.broadcast_to(expected, (5, 9, 3)), atol=1)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_are_close_to_their_source(progressive: bool) -> None:
    """Coloured and grey, baseline and progressive."""
    smooth = Image.linear_gradient("L").resize((40, 24))
    made = encoded(smooth, "JPEG", quality=95, progressive=progressive)
    expected = np.asarray(smooth.convert("RGB"))
    np.testing.assert_allclose(decode(made), expected, atol=4)
    tinted = Image.merge("RGB", [smooth, smooth.rotate(180), smooth])
    made = encoded(tinted, "JPEG", quality=95, subsampling=0, progressive=progressive)
    np.testing.assert_allclose(decode(made), np.asarray(tinted), atol=8)


@pytest.mark.parametrize(
    ("ink", "seen"),
    [
        ((0, 255, 255, 0), (255, 0, 0)),
        ((255, 0, 255, 0), (0, 255, 0)),
        ((0, 0, 0, 0), (255, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 0, 0, 128), (127, 127, 127)),
    ],
)
def test_a_cmyk_jpeg_shows_its_inks(ink: tuple[int, ...], seen: tuple[int, ...]) -> None:
    """Stored inverted, as Adobe does; taken literally, red would be cyan."""
    data = encoded(Image.new("CMYK", (40, 24), ink), "JPEG", quality=95)
    assert b"Adobe" in data
    np.testing.assert_allclose(decode(data), np.full((24, 40, 3), seen), atol=3)


def test_bitmaps_and_lossless_webp_are_exact() -> None:
    """In colour, grey, two colours and palettes; and WebP with alpha on white."""
    for image in (PHOTO, PHOTO.convert("L"), PHOTO.convert("1"), PHOTO.quantize(9)):
        expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(decode(encoded(image, "BMP")), expected)
    np.testing.assert_array_equal(decode(encoded(PHOTO, "WEBP", lossless=True)), np.asarray(PHOTO))
    glass = PHOTO.copy()
    glass.putalpha(Image.linear_gradient("L").resize(PHOTO.size))
    samples = np.asarray(glass).astype(int)
    result = decode(encoded(glass, "WEBP", lossless=True, exact=True))
    np.testing.assert_allclose(result, on_white(samples[..., :3], samples[..., 3:]), atol=1)


def test_a_gif_shows_its_first_image_on_white() -> None:
    """Coloured, grey, and with a transparent colour."""
    indexed = PHOTO.quantize(16)
    colours = np.asarray(indexed.convert("RGB"))
    np.testing.assert_array_equal(decode(encoded(indexed, "GIF")), colours)
    grey = PHOTO.convert("L")
    np.testing.assert_array_equal(decode(encoded(grey, "GIF")), np.asarray(grey.convert("RGB")))
    expected = np.where((np.asarray(indexed) == 3)[:, :, None], 255, colours)
    np.testing.assert_array_equal(decode(encoded(indexed, "GIF", transparency=3)), expected)
    animated = encoded(indexed, "GIF", save_all=True, append_images=[indexed.rotate(180)] * 50)
    np.testing.assert_array_equal(decode(animated), colours)


def test_later_frames_are_never_read() -> None:
    """Many broken frames behind the first cost the server no time."""
    indexed = PHOTO.quantize(16)
    expected = np.asarray(indexed.convert("RGB"))
    data = encoded(indexed, "GIF")[:-1] + b"," + pack("<4H", 0, 0, 65_535, 65_535) + b"\0" * 999
    np.testing.assert_array_equal(decode(data), expected)
    animation = [chunk(b"acTL", pack(">II", 2**31 - 1, 0)), chunk(b"fcTL", bytes(26))]
    data = png(np.asarray(PHOTO), 8, 2, *animation)
    np.testing.assert_array_equal(decode(data), np.asarray(PHOTO))


# --- orientation


@pytest.mark.parametrize("orientation", STORED)
def test_a_turned_image_becomes_upright(orientation: int) -> None:
    """PNG and WebP exactly; JPEG within its loss."""
    upright = np.asarray(PHOTO)
    turned = np.ascontiguousarray(STORED[orientation](upright))
    stored = Image.fromarray(turned)
    made = png(turned, 8, 2, chunk(b"eXIf", exif(orientation)))
    np.testing.assert_array_equal(decode(made), upright)
    made = encoded(stored, "WEBP", lossless=True, exif=exif(orientation, ">"))
    np.testing.assert_array_equal(decode(made), upright)
    plain = encoded(stored, "JPEG", quality=95, subsampling=0)
    made = plain[:2] + jpeg_segment(0xE1, b"Exif\0\0" + exif(orientation)) + plain[2:]
    lossy = np.asarray(Image.open(BytesIO(plain)))
    np.testing.assert_array_equal(STORED[orientation](decode(made)), lossy)


@pytest.mark.parametrize("size", [(81, 48), (49, 80)])
@pytest.mark.parametrize("orientation", STORED)
def test_turning_before_or_after_the_cut_and_resize_is_the_same(
    orientation: int, size: tuple[int, int]
) -> None:
    """Within one level, since the two passes of a resize round in another order."""
    upright = np.asarray(coloured(*size))
    turned = np.ascontiguousarray(STORED[orientation](upright))
    wanted = Preprocessing(20, 30, crop=0.75, resample=Resample.BICUBIC)
    expected = decode(png(upright, 8, 2), wanted).astype(int)
    result = decode(png(turned, 8, 2, chunk(b"eXIf", exif(orientation))), wanted)
    np.testing.assert_allclose(result, expected, atol=1)
