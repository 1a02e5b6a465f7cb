"""
Build the frozen graph of EfficientNet-Lite0 from its trained weights.

Defines the network in one table, checks that the weights belong to it, and
folds each batch norm into the convolution before it, so that the graph has
convolutions and biases instead.  All of that is numpy; only the function that
writes the graph imports TensorFlow.

The weights have PyTorch's names and layout: a convolution is (outputs, inputs,
height, width), a depthwise one (channels, 1, height, width).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

Weights = Mapping[str, npt.NDArray[np.generic]]
Float32Array = npt.NDArray[np.float32]

INPUT_NAME = "input"  #: uint8 [None, 224, 224, 3], RGB
BOTTLENECK_NAME = "bottleneck"  #: float32 [None, 1280], the input of a retrained head
OUTPUT_NAME = "final_result"  #: float32 [None, 1000], sums to 1 along the last axis
IMAGE_SIZE = 224  #: width and height, pixels
FEATURES = 1280
CLASSES = 1000

_PIXEL_MEAN, _PIXEL_SCALE = 127.0, 128.0
_NORM_EPSILON = 1e-3
_NORM_PARAMETERS = ("weight", "bias", "running_mean", "running_var")


class WeightsError(ValueError):
    """The weights do not belong to the network."""

    def __init__(self, key: str, expected: str, got: str) -> None:
        super().__init__(f"weight {key}: expected {expected}, got {got}")
        self.key = key
        self.expected = expected
        self.got = got


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one kind, one after the other; only the first changes the size and the channels."""

    repeats: int
    kernel: int  #: width and height of the depthwise kernel, pixels
    stride: int
    expand: int  #: factor by which a block widens its input
    inputs: int  #: channels
    outputs: int


STAGES = (
    Stage(1, 3, 1, 1, 32, 16),
    Stage(2, 3, 2, 6, 16, 24),
    Stage(2, 5, 2, 6, 24, 40),
    Stage(3, 3, 2, 6, 40, 80),
    Stage(3, 5, 1, 6, 80, 112),
    Stage(4, 5, 2, 6, 112, 192),
    Stage(1, 3, 1, 6, 192, 320),
)


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution and the batch norm after it."""

    name: str  #: in the graph
    key: str  #: of its weights
    norm_key: str  #: of its batch norm's weights
    kernel: int  #: width and height, pixels
    stride: int
    inputs: int  #: channels
    outputs: int
    depthwise: bool = False
    relu6: bool = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight by its key."""
        inputs = 1 if self.depthwise else self.inputs
        shapes: dict[str, tuple[int, ...]] = {
            f"{self.key}.weight": (self.outputs, inputs, self.kernel, self.kernel)
        }
        for parameter in _NORM_PARAMETERS:
            shapes[f"{self.norm_key}.{parameter}"] = (self.outputs,)
        return shapes


@dataclass(frozen=True, slots=True)
class Block:
    """Convolutions, one after the other; if `residual`, the block adds its input to its result."""

    convolutions: tuple[Convolution, ...]
    residual: bool


def _blocks() -> Iterator[Block]:
    """Yield all blocks of the network: the stem, those of `STAGES`, the head."""
    yield Block((Convolution("stem", "_conv_stem", "_bn0", 3, 2, 3, 32),), residual=False)
    index = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            inputs, stride = (stage.inputs, stage.stride) if repeat == 0 else (stage.outputs, 1)
            yield _block(index, stage, inputs, stride)
            index += 1
    head = Convolution("head", "_conv_head", "_bn1", 1, 1, STAGES[-1].outputs, FEATURES)
    yield Block((head,), residual=False)


def _block(index: int, stage: Stage, inputs: int, stride: int) -> Block:
    """
    Return block number *index* of the network, an inverted residual block of the kind *stage*.

    It widens its *inputs* channels, filters each channel, and narrows them.
    """
    name, key = f"block_{index}", f"_blocks.{index}"
    wide = inputs * stage.expand
    expand = Convolution(f"{name}/expand", f"{key}._expand_conv", f"{key}._bn0", 1, 1, inputs, wide)
    depthwise = Convolution(
        f"{name}/depthwise",
        f"{key}._depthwise_conv",
        f"{key}._bn1",
        stage.kernel,
        stride,
        wide,
        wide,
        depthwise=True,
    )
    project = Convolution(
        f"{name}/project",
        f"{key}._project_conv",
        f"{key}._bn2",
        1,
        1,
        wide,
        stage.outputs,
        relu6=False,
    )
    convolutions = (expand, depthwise, project) if stage.expand > 1 else (depthwise, project)
    return Block(convolutions, residual=stride == 1 and inputs == stage.outputs)


BLOCKS = tuple(_blocks())


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight that the network needs, by its key."""
    shapes: dict[str, tuple[int, ...]] = {
        "_fc.weight": (CLASSES, FEATURES),
        "_fc.bias": (CLASSES,),
    }
    for block in BLOCKS:
        for convolution in block.convolutions:
            shapes |= convolution.shapes()
    return shapes


def check_weights(weights: Weights) -> None:
    """
    Raise WeightsError at the first weight that is missing, unknown or of another shape.

    ``*.num_batches_tracked``, a counter of training batches, is allowed and not used.
    """
    shapes = expected_shapes()
    for key, shape in shapes.items():
        if key not in weights:
            raise WeightsError(key, f"floats of shape {shape}", "nothing")
        array = weights[key]
        if array.shape != shape or array.dtype.kind != "f":
            raise WeightsError(
                key, f"floats of shape {shape}", f"{array.dtype} of shape {array.shape}"
            )
    for key, array in weights.items():
        if key not in shapes and not key.endswith(".num_batches_tracked"):
            raise WeightsError(key, "nothing", f"{array.dtype} of shape {array.shape}")


def fold_norm(convolution: Convolution, weights: Weights) -> tuple[Float32Array, Float32Array]:
    """
    Return the kernel and the bias that replace convolution and batch norm.

    The kernel has TensorFlow's layout: (height, width, inputs, outputs), a
    depthwise one (height, width, channels, 1).  It is computed in float64 and
    rounded once, to float32.
    """
    kernel = weights[f"{convolution.key}.weight"].astype(np.float64)
    gamma, beta, mean, variance = (
        weights[f"{convolution.norm_key}.{parameter}"].astype(np.float64)
        for parameter in _NORM_PARAMETERS
    )
    scale = gamma / np.sqrt(variance + _NORM_EPSILON)
    scaled = kernel * scale[:, None, None, None]
    axes = (2, 3, 0, 1) if convolution.depthwise else (2, 3, 1, 0)
    return scaled.transpose(axes).astype(np.float32), (beta - mean * scale).astype(np.float32)


def build_frozen_graph(weights: Weights) -> bytes:
    """
    Return the network as a serialised frozen GraphDef, the same bytes for the same weights.

    ``input:0`` takes uint8 RGB [None, 224, 224, 3] and normalises it,
    ``bottleneck:0`` is float32 [None, 1280], ``final_result:0`` is float32
    [None, 1000], probabilities.  Raises WeightsError.  Takes seconds, most of
    them for the import of TensorFlow; may run on any thread, since it uses neither
    a Session nor the default graph.
    """
    check_weights(weights)
    import tensorflow.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        shape = [None, IMAGE_SIZE, IMAGE_SIZE, 3]
        image = tf.placeholder(tf.uint8, shape, name=INPUT_NAME)
        with tf.name_scope("normalise"):
            tensor = (tf.cast(image, tf.float32) - _PIXEL_MEAN) / _PIXEL_SCALE
        for block in BLOCKS:
            tensor = _add_block(tensor, block, weights)
        features = tf.reduce_mean(tensor, axis=[1, 2], name=BOTTLENECK_NAME)
        with tf.name_scope("classifier"):
            kernel = tf.constant(weights["_fc.weight"].T.astype(np.float32))
            bias = tf.constant(weights["_fc.bias"].astype(np.float32))
            logits = tf.nn.bias_add(tf.matmul(features, kernel), bias)
        tf.nn.softmax(logits, name=OUTPUT_NAME)
    data: bytes = graph.as_graph_def().SerializeToString(deterministic=True)
    return data


def _add_block(tensor: "tf.Tensor", block: Block, weights: Weights) -> "tf.Tensor":
    shortcut = tensor
    for convolution in block.convolutions:
        tensor = _add_convolution(tensor, convolution, weights)
    return tensor + shortcut if block.residual else tensor


def _add_convolution(
    tensor: "tf.Tensor", convolution: Convolution, weights: Weights
) -> "tf.Tensor":
    import tensorflow.compat.v1 as tf

    kernel, bias = fold_norm(convolution, weights)
    strides = [1, convolution.stride, convolution.stride, 1]
    convolve = tf.nn.depthwise_conv2d if convolution.depthwise else tf.nn.conv2d
    with tf.name_scope(convolution.name):
        tensor = convolve(tensor, tf.constant(kernel), strides=strides, padding="SAME")
        tensor = tf.nn.bias_add(tensor, tf.constant(bias))
        return tf.nn.relu6(tensor) if convolution.relu6 else tensor
