"""
Say what a model takes, and check a feed against it before it enters a queue.

Pure.  A feed is one array an input, each with the batch axis first: one bad feed is refused here,
by name, so that it can never spoil the batch it would have ridden in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: The arrays of one request in the order of `Signature.inputs`, each [rows, ...].
Feed = tuple[np.ndarray, ...]

#: The shapes of a feed without the batch axis: feeds of one key may share a run.
ShapeKey = tuple[tuple[int, ...], ...]


class FeedError(ValueError):
    """A feed is not what the signature takes; the message names the input, and both shapes."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor: its name, dtype and shape with the batch axis first; None is any size."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...]

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """The shape of one row."""
        return self.shape[1:]

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype}[{sizes}]"

    def accepts(self, array: np.ndarray) -> bool:
        """Whether *array* has this dtype and fits this shape."""
        return (
            array.dtype == self.dtype
            and array.ndim == len(self.shape)
            and all(want in (None, got) for want, got in zip(self.shape, array.shape, strict=True))
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives, in a fixed order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def max_rows(self) -> int | None:
        """The batch size that the graph fixes, or None where any will do."""
        return self.inputs[0].shape[0]

    def feed(self, arrays: Mapping[str, np.ndarray]) -> Feed:
        """
        Return *arrays* in the order of the inputs, checked.

        Raises `FeedError` that names the first input which is missing, unknown, of another dtype
        or shape, or of another number of rows than the others.
        """
        names = [spec.name for spec in self.inputs]
        for name in arrays:
            if name not in names:
                raise FeedError(f"unknown input {name!r}: the model takes {', '.join(names)}")
        checked: list[np.ndarray] = []
        for spec in self.inputs:
            if spec.name not in arrays:
                raise FeedError(f"input {spec.name!r} is missing: expected {spec}")
            checked.append(self._checked(spec, arrays[spec.name], checked))
        return tuple(checked)

    def _checked(
        self, spec: TensorSpec, array: np.ndarray, before: Sequence[np.ndarray]
    ) -> np.ndarray:
        if not spec.accepts(array):
            got = TensorSpec(spec.name, array.dtype, array.shape)
            raise FeedError(f"input {spec.name!r}: expected {spec}, got {got}")
        if len(array) == 0:
            raise FeedError(f"input {spec.name!r}: expected at least 1 row, got 0")
        if before and len(array) != len(before[0]):
            raise FeedError(
                f"input {spec.name!r}: expected {len(before[0])} rows "
                f"as in {self.inputs[0].name!r}, got {len(array)}"
            )
        return array


def shape_key(feed: Feed) -> ShapeKey:
    """Return what feeds must have in common to share a run: the shapes of their rows."""
    return tuple(array.shape[1:] for array in feed)


def blank_feed(signature: Signature, rows: int) -> Feed:
    """Return a feed of *rows* zero rows; a size that the signature leaves open is 1."""
    return tuple(
        np.zeros((rows, *(1 if size is None else size for size in spec.row_shape)), spec.dtype)
        for spec in signature.inputs
    )
