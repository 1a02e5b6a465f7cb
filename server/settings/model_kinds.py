"""
The kinds of values that name a model, or the files of TensorFlow Serving that describe models.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from model.errors import ModelError
from model.repository.tf_serving_config import read_batching_parameters, read_model_config
from model.repository.toml_keys import NAME_CHARACTERS, is_segment
from server.settings.kinds import TextKind
from server.settings.place_kinds import ReadableFile


@dataclass(frozen=True, slots=True)
class ModelName(TextKind):
    """The name by which requests ask for a model."""

    metavar: str = "NAME"
    expected: ClassVar[str] = f"a name of {NAME_CHARACTERS}"

    def parse(self, text: str) -> str:
        """Return *text* unchanged; raises ValueError if it has other characters."""
        if not is_segment(text):
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class ModelConfigPath(ReadableFile):
    """A model config file of TensorFlow Serving, which must be correct when its path is parsed."""

    @property
    def expected(self) -> str:
        """The words "a model config file"."""
        return "a model config file"

    def parse(self, text: str) -> Path:
        """Return the absolute path of *text*; raises OSError with what is wrong in the file."""
        # By its base class: a class with slots is made anew, and `super` does not know it.
        path = ReadableFile.parse(self, text)
        _check(read_model_config, path)
        return path


@dataclass(frozen=True, slots=True)
class BatchingParametersPath(ReadableFile):
    """A batching parameters file of TensorFlow Serving, correct when its path is parsed."""

    @property
    def expected(self) -> str:
        """The words "a batching parameters file"."""
        return "a batching parameters file"

    def parse(self, text: str) -> Path:
        """Return the absolute path of *text*; raises OSError with what is wrong in the file."""
        path = ReadableFile.parse(self, text)  # by its base class, as above
        _check(read_batching_parameters, path)
        return path


def _check(read: Callable[[Path], object], path: Path) -> None:
    try:
        read(path)
    except ModelError as error:
        raise OSError(None, str(error)) from error
