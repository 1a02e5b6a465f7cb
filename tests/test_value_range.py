"""The range of pixel values of a model: model/images/value_range.py."""

import numpy as np
import pytest

from model.images.normalisation import Normalisation
from model.images.value_range import (
    Affine,
    Unreadable,
    ValueRange,
    choose_range,
    fitting_ranges,
    range_warning,
)

BYTES, UNIT, SIGNED = ValueRange.BYTES, ValueRange.UNIT, ValueRange.SIGNED


@pytest.mark.parametrize("values", ValueRange)
def test_the_normalisation_maps_bytes_to_the_range(values: ValueRange) -> None:
    """0 becomes the lower end, 255 the upper end."""
    numbers = values.normalisation
    ends = [(pixel - numbers.mean[0]) * numbers.scale[0] for pixel in (0, 255)]
    np.testing.assert_allclose(ends, values.value, atol=1e-6)


@pytest.mark.parametrize(
    ("scale", "offset", "ranges"),
    [
        (1 / 255, 0, [BYTES]),
        (1 / 256, 0, [BYTES]),
        (1 / 127.5, -1, [BYTES]),
        (1 / 128, -1, [BYTES]),
        (-1 / 127.5, 1, [BYTES]),
        (1, -120, [BYTES]),
        (1 / 58, -2, [BYTES]),
        (2, -1, [UNIT]),
        (1, -0.5, [UNIT]),
        (255, 0, [UNIT]),
        (255, -120, [UNIT]),
        (4.4, -2, [UNIT]),
        (0.5, 0.5, [SIGNED]),
        (127.5, 127.5, [SIGNED]),
        (127.5, 0, []),
        (3.246, -0.4242, [UNIT]),
        (1 / 78.6, -33.3 / 78.6, [BYTES]),
        (4.425, 0, []),
        (0.5, 0, []),
        (1, 0, [BYTES, UNIT, SIGNED]),
        (1 / 127.5, 0, []),
        (1000, 7, []),
    ],
)
def test_a_range_fits_if_the_model_maps_it_to_a_usual_one(
    scale: float, offset: float, ranges: list[ValueRange]
) -> None:
    """-1..1, 0..1, 0..255, or a mean of zero."""
    assert fitting_ranges(Affine(scale, offset)) == ranges


@pytest.mark.parametrize(
    ("scaling", "values", "line"),
    [
        (Affine(2, -1), UNIT, "images are fed as 0..1: the model itself computes x * 2 - 1"),
        (Affine(), UNIT, "warning: images are fed as 0..1, a guess: no scaling in front"),
        (Affine(1 / 127.5), BYTES, "warning: images are fed as 0..255, a guess: the model itself"),
        (Affine(0, 3), BYTES, "warning: images are fed as 0..255, a guess: the model itself"),
        (Unreadable("why"), UNIT, "warning: images are fed as 0..1, a guess: how the model scales"),
        (Unreadable("why", BYTES), BYTES, "warning: images are fed as 0..255, a guess: how the"),
        (Affine(0.02), BYTES, "warning: images are fed as 0..255, a guess: the model itself"),
    ],
)
def test_a_guess_is_a_warning_with_the_options(
    scaling: Affine | Unreadable, values: ValueRange, line: str
) -> None:
    """It lists the options for every range."""
    chosen, message = choose_range(scaling)
    assert (chosen, message[: len(line)]) == (values, line)
    assert all(each.options in message for each in ValueRange) == message.startswith("warning")


@pytest.mark.parametrize(
    ("numbers", "scaling", "warned"),
    [
        (Normalisation(), Affine(1 / 255), True),
        (BYTES.normalisation, Affine(1 / 255), False),
        (SIGNED.normalisation, Affine(2, -1), True),
        (SIGNED.normalisation, Affine(), False),
        (Normalisation((1.0,) * 3, (7.0,) * 3), Affine(1 / 127.5), False),
        (Normalisation(), Unreadable("why"), False),
    ],
)
def test_a_warning_is_given_only_where_another_range_fits(
    numbers: Normalisation, scaling: Affine | Unreadable, warned: bool
) -> None:
    """The range of a model that does not scale is unknown, so no warning is given."""
    assert bool(range_warning(numbers, scaling)) == warned
