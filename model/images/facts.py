"""Define the settings for images that a model's own file does not contain."""

from dataclasses import dataclass

from model.images.normalisation import ColourOrder
from model.images.preprocessing import Resample


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The table ``[preprocessing]`` of model.toml: how images become the model's input."""

    height: int | None = None  #: pixels
    width: int | None = None
    crop: float | None = None  #: the side of the centred square, as a fraction of the shorter side
    resample: Resample | None = None
    colour_order: ColourOrder | None = None
    #: for each channel, in the model's colour order: the input is (pixel - mean) * scale
    mean: tuple[float, float, float] | None = None
    scale: tuple[float, float, float] | None = None
    scaled_jpeg_decode: bool | None = None  #: as `Preprocessing.scaled_decode`

    @property
    def given_keys(self) -> tuple[str, ...]:
        """The names of the fields with a value, among height, width, mean and scale."""
        names = ("height", "width", "mean", "scale")
        return tuple(name for name in names if getattr(self, name) is not None)
