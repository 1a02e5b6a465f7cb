"""JPEG files decoded at a reduced size: model/images/decode.py."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from model.images.errors import TruncatedImage
from model.images.preprocessing import Preprocessing, Resample
from tests.decoded_images import MODEL, STORED, decode, whole
from tests.images import (
    encoded,
    exif,
    jpeg_segment,
    photograph,
)

# --- decoded smaller

#: A photograph of 6 million pixels, whose sides 8 does not divide.
LARGE = Image.open(BytesIO(photograph("coffee.png"))).resize((3003, 2005))


def shrinking(wanted: Preprocessing) -> Preprocessing:
    """Return *wanted* with a decoder that may shrink."""
    return replace(wanted, scaled_decode=True)


def turned_jpeg(upright: Image.Image, orientation: int) -> bytes:
    """Return a JPEG that is stored turned, with the orientation in its EXIF block."""
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(upright))))
    plain = encoded(stored, "JPEG", quality=90)
    return plain[:2] + jpeg_segment(0xE1, b"Exif\0\0" + exif(orientation)) + plain[2:]


@pytest.fixture
def loaded_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that gets the size of each image that Pillow decodes from now on."""
    sizes: list[tuple[int, int]] = []
    load = JpegImageFile.load

    def noted(image: JpegImageFile) -> object:
        sizes.append(image.size)
        return load(image)

    monkeypatch.setattr(JpegImageFile, "load", noted)
    return sizes


@pytest.mark.parametrize(
    ("stored", "wanted", "decoded"),
    [
        ((3003, 2005), Preprocessing(224, 224, 0.875), (751, 502)),
        ((3003, 2005), Preprocessing(219, 219, 0.875), (376, 251)),
        ((3003, 2005), Preprocessing(251, 250), (751, 502)),
        ((3003, 2005), Preprocessing(1002, 1501), (1502, 1003)),
        ((3003, 2005), Preprocessing(1003, 1501), (3003, 2005)),
        ((447, 448), Preprocessing(224, 224), (447, 448)),
        ((448, 448), Preprocessing(224, 224), (224, 224)),
        ((9, 8), Preprocessing(1, 1), (2, 1)),
        ((1, 1), Preprocessing(1, 1, 0.001), (1, 1)),
    ],
)
def test_a_decoder_shrinks_as_far_as_the_size_allows(
    stored: tuple[int, int],
    wanted: Preprocessing,
    decoded: tuple[int, int],
    loaded_sizes: list[tuple[int, int]],
) -> None:
    """By 2, 4 or 8, rounded up; the part that is cut out is never smaller than the size."""
    assert decode(encoded(LARGE.resize(stored), "JPEG"), shrinking(wanted), 10**7).shape == (
        wanted.height,
        wanted.width,
        3,
    )
    assert set(loaded_sizes) == {decoded}


def test_a_decoder_shrinks_only_with_the_option(loaded_sizes: list[tuple[int, int]]) -> None:
    """By default the pixels are those of plain Pillow calls on the whole image."""
    data = encoded(LARGE, "JPEG")
    expected = Image.open(BytesIO(data)).resize((64, 48), Image.Resampling.BILINEAR)
    loaded_sizes.clear()
    np.testing.assert_array_equal(decode(data, whole(48, 64), 10**7), np.asarray(expected))
    assert set(loaded_sizes) == {LARGE.size}


@pytest.mark.parametrize(
    ("mode", "crop"), [("RGB", None), ("L", 1.0), ("CMYK", 0.875), ("progressive", 0.5)]
)
def test_a_shrunk_image_is_close_to_the_whole_one(mode: str, crop: float | None) -> None:
    """Within 1 level on average, and within 8 levels for 99 % of the values."""
    stored = LARGE if mode == "progressive" else LARGE.convert(mode)
    data = encoded(stored, "JPEG", quality=90, progressive=mode == "progressive")
    wanted = Preprocessing(96, 120, crop, Resample.BICUBIC)
    difference = np.abs(
        decode(data, shrinking(wanted), 10**7).astype(int) - decode(data, wanted, 10**7)
    )
    assert difference.mean() < 1
    assert np.quantile(difference, 0.99) <= 8
    assert difference.any()


@pytest.mark.parametrize(
    ("orientation", "crop"),
    [(1, None), (2, 0.875), (3, 0.3), (4, None), (5, 0.875), (6, 0.3), (7, None), (8, 0.875)],
)
def test_a_shrunk_image_shows_the_same_region_whichever_way_it_is_stored(
    orientation: int, crop: float | None
) -> None:
    """On a ramp the colour is the position, so the mean shows a shift of less than a pixel."""
    x = np.linspace(0, 255, 1501)
    y = np.linspace(0, 255, 1003)
    ramp = np.stack(np.broadcast_arrays(x[None, :], y[:, None], 128.0), axis=2)
    data = turned_jpeg(Image.fromarray(np.rint(ramp).astype(np.uint8)), orientation)
    wanted = Preprocessing(30, 40, crop)
    expected = decode(data, wanted, 10**7).astype(int)
    result = decode(data, shrinking(wanted), 10**7)
    np.testing.assert_allclose(result, expected, atol=1)
    assert np.abs((result - expected).mean(axis=(0, 1))).max() < 0.15


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_other_decoders_do_not_shrink(kind: str) -> None:
    """Only the JPEG decoder can shrink; other images are the same as without the option."""
    data = encoded(LARGE.resize((640, 480)), kind)
    wanted = Preprocessing(32, 40, 0.875)
    np.testing.assert_array_equal(decode(data, shrinking(wanted)), decode(data, wanted))


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_shrunk_image_that_is_cut_short_is_refused(keep: float) -> None:
    """With the same error as without shrinking."""
    data = encoded(LARGE, "JPEG")
    with pytest.raises(TruncatedImage):
        decode(data[: int(len(data) * keep)], shrinking(MODEL), 10**7)
