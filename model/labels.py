"""
Read the labels of a classifier and pick the best of its scores.

Pure but for reading the file.
"""

from pathlib import Path

import numpy as np

from model.runner import ModelError


def read_labels(path: Path) -> tuple[str, ...]:
    """
    Return the labels in *path*, one a line, in the order of the scores; blank lines at the end are
    none.

    Raises `ModelError` for a file that cannot be read, is not UTF-8, holds no label or an empty one
    between others.
    """
    try:
        # Some editors begin a file with a mark, and a label may hold what splitlines() splits at.
        text = path.read_text("utf-8-sig").rstrip()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text: byte {error.start}") from error
    if not text:
        raise ModelError(f"{path}: holds no labels")
    labels = tuple(line.strip() for line in text.split("\n"))
    if "" in labels:
        raise ModelError(f"{path}: line {labels.index('') + 1} is empty")
    return labels


def top_k(scores: np.ndarray, labels: tuple[str, ...], k: int) -> list[tuple[str, np.floating]]:
    """
    Return the *k* best of *scores* [labels] with their labels, the best first.

    Scores of whatever type become float32, or float64 where they are; equal scores keep the order
    of the labels.
    """
    numbers = scores if scores.dtype == np.float64 else scores.astype(np.float32)
    best = np.argsort(-numbers, kind="stable")[:k]
    return [(labels[index], numbers[index]) for index in best]
