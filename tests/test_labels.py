"""Labels from a file, and the labels of the best scores: model/repository/labels.py."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ModelError
from model.repository.labels import read_labels, top_k
from tests.wire_messages import GRAPH, zipped

ANIMALS = ("cat", "dog", "eel", "fox")


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"cat\r\ndog", ("cat", "dog")),
        (b"  tiger cat \nca\xc3\xb1a\n\n \n", ("tiger cat", "caña")),
        (b"\xef\xbb\xbfcat\ndog\n", ("cat", "dog")),
        ("a\u2028b\nc\x0cd\n".encode(), ("a\u2028b", "c\x0cd")),
        (b"cat\ncat\n", ("cat", "cat")),
        ("cat\ndog\n".encode("utf-16"), ("cat", "dog")),
        (b'{"dog": 1, "cat": 0}', ("cat", "dog")),
    ],
    ids=[
        *("plain", "windows", "spaces", "byte order mark", "odd separators", "twice the same"),
        *("UTF-16", "JSON"),
    ],
)
def test_labels_are_the_lines_of_the_file(
    tmp_path: Path, data: bytes, labels: tuple[str, ...]
) -> None:
    """Trimmed, with the line ends and marks of any editor; only line ends separate labels."""
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    assert read_labels(path) == labels


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no labels"),
        (b" \n\n\t\n", "holds no labels"),
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"\ncat\n", "line 1 is empty"),
        (b"cat\x0cdog\n \neel\n", "line 2 is empty"),
        (b"cat\nd\xf6g\n", "not UTF-8 text: byte 5"),
        (GRAPH, "a frozen graph, not labels: expected one label per line"),
        (zipped("config.json"), "a .keras file, not labels: expected one label per line"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer, not labels: run git lfs pull",
        ),
    ],
    ids=[
        *("empty", "blank", "a gap", "a gap at the top", "a gap after a form feed", "latin-1"),
        *("a graph", "a Keras file", "a pointer"),
    ],
)
def test_a_file_with_a_missing_label_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    """With path and line, since a shifted list would give every score a wrong label."""
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        read_labels(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A missing path, or a folder."""
    for path, reason in (
        (tmp_path / "absent.txt", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(ModelError) as caught:
            read_labels(path)
        assert str(caught.value) == f"{path}: {reason}"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int8, np.int64])
def test_the_best_scores_come_first_with_their_labels(dtype: type[np.generic]) -> None:
    """For every dtype, those of a quantised graph too."""
    scores = np.array([0, 3, 1, 120], dtype)
    best = top_k(scores, ANIMALS, 3)
    assert [(name, float(score)) for name, score in best] == [("fox", 120), ("dog", 3), ("eel", 1)]
    expected = np.float64 if dtype is np.float64 else np.float32
    assert all(score.dtype == expected for _, score in best)


@pytest.mark.parametrize(
    ("scores", "k", "names"),
    [
        ([0.5, 0.2, 0.5, 0.2], 4, ["cat", "eel", "dog", "fox"]),
        ([0.1, 0.2, 0.3, 0.4], 9, ["fox", "eel", "dog", "cat"]),
        ([0.1, 0.2, 0.3, 0.4], 0, []),
        ([-1.0, float("nan"), -2.0, float("-inf")], 4, ["cat", "eel", "fox", "dog"]),
    ],
    ids=["equal scores", "more than there are", "none", "not a number"],
)
def test_ties_keep_the_order_of_the_labels(scores: list[float], k: int, names: list[str]) -> None:
    """There are never more than the labels, and NaN comes last."""
    assert [name for name, _ in top_k(np.array(scores, np.float32), ANIMALS, k)] == names


@given(st.lists(st.integers(0, 255), min_size=1, max_size=30), st.integers(1, 40))
def test_top_k_is_what_a_stable_sort_gives(scores: list[int], k: int) -> None:
    """For scores of any bits."""
    labels = tuple(map(str, range(len(scores))))
    expected = sorted(range(len(scores)), key=lambda index: -scores[index])[:k]
    best = top_k(np.array(scores, np.uint8), labels, k)
    assert [name for name, _ in best] == [labels[index] for index in expected]
