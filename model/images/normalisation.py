"""
State how the uint8 pixels of an image become the numbers that a model takes.

Pure data.  A backend adds the computation to the graph of the model, so that queued requests hold
uint8.
"""

from dataclasses import dataclass
from enum import StrEnum


class ColourOrder(StrEnum):
    """The order of the three channels in the input of a model."""

    RGB = "rgb"
    BGR = "bgr"


@dataclass(frozen=True, slots=True)
class Normalisation:
    """The input is ``(pixel - mean) * scale``, with a mean and a scale for each channel."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  #: in *colour_order*
    scale: tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)  #: in *colour_order*
    colour_order: ColourOrder = ColourOrder.RGB
