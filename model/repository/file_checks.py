"""
Check the bytes of a model's file as far as that needs no engine.

Reads the disk and changes nothing.
"""

from pathlib import Path
from zipfile import ZipFile

from model.errors import ModelError
from model.repository.file_formats import (
    FROZEN_GRAPH,
    KERAS_ARCHIVE,
    format_of,
    text_format_of,
)
from model.repository.model_kind import ModelFiles, ModelKind


def check_bytes(files: ModelFiles) -> None:
    """
    Raise `ModelError` if *files* are certainly no model of their kind, or are cut short.

    Raises OSError if a file cannot be read.
    """
    if files.kind == ModelKind.FROZEN_GRAPH:
        reason = other_format(files.path)
        if reason:
            raise ModelError(f"{files.path}: {reason}")
    elif files.kind == ModelKind.KERAS and format_of(files.path) is KERAS_ARCHIVE:
        _check_archive(files.path)


def other_format(path: Path) -> str:
    """Return a phrase that names the format of *path*; empty if it is unknown, or a graph."""
    found = format_of(path) or text_format_of(path)
    return f"{found.what}, not a frozen graph" if found and found is not FROZEN_GRAPH else ""


def _check_archive(path: Path) -> None:
    try:
        with ZipFile(path) as archive:
            archive.getinfo("config.json")
    except OSError:
        raise
    except Exception as error:  # zipfile documents no list of errors for broken archives
        raise ModelError(f"{path}: not a Keras file, or cut short ({error})") from error
