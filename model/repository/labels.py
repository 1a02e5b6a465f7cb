"""
Read the labels of a classifier and pick the best of its scores.

Pure but for reading the file.
"""

from pathlib import Path

import numpy as np

from model.errors import ModelError
from model.repository.file_formats import EMPTY, format_of
from model.repository.label_formats import UnreadableLabelsError, labels_in, text_of


def read_labels(path: Path) -> tuple[str, ...]:
    """
    Return the labels in *path*, one a line, in the order of the scores; blank lines at the end are
    none.  `labels_in` lists the other forms.

    Raises `ModelError` for a file that cannot be read, is no text, holds no label or an empty one
    between others.
    """
    try:
        found = format_of(path)
        if found not in (None, EMPTY):
            raise ModelError(
                f"{path}: {found.what}, not labels: {found.advice or 'expected a label a line'}"
            )
        return labels_in(text_of(path.read_bytes()))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except UnreadableLabelsError as error:
        raise ModelError(f"{path}: {error}") from error


def top_k(scores: np.ndarray, labels: tuple[str, ...], k: int) -> list[tuple[str, np.floating]]:
    """
    Return the *k* best of *scores* [labels] with their labels, the best first.

    Scores of whatever type become float32, or float64 where they are; equal scores keep the order
    of the labels.
    """
    numbers = scores if scores.dtype == np.float64 else scores.astype(np.float32)
    best = np.argsort(-numbers, kind="stable")[:k]
    return [(labels[index], numbers[index]) for index in best]
