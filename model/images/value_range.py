"""
Decide which range of pixel values to feed to a float input, from the scaling in the model itself.

Pure.  A model that computes ``scale * x + offset`` before its first layer maps the range of pixel
values that it was trained on to about -1..1, to 0..1, or to values with a mean of zero.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf, log

import numpy as np

from model.images.normalisation import Normalisation


class ValueRange(Enum):
    """The smallest and the largest pixel value that an input takes."""

    BYTES = (0.0, 255.0)
    UNIT = (0.0, 1.0)
    SIGNED = (-1.0, 1.0)

    def __str__(self) -> str:
        low, high = self.value
        return f"{low:g}..{high:g}"

    @property
    def normalisation(self) -> Normalisation:
        """The normalisation that maps 0..255 to this range."""
        low, high = self.value
        scale = (high - low) / 255
        return Normalisation(mean=(-low / scale + 0.0,) * 3, scale=(scale,) * 3)

    @property
    def options(self) -> str:
        """The command-line options that choose this range, as text."""
        numbers = self.normalisation
        return f"--input-mean {numbers.mean[0]:g} --input-std {1 / numbers.scale[0]:g}"


DEFAULT_RANGE = ValueRange.UNIT

#: Largest distance between an end of a range and that of a usual range, as a fraction of the width
#: of the usual range.
_MAX_ERROR = 0.05

#: The same for the lower end of 0..255, so that pixels with a mean subtracted do not fit.
_MAX_SHIFT = 1e-3

#: Smallest and largest mean and standard deviation of pixels, as fractions of the range's width.
_MEANS = (0.05, 0.95)
_DEVIATIONS = (0.1, 0.6)


@dataclass(frozen=True, slots=True)
class Affine:
    """The map ``scale * x + offset``, averaged over the channels."""

    scale: float = 1.0
    offset: float = 0.0

    def __str__(self) -> str:
        if self == Affine():
            return "x"
        factor = "" if self.scale == 1 else f" * {self.scale:.4g}"
        added = f" {'-' if self.offset < 0 else '+'} {abs(self.offset):.4g}"
        return f"x{factor}{added if self.offset else ''}"

    def of(self, values: ValueRange) -> tuple[float, float]:
        """Return the smallest and the largest result of this map for pixels in *values*."""
        ends = sorted(self.scale * end + self.offset for end in values.value)
        return ends[0], ends[1]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """States that the scaling of a model cannot be read from its graph."""

    reason: str  #: the end of a sentence in the log
    likely: ValueRange = DEFAULT_RANGE  #: the range to feed


def fitting_ranges(scaling: Affine) -> list[ValueRange]:
    """
    Return each `ValueRange` that *scaling* maps to a usual range: none, one or several.

    The usual ranges are those of `_gives_usual_range`.
    """
    return [values for values in ValueRange if _gives_usual_range(scaling, values)]


def choose_range(scaling: Affine | Unreadable) -> tuple[ValueRange, str]:
    """
    Return the range to feed, and a log line with the reason; for a guess, the line is a warning.

    *scaling* is the map that the model computes, or `Unreadable` with the range to guess.
    """
    if isinstance(scaling, Unreadable):
        return _guess(scaling.likely, f"how the model scales them is not clear: {scaling.reason}")
    if scaling == Affine():
        return _guess(DEFAULT_RANGE, "no scaling in front of its first layer was found")
    fitting = fitting_ranges(scaling)
    if len(fitting) == 1:
        return fitting[0], f"images are fed as {fitting[0]}: the model itself computes {scaling}"
    if fitting:
        suited = " and ".join(map(str, fitting))
        return _guess(fitting[0], f"the model itself computes {scaling}, which suits {suited}")
    return _guess(
        min(ValueRange, key=lambda values: _distance(scaling, values)),
        f"the model itself computes {scaling}, which fits none of the usual ranges",
    )


def range_warning(numbers: Normalisation, scaling: Affine | Unreadable) -> str:
    """
    Return a warning if *numbers*, the settings, do not suit the *scaling* of the model; else "".

    Also returns "" if *scaling* is `Unreadable` or the identity, or if it suits no range or more
    than one.
    """
    if isinstance(scaling, Unreadable) or scaling == Affine():
        return ""
    mean, scale = (sum(each) / len(each) for each in (numbers.mean, numbers.scale))
    fitting = fitting_ranges(scaling)
    given = Affine(scale, -mean * scale).of(ValueRange.BYTES)
    if len(fitting) != 1 or np.allclose(given, fitting[0].value, rtol=_MAX_ERROR, atol=_MAX_ERROR):
        return ""
    return (
        f"warning: images are fed as (pixel - {mean:g}) * {scale:.4g}, as your options set it, but "
        f"the model itself computes {scaling} (Rescaling or the like), which suits "
        f"{fitting[0]}: {fitting[0].options}"
    )


def _guess(values: ValueRange, reason: str) -> tuple[ValueRange, str]:
    choices = ", ".join(f"{each} by {each.options}" for each in ValueRange)
    return values, (
        f"warning: images are fed as {values}, a guess: {reason}; "
        f"if the model was trained on another range, choose it: {choices}"
    )


def _distance(scaling: Affine, values: ValueRange) -> float:
    """
    Return |log(width / 2)|, for the width of the range to which *scaling* maps *values*.

    It is 0 for the width of -1..1, and inf for a width of 0.
    """
    low, high = scaling.of(values)
    return abs(log((high - low) / 2)) if high > low else inf


def _gives_usual_range(scaling: Affine, values: ValueRange) -> bool:
    """
    Whether *scaling* maps *values* to a usual range.

    Usual ranges are -1..1, 0..1, 0..255, and a range of pixels from which their mean is subtracted.
    """
    low, high = scaling.of(values)
    for usual in ValueRange:
        usual_low, usual_high = usual.value
        size = usual_high - usual_low
        below = (_MAX_SHIFT if usual is ValueRange.BYTES else _MAX_ERROR) * size
        if abs(low - usual_low) <= below and abs(high - usual_high) <= _MAX_ERROR * size:
            return True
    # The mean of -1..1 is zero already.
    return values is not ValueRange.SIGNED and _subtracts_mean(scaling, values)


def _subtracts_mean(scaling: Affine, values: ValueRange) -> bool:
    """
    Whether *scaling* subtracts a likely mean of pixels in the range *values*.

    It may also divide by a likely standard deviation.
    """
    low, high = values.value
    size = high - low
    if scaling.scale == 0 or not _MEANS[0] <= -scaling.offset / scaling.scale / size <= _MEANS[1]:
        return False
    undivided = any(
        abs(abs(scaling.scale) * size / width - 1) < _MAX_SHIFT for width in (size, 255)
    )
    return undivided or _DEVIATIONS[0] <= 1 / abs(scaling.scale) / size <= _DEVIATIONS[1]
