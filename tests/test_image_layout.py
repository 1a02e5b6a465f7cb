"""The axes of an input of images: model/images/layout.py."""

import numpy as np
import pytest

from model.errors import ModelError
from model.images.facts import ImageFacts
from model.images.layout import ChannelAxis, ImageLayout, image_layout
from model.signature import STRING, Signature, TensorSpec

Shape = tuple[int | None, ...] | None
FIRST, NONE = ChannelAxis.FIRST, ChannelAxis.NONE
NOTHING, SIZE = ImageFacts(), ImageFacts(height=4, width=5)


def signature(dtype: object, *shapes: Shape) -> Signature:
    """Return a signature with an input of each shape."""
    kind = np.dtype(dtype)  # type: ignore[call-overload]  # a table's
    inputs = tuple(TensorSpec(f"x{at}", kind, shape) for at, shape in enumerate(shapes))
    return Signature(inputs, ())


@pytest.mark.parametrize(
    ("shape", "facts", "labelled", "layout"),
    [
        ((None, 4, 5, 3), NOTHING, False, ImageLayout(None, 4, 5, 3)),
        ((None, 4, 5, 3), SIZE, False, ImageLayout(None, 4, 5, 3)),
        ((1, 4, 5, None), NOTHING, False, ImageLayout(1, 4, 5, 3)),
        ((None, None, None, None), ImageFacts(height=4), False, ImageLayout(None, 4, None, 3)),
        ((8, 4, 5, 3), NOTHING, False, ImageLayout(8, 4, 5, 3)),
        ((None, 28, 28, 1), NOTHING, False, ImageLayout(None, 28, 28, 1)),
        ((None, 3, 4, 5), NOTHING, False, ImageLayout(None, 4, 5, 3, FIRST)),
        ((None, 1, 4, 5), NOTHING, False, ImageLayout(None, 4, 5, 1, FIRST)),
        ((None, 3, None, None), SIZE, False, ImageLayout(None, 4, 5, 3, FIRST)),
        ((None, 3, 3, 3), NOTHING, False, ImageLayout(None, 3, 3, 3)),
        ((None, 28, 28), NOTHING, True, ImageLayout(None, 28, 28, 1, NONE)),
        ((None, 4, 5), SIZE, False, ImageLayout(None, 4, 5, 1, NONE)),
        ((None, 28, 28), NOTHING, False, None),
        ((None, None, 28), NOTHING, True, None),
        ((4, 5, 3), NOTHING, True, ImageLayout(1, 4, 5, 3, batched=False)),
        ((4, 5, 3), NOTHING, False, None),
        ((None, None, 3), SIZE, False, ImageLayout(1, 4, 5, 3, batched=False)),
        ((None, None, 3), NOTHING, True, None),
        ((3, 4, 5), SIZE, False, ImageLayout(1, 4, 5, 3, FIRST, batched=False)),
        (None, SIZE, False, ImageLayout(None, 4, 5, 3)),
        (None, ImageFacts(height=4), True, None),
        ((None, 4), SIZE, True, None),
        ((None, 4, 5, 4), NOTHING, True, None),
        ((), NOTHING, True, None),
    ],
)
def test_the_shape_decides_the_axis_of_channels(
    shape: Shape, facts: ImageFacts, labelled: bool, layout: ImageLayout | None
) -> None:
    """A shape that any tensor may have is an image only with labels or a size."""
    assert image_layout(signature("float32", shape), facts, labelled=labelled) == layout


@pytest.mark.parametrize(
    ("dtype", "shapes"),
    [
        ("int32", [(None, 4, 5, 3)]),
        (STRING, [(None, 4, 5, 3)]),
        ("uint8", []),
        ("uint8", [(None, 4, 5, 3), (None, 4, 5, 3)]),
    ],
)
def test_images_are_the_only_input_of_bytes_or_floats(dtype: object, shapes: list[Shape]) -> None:
    """No second input, and no other dtype."""
    assert image_layout(signature(dtype, *shapes), SIZE, labelled=True) is None


@pytest.mark.parametrize(
    ("layout", "pixels", "shape"),
    [
        (ImageLayout(None, 4, 5, 3), (None, 4, 5, 3), (None, 4, 5, 3)),
        (ImageLayout(1, 4, 5, 3), (1, 4, 5, 3), (1, 4, 5, 3)),
        (ImageLayout(8, 4, 5, 1, FIRST), (None, 4, 5, 1), (8, 1, 4, 5)),
        (ImageLayout(None, 4, 5, 1, NONE), (None, 4, 5, 1), (None, 4, 5)),
        (ImageLayout(1, 4, 5, 3, batched=False), (1, 4, 5, 3), (4, 5, 3)),
    ],
)
def test_images_are_fed_with_the_batch_first_and_the_channels_last(
    layout: ImageLayout, pixels: Shape, shape: Shape
) -> None:
    """For every order of the input; a fixed batch of several rows takes any number up to it."""
    assert (layout.pixels, layout.shape) == (pixels, shape)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (ImageFacts(height=8), "the height of images is given as 8, but input 'x0' is uint8"),
        (ImageFacts(height=4, width=8), "the width of images is given as 8, but input 'x0'"),
    ],
)
def test_a_size_that_contradicts_the_model_is_refused(facts: ImageFacts, message: str) -> None:
    """No image could be fed."""
    with pytest.raises(ModelError, match=message):
        image_layout(signature("uint8", (None, 4, 5, 3)), facts, labelled=False)
