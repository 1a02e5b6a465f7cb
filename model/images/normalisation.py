"""
State what a model wants done to the numbers of an image before it sees them.

Pure data: a backend puts it into the graph, behind the uint8 images that travel.
"""

from dataclasses import dataclass
from enum import StrEnum


class ColourOrder(StrEnum):
    """In which order a model takes the three channels."""

    RGB = "rgb"
    BGR = "bgr"


@dataclass(frozen=True, slots=True)
class Normalisation:
    """The model gets ``(pixel - mean) * scale``, with a mean and a scale for each channel."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  #: in the model's own colour order
    scale: tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)  #: the same
    colour_order: ColourOrder = ColourOrder.RGB
