"""
Decide which axes of an input of pixels are the batch axis, the height, the width and the channels.

Pure.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from model.errors import ModelError
from model.images.facts import ImageFacts
from model.signature import Signature, TensorSpec

#: The dtype of the pixels that are fed.
UINT8 = np.dtype(np.uint8)

#: The line for the log if a layout has no size.
NEEDS_SIZE = "to post images, set --input-height and --input-width, or give the size in model.toml"

_PIXEL_TYPES = ("uint8", "float16", "bfloat16", "float32", "float64")


class ChannelAxis(Enum):
    """The position of the axis of channels in an input."""

    LAST = "channels last"
    FIRST = "channels first"
    NONE = "no axis of channels"


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """
    The axes of an input that takes images.  A size is in pixels, or None if the model accepts any.
    """

    rows: int | None  #: of a batch; None if the model takes any number
    height: int | None
    width: int | None
    channels: int  #: 1 or 3
    axis: ChannelAxis = ChannelAxis.LAST
    batched: bool = True  #: whether there is a batch axis

    @property
    def sized(self) -> bool:
        """Whether height and width are known."""
        return self.height is not None and self.width is not None

    @property
    def padded(self) -> bool:
        """
        Whether the model takes only batches of one fixed number of rows, more than 1.

        A batch of fewer rows is filled up with rows of zeros.
        """
        return self.batched and self.rows is not None and self.rows > 1

    @property
    def pixels(self) -> tuple[int | None, ...]:
        """The shape of the uint8 pixels that are fed: [rows, height, width, channels]."""
        rows = None if self.padded else self.rows
        return (rows if self.batched else 1, self.height, self.width, self.channels)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape of the model's own input, with the axes in the order of the model."""
        sizes: tuple[int | None, ...] = (self.height, self.width)
        if self.axis is ChannelAxis.LAST:
            sizes = (*sizes, self.channels)
        elif self.axis is ChannelAxis.FIRST:
            sizes = (self.channels, *sizes)
        return (self.rows, *sizes) if self.batched else sizes


def image_layout(signature: Signature, facts: ImageFacts, *, labelled: bool) -> ImageLayout | None:
    """
    Return the layout of the only input of *signature*; None if that input takes no images.

    Also returns None if *signature* does not have exactly one input.  An input without an axis of
    channels or without a batch axis looks like any other tensor: it counts as images only if
    *labelled* (the model has labels) or if *facts* state height and width.  Raises `ModelError` if
    the model and *facts* state different sizes.
    """
    if len(signature.inputs) != 1:
        return None
    (spec,) = signature.inputs
    if spec.dtype.name not in _PIXEL_TYPES:
        return None
    given = facts.height is not None and facts.width is not None
    layout = _layout(spec.shape, certain=labelled or given, given=given)
    if layout is None:
        return None
    height = _agreed(spec, "height", layout.height, facts.height)
    width = _agreed(spec, "width", layout.width, facts.width)
    return ImageLayout(layout.rows, height, width, layout.channels, layout.axis, layout.batched)


def _layout(
    shape: tuple[int | None, ...] | None, *, certain: bool, given: bool
) -> ImageLayout | None:
    fixed = bool(shape) and None not in (shape or ())
    found: ImageLayout | None = None
    match shape:
        case None if given:
            found = ImageLayout(None, None, None, 3)
        case (rows, height, width, 1 | 3 as channels):
            found = ImageLayout(rows, height, width, channels)
        case (rows, 1 | 3 as channels, height, width):
            found = ImageLayout(rows, height, width, channels, ChannelAxis.FIRST)
        case (rows, height, width, None):
            found = ImageLayout(rows, height, width, 3)
        case (height, width, 1 | 3 as channels) if certain and (fixed or given):
            found = ImageLayout(1, height, width, channels, batched=False)
        case (1 | 3 as channels, height, width) if certain and fixed:
            found = ImageLayout(1, height, width, channels, ChannelAxis.FIRST, batched=False)
        case (rows, height, width) if certain and (given or None not in (height, width)):
            found = ImageLayout(rows, height, width, 1, ChannelAxis.NONE)
    return found


def _agreed(spec: TensorSpec, name: str, fixed: int | None, given: int | None) -> int | None:
    if None not in (fixed, given) and fixed != given:
        raise ModelError(
            f"the {name} of images is given as {given}, but input {spec.name!r} is {spec}"
        )
    return fixed or given
