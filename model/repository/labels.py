"""
Read the labels of a classifier, and pick its best scores.

Pure except for reading the file.
"""

from pathlib import Path

import numpy as np

from model.errors import ModelError
from model.repository.file_formats import EMPTY, format_of
from model.repository.label_formats import UnreadableLabelsError, labels_in, text_of

#: The name of the file of labels that retraining writes beside its graph.
LABELS_FILE = "output_labels.txt"


def read_labels(path: Path) -> tuple[str, ...]:
    """
    Return the labels in the file *path*, in the order of the scores.

    `labels_in` lists the forms that the file may have.  Blank lines at the end are ignored.  Raises
    `ModelError` for a file that cannot be read, is not text, has no label, or has an empty label
    between others.
    """
    try:
        found = format_of(path)
        if found not in (None, EMPTY):
            raise ModelError(
                f"{path}: {found.what}, not labels: {found.advice or 'expected one label per line'}"
            )
        return labels_in(text_of(path.read_bytes()))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except UnreadableLabelsError as error:
        raise ModelError(f"{path}: {error}") from error


def top_k(scores: np.ndarray, labels: tuple[str, ...], k: int) -> list[tuple[str, np.floating]]:
    """
    Return the *k* highest *scores*, the highest first, each as a pair of its label and the score.

    *scores* has one score for each of *labels*.  Scores stay float64; every other dtype becomes
    float32.  Equal scores keep the order of the labels.
    """
    numbers = scores if scores.dtype == np.float64 else scores.astype(np.float32)
    best = np.argsort(-numbers, kind="stable")[:k]
    return [(labels[index], numbers[index]) for index in best]
