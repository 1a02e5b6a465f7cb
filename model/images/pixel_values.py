"""
Choose how the pixels of an image become the numbers that an input takes.

Pure, except that the reasons are reported to a function.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from model.errors import ModelError
from model.images.facts import ImageFacts
from model.images.layout import UINT8, ImageLayout
from model.images.normalisation import ColourOrder, Normalisation
from model.images.value_range import Affine, Unreadable, choose_range, range_warning


def choose_normalisation(
    facts: ImageFacts,
    layout: ImageLayout,
    dtype: np.dtype,
    scaling: Callable[[], Affine | Unreadable],
    on_progress: Callable[[str], object],
) -> Normalisation:
    """
    Return how pixels are normalised.

    *scaling* returns how the model itself scales its input.  If *facts* state neither mean nor
    scale, both are chosen to suit the model, and *on_progress* gets a line with the scaling and the
    range of the values that the model gets.  If they state at least one, the other keeps the
    default of `Normalisation`, and *on_progress* gets a warning only if the numbers do not suit the
    model.  *dtype* is that of the input: for uint8, mean and scale are ignored, the colour order
    still applies, and *on_progress* is not called.  Raises `ModelError` if mean or scale differ by
    channel for grey images.
    """
    order = facts.colour_order or ColourOrder.RGB
    plain = Normalisation(colour_order=order)
    if dtype == UINT8:
        return plain
    if facts.mean is None and facts.scale is None:
        values, line = choose_range(scaling())
        on_progress(line)
        return replace(values.normalisation, colour_order=order)
    numbers = replace(plain, mean=facts.mean or plain.mean, scale=facts.scale or plain.scale)
    if layout.channels == 1 and max(len(set(numbers.mean)), len(set(numbers.scale))) > 1:
        raise ModelError("mean and scale differ by channel, but the model's images have only one")
    warning = range_warning(numbers, scaling())
    if warning:
        on_progress(warning)
    return numbers
