"""How an image becomes an input: model/images/input.py, and TensorFlow's images.py."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.backends.tensorflow.image_inputs import (
    encoded_image_input,
    normalisation,
    pixel_image_input,
    takes_encoded_image,
)
from model.errors import ModelError
from model.images.decode import Resample
from model.images.facts import ImageFacts
from model.images.header import BadImage, NotAnImage, TooManyPixels
from model.images.input import ImageInput, guarded
from model.images.layout import ImageLayout
from model.images.normalisation import ColourOrder, Normalisation
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


# --- which inputs take images


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
    """Or one a row."""
    assert takes_encoded_image(signature(dtype, *shapes)) == taken


# --- with which numbers


def numbers_of(facts: ImageFacts, dtype: str = "float32") -> tuple[Normalisation, list[str]]:
    """Return what becomes of pixels for a model that scales them by 1/255 itself."""
    said: list[str] = []
    scaling = Affine(1 / 255)
    return normalisation(facts, LAYOUT, np.dtype(dtype), lambda: scaling, said.append), said


def test_numbers_that_are_not_given_suit_the_model() -> None:
    """A mean of 0 is given; a model of uint8 gets the pixels as they are."""
    numbers, (line,) = numbers_of(ImageFacts(colour_order=ColourOrder.BGR))
    assert numbers == replace(ValueRange.BYTES.normalisation, colour_order=ColourOrder.BGR)
    assert line == "images are fed as 0..255: the model itself computes x * 0.003922"
    numbers, (line,) = numbers_of(ImageFacts(mean=(0.0, 0.0, 0.0)))
    assert (numbers, line.partition(":")[0]) == (Normalisation(), "warning")
    assert numbers_of(ImageFacts(), "uint8") == (Normalisation(), [])


def test_numbers_of_each_channel_are_not_for_grey_images() -> None:
    """There is one channel."""
    facts = ImageFacts(mean=(1.0, 2.0, 3.0))
    grey = replace(LAYOUT, channels=1)
    with pytest.raises(ModelError, match="only one"):
        normalisation(facts, grey, np.dtype(np.float32), lambda: Affine(), print)


# --- the way in


def test_pixels_are_decoded_as_they_are_said_to_be() -> None:
    """Cut, resized by the filter, still uint8 and RGB: the graph does the rest."""
    facts = ImageFacts(
        crop=0.5,
        resample=Resample.NEAREST,
        colour_order=ColourOrder.BGR,
    )
    numbers = Normalisation((1.0, 2.0, 3.5), (0.5, 0.5, 0.5))
    way = pixel_image_input(signature("uint8", (None, 4, 4, 3)), facts, 100, LAYOUT, numbers)
    image = coloured(8, 8)
    (pixels,) = way.feed(encoded(image, "PNG")).arrays
    np.testing.assert_array_equal(pixels, np.asarray(image)[None, 2:6, 2:6])
    assert way.meaning == (
        "4 x 4 BGR, nearest, the middle 0.5 of the shorter side, as (pixel - (1, 2, 3.5)) * 0.5"
    )
    with pytest.raises(TooManyPixels):
        way.feed(encoded(coloured(11, 10), "PNG"))


def test_a_model_of_uint8_is_told_no_numbers() -> None:
    """It gets the pixels as they are, resized by bilinear interpolation unless told."""
    way = pixel_image_input(signature("uint8", (None, 4, 4, 3)), ImageFacts(), 100, LAYOUT, None)
    assert way.meaning == "4 x 4 RGB, bilinear"
    (pixels,) = way.feed(encoded(coloured(4, 4), "PNG")).arrays
    np.testing.assert_array_equal(pixels[0], np.asarray(coloured(4, 4)))


@pytest.mark.parametrize("shape", [(), (None,), (1,)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_an_encoded_image_goes_in_as_it_came(shape: Shape, kind: str) -> None:
    """To the last byte: a BMP that ends in black ends in zeros."""
    data = encoded(Image.new("RGB", (3, 3)), kind)
    alone = "" if shape == (None,) else "one at a time"
    way = encoded_image_input(replace(signature(STRING, shape), alone=alone), 100)
    (array,) = way.feed(data).arrays
    assert array.dtype == STRING
    assert array.shape == (() if shape == () else (1,))
    assert array.reshape(-1)[0] == data
    for bad, error in ((b"text", NotAnImage), (claims("PNG", 50, 50), TooManyPixels)):
        strings = way.signature.feed({"x0": np.array(bad, STRING).reshape(array.shape)})
        with pytest.raises(error):
            way.feed_encoded(strings)
    (same,) = way.feed_encoded(way.feed(data)).arrays
    assert (same.shape, same.tolist()) == (array.shape, array.tolist())


def test_a_model_that_decodes_sees_a_single_image() -> None:
    """TensorFlow decodes all of a GIF, however many, and dies of some WebP animations."""
    film = {"save_all": True, "append_images": [coloured(4, 4).rotate(90)] * 9}
    way = encoded_image_input(signature(STRING, (None,)), 100)
    (array,) = way.feed(encoded(coloured(4, 4), "GIF", **film)).arrays
    assert getattr(Image.open(BytesIO(array[0])), "n_frames", 1) == 1
    with pytest.raises(BadImage, match="is an animation"):
        way.feed(encoded(coloured(4, 4), "WEBP", **film))


def test_no_image_at_all_is_for_the_model_to_judge() -> None:
    """Where it runs alone it may take an empty list."""
    way = encoded_image_input(replace(signature(STRING, (None,)), alone="one at a time"), 100)
    (array,) = way.feed_encoded(way.signature.feed({"x0": np.array([], STRING)})).arrays
    assert (array.dtype, array.shape) == (STRING, (0,))


def test_images_that_become_rows_of_different_shapes_are_refused() -> None:
    """As one alone would be."""
    way = encoded_image_input(
        signature("uint8", (None, 4, 5, 3)),
        100,
        lambda data: np.asarray(Image.open(BytesIO(data)))[np.newaxis],
    )
    files = [encoded(coloured(*size), "PNG") for size in ((5, 4), (5, 5))]
    strings = signature(STRING, (None,)).feed({"x0": np.array(files, STRING)})
    with pytest.raises(FeedError, match=r"got uint8\[1, 5, 5, 3\]"):
        way.feed_encoded(strings)


def test_a_model_may_decode_with_operations_of_its_own() -> None:
    """Which only ever see what is an image, and of no more pixels than are allowed."""
    seen: list[bytes] = []

    def decode(data: bytes) -> np.ndarray:
        seen.append(data)
        return np.asarray(Image.open(BytesIO(data)))[np.newaxis]

    way = encoded_image_input(signature("uint8", (None, 4, 5, 3)), 100, decode)
    data = encoded(coloured(5, 4), "PNG")
    (pixels,) = way.feed(data).arrays
    np.testing.assert_array_equal(pixels[0], np.asarray(coloured(5, 4)))
    for bad, kind in ((b"text", NotAnImage), (encoded(coloured(11, 10), "PNG"), TooManyPixels)):
        with pytest.raises(kind):
            way.feed(bad)
    assert seen == [data]


@pytest.mark.parametrize(
    ("array_of", "said"),
    [
        (lambda _: np.zeros((1, 4, 4, 3), np.uint8), r"expected uint8\[\?, 4, 5, 3\]"),
        (lambda _: np.zeros((1, 4, 5, 3), np.float32), r"got float32\[1, 4, 5, 3\]"),
    ],
)
def test_what_is_decoded_wrongly_never_reaches_a_batch(
    array_of: Callable[[bytes], np.ndarray], said: str
) -> None:
    """As from a model whose own operations decode to another size than it was probed with."""
    way = ImageInput(signature("uint8", (None, 4, 5, 3)), array_of, "")
    with pytest.raises(FeedError, match=said):
        way.feed(b"")


def test_strings_that_are_images_are_held_to_the_limit_and_others_are_left_alone() -> None:
    """In whatever input and place; an animation becomes its first image."""
    words = TensorSpec("words", STRING, (None, 2))
    number = TensorSpec("number", np.dtype(np.float32), (None,))
    signature = Signature((words, number), ())
    small = encoded(coloured(4, 4), "PNG")
    array = np.array([[small, b"a text"], [b"", small]], STRING)
    feed = signature.feed({"words": array, "number": np.zeros(2, np.float32)})
    checked = guarded(feed, 16)
    assert checked.signature is signature
    assert checked.arrays[0].tolist() == array.tolist()
    assert checked.arrays[0].dtype == STRING
    assert checked.arrays[1] is feed.arrays[1]
    with pytest.raises(TooManyPixels):
        guarded(feed, 15)
    scalar = Signature((TensorSpec("x", STRING, ()),), (), alone="no batch axis")
    alone = guarded(scalar.feed({"x": np.array(small, STRING)}), 16)
    assert alone.arrays[0].shape == ()
    assert alone.arrays[0].item() == small
