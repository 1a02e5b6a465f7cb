"""State how a model is loaded: one value that all loaders take."""

from collections.abc import Callable
from dataclasses import dataclass

from model.backends.tensorflow.session import SessionOptions
from model.repository.model_toml import ModelFacts

#: Receives notes and warnings about a model while it is loaded, one line each.
OnProgress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The settings that a loader needs besides the file of the model."""

    facts: ModelFacts  #: from the settings and model.toml
    session: SessionOptions
    classes: int  #: number of labels; 0 without labels
    max_pixels: int  #: limit of pixels of an image
    on_progress: OnProgress
