"""
Keep one long-lived Session for a graph and run batches through it.

Loading and running belong to model threads; `run` may be called from several at once.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batcher.errors import OutOfMemory
from model.backends.tensorflow.device import Device
from model.backends.tensorflow.frozen_graph import FrozenGraphOptions, ServingGraph, serving_graph
from model.backends.tensorflow.reasons import one_line
from model.cores import usable_cores
from model.runner import ModelError
from model.signature import Feed, Signature, TensorSpec, blank_feed

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How the Session may use the machine."""

    device: Device
    lanes: int  #: model threads that call `run` at the same time
    gpu_memory_limit: int | None = None  #: bytes; None lets the memory grow as needed


class SessionRunner:
    """A `model.runner.Runner`: a Session and its one callable."""

    def __init__(self, serving: ServingGraph, options: SessionOptions, *, fingerprint: str) -> None:
        import tensorflow.compat.v1 as tf

        self._session = tf.Session(graph=serving.graph, config=session_config(options))
        # Parsing feeds and fetches costs more than a hand-over; the callable does it once.
        self._callable = self._session.make_callable([serving.scores], [serving.images])
        self._out_of_memory = tf.errors.ResourceExhaustedError
        self.signature = Signature((_spec(serving.images),), (_spec(serving.scores),))
        self.fingerprint = fingerprint
        self.device = options.device.description

    def run(self, feed: Feed) -> Feed:
        """Run the batch in one `Session.run`; raises `OutOfMemory` or TensorFlow's own errors."""
        try:
            return tuple(self._callable(*feed))
        except self._out_of_memory as error:
            raise OutOfMemory(len(feed[0])) from error

    def close(self) -> None:
        """Close the Session."""
        self._session.close()


def session_config(options: SessionOptions) -> "tf.ConfigProto":
    """
    Return the Session's settings.

    On a CPU a lane runs its operations on one thread each, and the pool between operations has a
    thread for every lane: with one thread for all of them, the lanes would wait for each other.
    """
    import tensorflow.compat.v1 as tf

    config = tf.ConfigProto(allow_soft_placement=True)
    if options.device.kind == "cpu":
        config.device_count["GPU"] = 0
        config.intra_op_parallelism_threads = max(1, usable_cores() // options.lanes)
        config.inter_op_parallelism_threads = options.lanes
        return config
    config.gpu_options.allow_growth = True
    # Or TensorFlow takes memory on every GPU, while the lanes use the first.
    config.gpu_options.visible_device_list = "0"
    if options.gpu_memory_limit is not None:
        device = config.gpu_options.experimental.virtual_devices.add()
        device.memory_limit_mb.append(options.gpu_memory_limit / 2**20)
    return config


def load_frozen_graph(
    path: Path, graph_options: FrozenGraphOptions, options: SessionOptions, *, classes: int
) -> SessionRunner:
    """
    Load *path* and run one blank row, so that a graph that cannot run fails here.

    Raises `ModelError`, in one line, also where the scores of a row are not one for each of
    *classes* labels.
    """
    import tensorflow.compat.v1 as tf

    serving = serving_graph(path, graph_options)
    fingerprint = _fingerprint(path, graph_options, options)
    runner = SessionRunner(serving, options, fingerprint=fingerprint)
    rows = runner.signature.max_rows or 1
    try:
        (scores,) = runner.run(blank_feed(runner.signature, rows))
    except (tf.errors.OpError, OutOfMemory) as error:
        runner.close()
        raise ModelError(f"{path}: a run of one row failed: {one_line(error)}") from error
    if scores.shape != (rows, classes):
        runner.close()
        raise ModelError(
            f"{path}: {graph_options.output_layer!r} gives {list(scores.shape)} for {rows} row, "
            f"but the labels are {classes}: expected [{rows}, {classes}]"
        )
    return runner


def _spec(tensor: "tf.Tensor") -> TensorSpec:
    shape = tuple(tensor.shape.as_list()) if tensor.shape.rank is not None else (None, None)
    return TensorSpec(tensor.op.name, np.dtype(tensor.dtype.as_numpy_dtype), shape)


def _fingerprint(path: Path, graph_options: FrozenGraphOptions, options: SessionOptions) -> str:
    import tensorflow.compat.v1 as tf

    facts = hashlib.sha256(path.read_bytes())
    facts.update(repr((graph_options, options, tf.__version__)).encode())
    return facts.hexdigest()
