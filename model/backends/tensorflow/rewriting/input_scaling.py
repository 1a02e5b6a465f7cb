"""
Read from a graph how it scales its input pixels before the first operation that mixes them.

Pure, except that it calls the function that reads variables.  The walk follows the graph from the
input through operations that scale, shift, clip, resize, pad or rearrange pixels, and ends at
operations that mix pixels, such as convolutions.  Scales and offsets of several channels are
averaged: only the range matters.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model.backends.tensorflow.rewriting.flat_graph import FlatGraph, Tensor
from model.images.value_range import Affine, Unreadable, ValueRange

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

#: Returns the value of a variable by the name of its node; None if it cannot be read.
ReadVariable = Callable[[str], npt.NDArray[np.generic] | None]

#: Operations that keep the values of their first input, but may change their positions.
_KEEPS_VALUES = frozenset(
    (
        *("Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics"),
        *("PlaceholderWithDefault", "EnsureShape", "Cast", "Bitcast"),
        *("Reshape", "Squeeze", "ExpandDims", "Transpose", "Reverse", "ReverseV2", "Tile"),
        *("StridedSlice", "Slice", "Split", "Unpack", "Gather", "GatherV2", "BroadcastTo"),
        *("Pad", "PadV2", "MirrorPad", "SpaceToDepth", "SpaceToBatchND", "Round", "Rint"),
        *("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea"),
        *("ScaleAndTranslate", "CropAndResize", "Minimum", "Maximum", "ClipByValue"),
    )
)
_JOINS = frozenset({"Concat", "ConcatV2", "Pack"})
_BATCH_NORM = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
#: Operations that read only the shape of their input.
_READS_SHAPE = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "Assert"})
#: Operations that process pixels in a body that this module does not read.
_OPAQUE = frozenset(
    (
        *("While", "StatelessWhile", "If", "StatelessIf", "Case", "Switch", "Enter", "Merge"),
        *("TensorListFromTensor", "TensorArrayScatterV3", "MapDefun", "PyFunc", "EagerPyFunc"),
    )
)
_SUMS = {"Add": 1.0, "AddV2": 1.0, "BiasAdd": 1.0, "Sub": -1.0}
_QUOTIENTS = frozenset({"RealDiv", "Div", "DivNoNan"})
_ARITHMETIC_OPS = frozenset({"Mul", *_SUMS, *_QUOTIENTS, *_BATCH_NORM})


def input_scaling(
    flat: FlatGraph, start: Tensor, ends: Iterable[Tensor], read_variable: ReadVariable
) -> Affine | Unreadable:
    """
    Return how *flat* scales the values of the tensor *start* before it mixes them.

    A node is ignored unless one of the tensors *ends* depends on it.  Returns `Unreadable`, with
    the reason, if the scaling cannot be read.
    """
    sources = [flat.source(end) for end in ends]
    return _Reading(flat, read_variable).scaling(start, sources, flat.needed(sources))


@dataclass(slots=True)
class _Reading:
    """One walk through a graph."""

    flat: FlatGraph
    read_variable: ReadVariable
    found: dict[Tensor, Affine] = field(default_factory=dict)  #: the scaling so far, by tensor
    whole_numbers: bool = False  #: whether pixels are cast to integers
    reached: set[str] = field(default_factory=set)  #: nodes that depend on the pixels

    def scaling(self, start: Tensor, ends: list[Tensor], needed: set[str]) -> Affine | Unreadable:
        consumers: Mapping[Tensor, list[str]] = self.flat.consumers()
        self.reached = _dependent_nodes(consumers, start)
        self.found[start] = Affine()
        waiting, mixed = [start], dict[str, Affine]()
        joins = dict[str, None]()
        while waiting or joins:
            if not waiting:  # a join is complete when no other path to it is left
                name = next(iter(joins))
                del joins[name]
                self.found[name, 0] = self._average_scaling(name)
                waiting.append((name, 0))
            tensor = waiting.pop()
            for name in consumers.get(tensor, ()):
                node = self.flat.nodes[name]
                if name not in needed or node.op in _READS_SHAPE:
                    continue
                if node.op in _JOINS:
                    if (name, 0) not in self.found:
                        joins[name] = None
                    continue
                after = self._after(name, tensor)
                if after is None:
                    mixed[name] = self.found[tensor]
                    continue
                for output in self._output_tensors(name, consumers):
                    if output not in self.found:
                        self.found[output] = after
                        waiting.append(output)
        # A model may output its scaled pixels.
        mixed |= {f"output {end[0]}": self.found[end] for end in ends if end in self.found}
        return self._common_scaling(mixed)

    def _common_scaling(self, mixed: Mapping[str, Affine]) -> Affine | Unreadable:
        """
        Return the scaling in *mixed* if all its values are equal, else why it cannot be read.

        *mixed* has the scaling in front of each node that mixes pixels, by the node's name, and
        that of each output that is scaled pixels.
        """
        for name in mixed.keys() & self.flat.nodes.keys():
            op = self.flat.nodes[name].op
            if op in _OPAQUE or (op in _ARITHMETIC_OPS and not self._mixes(name)):
                return Unreadable(
                    f"its operation {name!r} ({op}) is not read, so the scaling cannot be found"
                )
        scalings = list(mixed.values())
        if not scalings:
            return Unreadable("no operation was found that takes the pixels")
        first = scalings[0]
        for each in scalings[1:]:
            if not np.allclose((each.scale, each.offset), (first.scale, first.offset), rtol=1e-3):
                return Unreadable(f"it scales the pixels in two ways, as {first} and as {each}")
        if first == Affine() and self.whole_numbers:
            return Unreadable("it converts them to whole numbers", ValueRange.BYTES)
        return first

    def _mixes(self, name: str) -> bool:
        """Whether each input of the node *name* depends on the pixels or is a known constant."""
        return all(
            each[0] in self.reached or self._constant(each) is not None
            for each in self.flat.inputs(name)
        )

    def _output_tensors(self, name: str, consumers: Mapping[Tensor, list[str]]) -> list[Tensor]:
        if self.flat.nodes[name].op in ("Split", "Unpack", "IdentityN"):
            return [tensor for tensor in consumers if tensor[0] == name]
        return [(name, 0)]

    def _average_scaling(self, name: str) -> Affine:
        """Return the mean of the scalings of the inputs that the node *name* joins."""
        parts = [self.found[each] for each in self.flat.inputs(name) if each in self.found]
        scale = float(np.mean([part.scale for part in parts]))
        return Affine(scale, float(np.mean([part.offset for part in parts])))

    def _after(self, name: str, tensor: Tensor) -> Affine | None:
        """
        Return the scaling after the node *name*, of which *tensor* is an input.

        Returns None if *name* mixes pixels, or scales them in a way that cannot be read.
        """
        node, inputs = self.flat.nodes[name], self.flat.inputs(name)
        before, place = self.found[tensor], inputs.index(tensor)
        if node.op == "Split":
            place -= 1  # input 0 is the axis
        if node.op in _KEEPS_VALUES:
            self.whole_numbers |= node.op == "Cast" and _gives_integers(node.definition)
            return before if place == 0 and self._is_constant_limit(node.op, inputs) else None
        if node.op == "Neg":
            return Affine(-before.scale, -before.offset)
        if node.op in _BATCH_NORM:
            return self._after_batch_norm(name, inputs, before) if place == 0 else None
        # Checked before the other input is read, which may hold all the weights of a layer.
        if node.op not in _ARITHMETIC_OPS or len(inputs) != 2 or inputs[0] == inputs[1]:
            return None
        other = self._constant(inputs[1 - place])
        if other is None or not other.size:
            return None
        return _combine(node.op, before, place, other)

    def _is_constant_limit(self, op: str, inputs: list[Tensor]) -> bool:
        """Whether *op* is neither Minimum nor Maximum, or the limit in *inputs* is constant."""
        return op not in ("Minimum", "Maximum") or self._constant(inputs[1]) is not None

    def _after_batch_norm(self, name: str, inputs: list[Tensor], before: Affine) -> Affine | None:
        values = [self._constant(each) for each in inputs[1:5]]
        attributes = self.flat.nodes[name].definition.attr
        trains = "is_training" not in attributes or attributes["is_training"].b
        if trains or any(each is None or not each.size for each in values):
            return None
        # The learned scale and offset that it applies afterwards do not depend on the pixel range.
        mean, variance = (np.asarray(each, np.float64) for each in values[2:])
        factor = 1 / np.sqrt(variance + (attributes["epsilon"].f or 1e-4))
        shifted = _combine("Sub", before, 0, mean)
        return shifted and _combine("Mul", shifted, 0, factor)

    def _constant(self, tensor: Tensor, depth: int = 0) -> npt.NDArray[np.float64] | None:
        """
        Return the value of *tensor*; None if it depends on pixels or is not easily computed.

        *depth* counts how often this function has called itself.
        """
        name, output = self.flat.source(tensor)
        if name not in self.flat.nodes or output != 0 or depth > 32 or name in self.reached:
            return None
        node = self.flat.nodes[name]
        if node.op == "Const":
            return _constant_value(node.definition)
        if node.op in ("ReadVariableOp", "VariableV2", "Variable", "VarHandleOp"):
            return self._variable(name)
        compute = _ARITHMETIC.get(node.op)
        inputs = self.flat.inputs(name) if compute is not None else []
        values = [self._constant(each, depth + 1) for each in inputs]
        known = [value for value in values if value is not None]
        if compute is None or len(known) != len(values):
            return None
        with np.errstate(all="ignore"):
            try:
                return np.asarray(compute(*known), np.float64)
            except (TypeError, ValueError):
                return None

    def _variable(self, name: str) -> npt.NDArray[np.float64] | None:
        if self.flat.nodes[name].op == "ReadVariableOp":
            name = self.flat.inputs(name)[0][0]
        value = self.read_variable(name)
        return None if value is None else np.asarray(value, np.float64)


def _dependent_nodes(consumers: Mapping[Tensor, list[str]], start: Tensor) -> set[str]:
    by_node = defaultdict[str, list[str]](list)
    for tensor, names in consumers.items():
        by_node[tensor[0]] += names
    found, waiting = {start[0]}, [start[0]]
    while waiting:
        for name in by_node[waiting.pop()]:
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def _combine(op: str, before: Affine, place: int, other: npt.NDArray[np.float64]) -> Affine | None:
    """
    Return the scaling after the operation *op*; None if the result is no scaling of the pixels.

    *op* has two inputs: number *place*, 0 or 1, has the scaling *before*, and the other is the
    constant *other*.  Also returns None if channels are scaled in opposite directions: an average
    would describe neither.
    """
    if op not in _SUMS and other.min() < 0 < other.max():
        return None
    if op in _SUMS:
        added = float(other.mean())
        if op == "Sub" and place == 1:
            return Affine(-before.scale, added - before.offset)
        return Affine(before.scale, before.offset + _SUMS[op] * added)
    if op == "Mul":
        factor = float(other.mean())
    elif op in _QUOTIENTS and place == 0 and other.all():
        factor = float((1 / other).mean())
    else:
        return None
    return Affine(before.scale * factor, before.offset * factor)


def _gives_integers(cast: "tf.NodeDef") -> bool:
    import tensorflow.compat.v1 as tf

    return bool(tf.as_dtype(cast.attr["DstT"].type).is_integer)


def _constant_value(node: object) -> npt.NDArray[np.float64] | None:
    """Return the value of a constant node; None if it holds no numbers."""
    import tensorflow.compat.v1 as tf

    array = tf.make_ndarray(node.attr["value"].tensor)  # type: ignore[attr-defined]  # a NodeDef
    return array.astype(np.float64) if array.dtype.kind in "iufV" else None


def _first_operand(value: npt.NDArray[np.float64], *_: object) -> npt.NDArray[np.float64]:
    return value


_ARITHMETIC: Mapping[str, Callable[..., npt.NDArray[np.float64]]] = {
    **dict.fromkeys(
        ("Identity", "Cast", "Reshape", "ExpandDims", "Squeeze", "Enter"), _first_operand
    ),
    **dict.fromkeys(("BroadcastTo", "StopGradient", "PlaceholderWithDefault"), _first_operand),
    "Sqrt": np.sqrt,
    "Rsqrt": lambda value: 1 / np.sqrt(value),
    "Square": np.square,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Inv": np.reciprocal,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Mul": np.multiply,
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "RealDiv": np.divide,
    "Div": np.divide,
    "Pow": np.power,
    "Pack": lambda *values: np.stack(values),
}
