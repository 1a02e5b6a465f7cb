"""How an image becomes an input of pixels or of encoded images: model/images/."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.errors import ModelError
from model.images.encoded_input import encoded_image_input, takes_encoded_image
from model.images.errors import BadImage, NotAnImage, TooManyPixels
from model.images.facts import ImageFacts
from model.images.input import ImageInput, check_encoded_images
from model.images.layout import ImageLayout
from model.images.normalisation import ColourOrder, Normalisation
from model.images.pixel_input import pixel_image_input
from model.images.pixel_values import choose_normalisation
from model.images.preprocessing import Resample
from model.images.value_range import Affine, ValueRange
from model.signature import STRING, FeedError, Signature, TensorSpec
from tests.images import claims, coloured, encoded

Shape = tuple[int | None, ...] | None

LAYOUT = ImageLayout(None, 4, 4, 3)


def signature(dtype: object, *shapes: Shape) -> Signature:
    """Return a signature with an input of each shape."""
    kind = np.dtype(dtype)  # type: ignore[call-overload]  # a table's
    inputs = tuple(TensorSpec(f"x{at}", kind, shape) for at, shape in enumerate(shapes))
    return Signature(inputs, ())


# --- inputs that take images


@pytest.mark.parametrize(
    ("dtype", "shapes", "taken"),
    [
        (STRING, [()], True),
        (STRING, [(None,)], True),
        (STRING, [(1,)], True),
        (STRING, [(2,)], False),
        (STRING, [(None, 1)], True),
        (STRING, [(None, 2)], False),
        (STRING, [None], False),
        (STRING, [], False),
        (STRING, [(), ()], False),
        ("uint8", [(None,)], False),
    ],
)
def test_an_encoded_image_is_the_only_string(
    dtype: object, shapes: list[Shape], taken: bool
) -> None:
    """As a scalar, or one string for each row."""
    assert takes_encoded_image(signature(dtype, *shapes)) == taken


# --- normalisation


def numbers_of(facts: ImageFacts, dtype: str = "float32") -> tuple[Normalisation, list[str]]:
    """Return the normalisation for a model that scales pixels by 1/255 itself."""
    lines: list[str] = []
    scaling = Affine(1 / 255)
    return choose_normalisation(
        facts, LAYOUT, np.dtype(dtype), lambda: scaling, lines.append
    ), lines


def test_the_default_normalisation_suits_the_model() -> None:
    """A mean of 0 counts as given; a uint8 input gets unchanged pixels."""
    numbers, (line,) = numbers_of(ImageFacts(colour_order=ColourOrder.BGR))
    assert numbers == replace(ValueRange.BYTES.normalisation, colour_order=ColourOrder.BGR)
    assert line == "images are fed as 0..255: the model itself computes x * 0.003922"
    numbers, (line,) = numbers_of(ImageFacts(mean=(0.0, 0.0, 0.0)))
    assert (numbers, line.partition(":")[0]) == (Normalisation(), "warning")
    assert numbers_of(ImageFacts(), "uint8") == (Normalisation(), [])


def test_numbers_of_each_channel_are_not_for_grey_images() -> None:
    """They have one channel."""
    facts = ImageFacts(mean=(1.0, 2.0, 3.0))
    grey = replace(LAYOUT, channels=1)
    with pytest.raises(ModelError, match="only one"):
        choose_normalisation(facts, grey, np.dtype(np.float32), lambda: Affine(), print)


# --- feeds of images


def test_pixels_are_decoded_by_the_preprocessing() -> None:
    """Cut, and resized by the filter; still uint8 and RGB, since the graph does the rest."""
    facts = ImageFacts(
        crop=0.5,
        resample=Resample.NEAREST,
        colour_order=ColourOrder.BGR,
    )
    numbers = Normalisation((1.0, 2.0, 3.5), (0.5, 0.5, 0.5))
    image_input = pixel_image_input(
        signature("uint8", (None, 4, 4, 3)), facts, 100, LAYOUT, numbers
    )
    image = coloured(8, 8)
    (pixels,) = image_input.feed(encoded(image, "PNG")).arrays
    np.testing.assert_array_equal(pixels, np.asarray(image)[None, 2:6, 2:6])
    assert image_input.description == (
        "4 x 4 BGR, nearest, the middle 0.5 of the shorter side, as (pixel - (1, 2, 3.5)) * 0.5"
    )
    with pytest.raises(TooManyPixels):
        image_input.feed(encoded(coloured(11, 10), "PNG"))


def test_a_uint8_input_has_no_normalisation() -> None:
    """It gets unchanged pixels, resized by bilinear interpolation by default."""
    image_input = pixel_image_input(
        signature("uint8", (None, 4, 4, 3)), ImageFacts(), 100, LAYOUT, None
    )
    assert image_input.description == "4 x 4 RGB, bilinear"
    (pixels,) = image_input.feed(encoded(coloured(4, 4), "PNG")).arrays
    np.testing.assert_array_equal(pixels[0], np.asarray(coloured(4, 4)))


@pytest.mark.parametrize("shape", [(), (None,), (1,)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_an_encoded_image_is_fed_unchanged(shape: Shape, kind: str) -> None:
    """To the last byte: a BMP that ends in black pixels ends in zeros."""
    data = encoded(Image.new("RGB", (3, 3)), kind)
    alone = "" if shape == (None,) else "one at a time"
    image_input = encoded_image_input(replace(signature(STRING, shape), alone=alone), 100)
    (array,) = image_input.feed(data).arrays
    assert array.dtype == STRING
    assert array.shape == (() if shape == () else (1,))
    assert array.reshape(-1)[0] == data
    for bad, error in ((b"text", NotAnImage), (claims("PNG", 50, 50), TooManyPixels)):
        strings = image_input.signature.feed({"x0": np.array(bad, STRING).reshape(array.shape)})
        with pytest.raises(error):
            image_input.feed_encoded(strings)
    (same,) = image_input.feed_encoded(image_input.feed(data)).arrays
    assert (same.shape, same.tolist()) == (array.shape, array.tolist())


def test_a_model_that_decodes_gets_a_single_image() -> None:
    """TensorFlow decodes all images of a GIF, and some WebP animations end its process."""
    film = {"save_all": True, "append_images": [coloured(4, 4).rotate(90)] * 9}
    image_input = encoded_image_input(signature(STRING, (None,)), 100)
    (array,) = image_input.feed(encoded(coloured(4, 4), "GIF", **film)).arrays
    assert getattr(Image.open(BytesIO(array[0])), "n_frames", 1) == 1
    with pytest.raises(BadImage, match="is an animation"):
        image_input.feed(encoded(coloured(4, 4), "WEBP", **film))


def test_an_empty_list_of_images_is_passed_to_the_model() -> None:
    """A signature that runs alone may accept an empty list."""
    image_input = encoded_image_input(
        replace(signature(STRING, (None,)), alone="one at a time"), 100
    )
    (array,) = image_input.feed_encoded(
        image_input.signature.feed({"x0": np.array([], STRING)})
    ).arrays
    assert (array.dtype, array.shape) == (STRING, (0,))


def test_images_that_become_rows_of_different_shapes_are_refused() -> None:
    """A single image of the wrong shape is refused, too."""
    image_input = encoded_image_input(
        signature("uint8", (None, 4, 5, 3)),
        100,
        lambda data: np.asarray(Image.open(BytesIO(data)))[np.newaxis],
    )
    files = [encoded(coloured(*size), "PNG") for size in ((5, 4), (5, 5))]
    strings = signature(STRING, (None,)).feed({"x0": np.array(files, STRING)})
    with pytest.raises(FeedError, match=r"got uint8\[1, 5, 5, 3\]"):
        image_input.feed_encoded(strings)


def test_a_model_may_decode_with_operations_of_its_own() -> None:
    """They get only images within the limit of pixels."""
    seen: list[bytes] = []

    def decode(data: bytes) -> np.ndarray:
        seen.append(data)
        return np.asarray(Image.open(BytesIO(data)))[np.newaxis]

    image_input = encoded_image_input(signature("uint8", (None, 4, 5, 3)), 100, decode)
    data = encoded(coloured(5, 4), "PNG")
    (pixels,) = image_input.feed(data).arrays
    np.testing.assert_array_equal(pixels[0], np.asarray(coloured(5, 4)))
    for bad, kind in ((b"text", NotAnImage), (encoded(coloured(11, 10), "PNG"), TooManyPixels)):
        with pytest.raises(kind):
            image_input.feed(bad)
    assert seen == [data]


@pytest.mark.parametrize(
    ("array_of", "message"),
    [
        (lambda _: np.zeros((1, 4, 4, 3), np.uint8), r"expected uint8\[\?, 4, 5, 3\]"),
        (lambda _: np.zeros((1, 4, 5, 3), np.float32), r"got float32\[1, 4, 5, 3\]"),
    ],
)
def test_an_image_decoded_to_a_wrong_shape_never_reaches_a_batch(
    array_of: Callable[[bytes], np.ndarray], message: str
) -> None:
    """As where a model's own operations decode to another size than at load."""
    image_input = ImageInput(signature("uint8", (None, 4, 5, 3)), array_of, "")
    with pytest.raises(FeedError, match=message):
        image_input.feed(b"")


def test_strings_that_are_images_are_checked_and_others_are_unchanged() -> None:
    """In every input and row; an animation becomes its first image."""
    words = TensorSpec("words", STRING, (None, 2))
    number = TensorSpec("number", np.dtype(np.float32), (None,))
    signature = Signature((words, number), ())
    small = encoded(coloured(4, 4), "PNG")
    array = np.array([[small, b"a text"], [b"", small]], STRING)
    feed = signature.feed({"words": array, "number": np.zeros(2, np.float32)})
    checked = check_encoded_images(feed, 16)
    assert checked.signature is signature
    assert checked.arrays[0].tolist() == array.tolist()
    assert checked.arrays[0].dtype == STRING
    assert checked.arrays[1] is feed.arrays[1]
    with pytest.raises(TooManyPixels):
        check_encoded_images(feed, 15)
    scalar = Signature((TensorSpec("x", STRING, ()),), (), alone="no batch axis")
    alone = check_encoded_images(scalar.feed({"x": np.array(small, STRING)}), 16)
    assert alone.arrays[0].shape == ()
    assert alone.arrays[0].item() == small
