"""
State the inputs and outputs of a model, and check a feed against them before it is queued.

Pure.  A feed has one array for each input; where feeds may share a run, each array has the batch
axis first.  A feed that does not fit is refused here, so that it cannot make a batch fail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batcher.error_kind import ErrorKind, RequestError

if TYPE_CHECKING:
    from model.backend import LoadedModel

#: The arrays of one request or of one batch, in the order of a signature's inputs or outputs.
Arrays = tuple[np.ndarray, ...]

#: The dtype of string tensors in numpy: an array of bytes objects.
STRING = np.dtype(object)


class FeedError(RequestError, ValueError):
    """A feed does not fit the signature; the message names the input and states what it expects."""

    kind = ErrorKind.INVALID


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor: its name, dtype (`STRING` for strings) and shape."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None
    """
    The size of each axis; the batch axis, if there is one, is first.  None as a size accepts any
    size, and None as the shape accepts any shape.
    """

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """The shape of one row."""
        return (self.shape or ())[1:]

    @property
    def type_name(self) -> str:
        """The usual name of the dtype."""
        return "string" if self.dtype == STRING else str(self.dtype)

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.type_name} of any shape"
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.type_name}[{sizes}]"

    def accepts(self, array: np.ndarray) -> bool:
        """Whether *array* has this dtype and fits this shape."""
        return array.dtype == self.dtype and (
            self.shape is None
            or (
                array.ndim == len(self.shape)
                and all(
                    want in (None, got) for want, got in zip(self.shape, array.shape, strict=True)
                )
            )
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a model, in a fixed order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    name: str = "serving_default"
    alone: str = ""  #: the reason why feeds cannot share a run; empty if they can
    max_rows: int | None = None  #: the most rows of a run; None if the model sets no limit

    @property
    def batched(self) -> bool:
        """Whether feeds may share a run: every tensor has a batch axis of any size first."""
        return not self.alone

    def feed(self, arrays: Mapping[str, np.ndarray]) -> "Feed":
        """
        Check *arrays*, which maps the name of each input to its array; return them as a feed.

        An array of shape [n] becomes [n, 1] for an input of shape [?, 1].  Raises `FeedError` for
        an unknown input; else for the first input that is missing or has a wrong dtype or shape.
        If the signature is batched, also for an input without rows, and for an input whose number
        of rows differs from that of the first input.
        """
        names = [spec.name for spec in self.inputs]
        for name in arrays:
            if name not in names:
                raise FeedError(f"unknown input {name[:80]!r}: the model takes {', '.join(names)}")
        checked: list[np.ndarray] = []
        for spec in self.inputs:
            if spec.name not in arrays:
                raise FeedError(f"input {spec.name!r} is missing: expected {spec}")
            array = arrays[spec.name]
            if array.ndim == 1 and spec.shape == (None, 1):
                array = array[:, np.newaxis]
            checked.append(self._checked(spec, array, checked))
        return Feed(self, tuple(checked))

    def _checked(
        self, spec: TensorSpec, array: np.ndarray, before: Sequence[np.ndarray]
    ) -> np.ndarray:
        if not spec.accepts(array):
            got = TensorSpec(spec.name, array.dtype, array.shape)
            raise FeedError(f"input {spec.name!r}: expected {spec}, got {got}")
        if not self.batched:
            return array
        if len(array) == 0:
            raise FeedError(f"input {spec.name!r}: expected at least 1 row, got 0")
        if before and len(array) != len(before[0]):
            raise FeedError(
                f"input {spec.name!r}: expected {len(before[0])} rows "
                f"as in {self.inputs[0].name!r}, got {len(array)}"
            )
        return array


def reason_to_run_alone(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str:
    """Return the reason why feeds with these tensors cannot share a run; "" if they can."""
    if not inputs:
        return "it has no inputs"
    for spec in inputs:
        if not spec.shape or spec.shape[0] is not None:
            return f"input {spec.name!r} is {spec}: its first axis is not of variable size"
    for spec in outputs:
        if spec.shape is not None and (not spec.shape or spec.shape[0] is not None):
            return f"output {spec.name!r} is {spec}: expected one output row for each input row"
    return ""


class RunKey(NamedTuple):
    """
    A model, the name of one of its signatures, and the shape of one row of each input.

    Two feeds share a run, and the memory in which a lane gathers its rows, only if their keys are
    equal.  Two models, or two versions of one, may have signatures of equal names but other dtypes.
    """

    model: "LoadedModel | None"  #: compared by identity
    signature: str
    shapes: tuple[tuple[int, ...], ...]


@dataclass(slots=True, eq=False)
class Feed:
    """The arrays of a request or of a batch, checked against a signature."""

    signature: Signature
    arrays: Arrays
    model: "LoadedModel | None" = None  #: the model that runs it; a queued feed always names it

    @property
    def rows(self) -> int:
        """The number of rows; 1 if the feed can only run alone."""
        return len(self.arrays[0]) if self.signature.batched else 1

    @property
    def key(self) -> RunKey:
        """The key of the queue for this feed."""
        first = 1 if self.signature.batched else 0
        shapes = tuple([array.shape[first:] for array in self.arrays])
        return RunKey(self.model, self.signature.name, shapes)

    @property
    def row_bytes(self) -> int:
        """The bytes of one row of all inputs; a string counts as one reference, 8 bytes."""
        return sum(array.nbytes for array in self.arrays) // self.rows

    @property
    def string_bytes(self) -> int:
        """The bytes of all strings, which `row_bytes` does not count."""
        return sum(sum(map(len, it.flat)) for it in self.arrays if it.dtype == STRING)

    def repeated(self, rows: int) -> "Feed":
        """Return a feed of *rows* copies of the first row."""
        arrays = tuple(np.repeat(array[:1], rows, axis=0) for array in self.arrays)
        return Feed(self.signature, arrays, self.model)


def blank_feed(signature: Signature, string: bytes = b"") -> Feed:
    """Return a feed of one row: zeros, or *string* in tensors of strings; open sizes become 1."""
    arrays: list[np.ndarray] = []
    for spec in signature.inputs:
        shape = tuple(1 if size is None else size for size in spec.shape or ())
        arrays.append(np.empty(shape, spec.dtype))
        # Not np.full: it removes zero bytes from the end of a string.
        arrays[-1].fill(string if spec.dtype == STRING else 0)
    return Feed(signature, tuple(arrays))
