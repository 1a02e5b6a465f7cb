"""Provide a temporary folder for files that TensorFlow reads once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from model.errors import ModelError


@contextmanager
def temporary_folder(model: Path) -> Iterator[Path]:
    """
    Provide an empty folder, which is removed at the end of the block.

    Raises `ModelError`, with a message of one line that names *model*, if no folder is writable.
    """
    try:
        folder = TemporaryDirectory(prefix="tensorferry-")
    except OSError as error:
        raise ModelError(
            f"{model}: a Keras file needs a temporary folder: {error.strerror}; "
            "set TMPDIR to a folder that can be written"
        ) from error
    with folder as name:
        yield Path(name)
