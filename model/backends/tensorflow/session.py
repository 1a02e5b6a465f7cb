"""
Run batches in one long-lived Session.

Loading and running happen on model threads; several may call `run` at the same time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batcher.errors import OutOfMemory
from model.backend import Device, LoadOptions
from model.backends.tensorflow.error_text import one_line
from model.errors import RowsRefused
from model.execution.cores import usable_cores
from model.images.input import ImageInput
from model.signature import STRING, Arrays, Feed, Signature, TensorSpec

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How the Session may use the machine; the fields are those of `LoadOptions`."""

    device: Device
    lanes: int
    gpu_memory_limit: int | None = None

    @classmethod
    def of(cls, options: LoadOptions) -> "SessionOptions":
        """Return the part of *options* that concerns the Session."""
        return cls(options.device, options.lanes, options.gpu_memory_limit)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A signature and its tensors in the graph, in the same order."""

    signature: Signature
    feeds: tuple["tf.Tensor", ...]
    fetches: tuple["tf.Tensor", ...]


@dataclass(frozen=True, slots=True)
class LoadedGraph:
    """A Session that is ready to run, and its endpoints."""

    session: "tf.Session"
    endpoints: Sequence[Endpoint]  #: the default one first
    image_input: ImageInput | None = None  #: for the signature of one endpoint
    decodes: bool = False  #: whether any endpoint decodes images
    has_side_effects: bool = False  #: whether a run may read or write files, or call Python
    decoder: "tf.Session | None" = None  #: a second Session that decodes images

    def close(self) -> None:
        """Close the Session, and the second one that decodes images, if there is one."""
        for session in filter(None, (self.session, self.decoder)):
            session.close()
            _dismantle(session.graph)


class SessionRunner:
    """A `model.backend.Runner`: a Session with a callable for each of its endpoints."""

    def __init__(self, graph: LoadedGraph, device: Device, *, fingerprint: str) -> None:
        import tensorflow.compat.v1 as tf

        self._graph = graph
        # A callable parses feeds and fetches once; parsing costs more than a change of thread.
        self._callables: dict[str, Callable[..., list[np.ndarray]]] = {
            endpoint.signature.name: graph.session.make_callable(
                list(endpoint.fetches), list(endpoint.feeds)
            )
            for endpoint in graph.endpoints
        }
        self._errors = tf.errors
        #: Raised for strings such as the path of a missing file, or broken records.
        self._string_value_errors = (
            tf.errors.NotFoundError,
            tf.errors.DataLossError,
            tf.errors.OutOfRangeError,
        )
        self.signatures = tuple(endpoint.signature for endpoint in graph.endpoints)
        self.fingerprint = fingerprint
        self.device = device.description

    def run(self, feed: Feed) -> Arrays:
        """
        Run the batch *feed* in one call of the Session, and return its outputs.

        Raises `OutOfMemory` if the rows do not fit in the memory, `RowsRefused` if an operation
        refuses values, such as an index out of range, and else TensorFlow's own error, with a
        message of one line.
        """
        try:
            outputs = self._callables[feed.signature.name](*feed.arrays)
        except self._errors.ResourceExhaustedError as error:
            raise OutOfMemory(feed.rows) from error
        except self._errors.InvalidArgumentError as error:
            raise RowsRefused(one_line(error)) from error
        except self._string_value_errors as error:
            if not any(spec.dtype == STRING for spec in feed.signature.inputs):
                raise type(error)(None, None, one_line(error)) from error
            raise RowsRefused(one_line(error)) from error
        except UnicodeDecodeError as error:  # raised instead of an error whose text is not UTF-8
            raise RowsRefused(one_line(error)) from error
        except self._errors.OpError as error:
            raise type(error)(None, None, one_line(error)) from error
        return tuple(map(_as_array, feed.signature.outputs, outputs))

    def close(self) -> None:
        """Close the graph's Sessions."""
        self._graph.close()


def _dismantle(graph: "tf.Graph") -> None:
    """
    Break the reference cycles of *graph*, so that its memory is free at once.

    The garbage collector frees no objects of a model that was loaded before it froze them.
    """
    from tensorflow.python.framework.ops import dismantle_graph

    dismantle_graph(graph)


def create_thread_pools(options: SessionOptions) -> None:
    """
    Make TensorFlow create its thread pools with the sizes that *options* give.

    TensorFlow creates them with the first Session of a process.  So call this before Keras or a
    trial run makes a Session, which would set other sizes.
    """
    import tensorflow.compat.v1 as tf

    with tf.Session(graph=tf.Graph(), config=session_config(options)):
        pass


def _as_array(spec: TensorSpec, output: object) -> np.ndarray:
    """
    Return *output*, described by *spec*, as an array.

    TensorFlow returns a scalar or a string as a Python object.
    """
    if isinstance(output, np.ndarray):
        return output
    return np.array(output, STRING if spec.dtype == STRING else None)


def session_config(options: SessionOptions) -> "tf.ConfigProto":
    """
    Return the settings of a Session that runs a model.

    On a CPU the cores are divided among the lanes: each operation may use cores / lanes threads,
    and the pool that runs operations has one thread per lane, so that no lane waits for another.
    """
    import tensorflow.compat.v1 as tf

    config = tf.ConfigProto(allow_soft_placement=True)
    if options.device.kind == "cpu":
        config.device_count["GPU"] = 0
        config.intra_op_parallelism_threads = max(1, usable_cores() // options.lanes)
        config.inter_op_parallelism_threads = options.lanes
        return config
    config.gpu_options.allow_growth = True
    # Otherwise TensorFlow allocates memory on every GPU, while the lanes use only the first.
    config.gpu_options.visible_device_list = "0"
    if options.gpu_memory_limit is not None:
        device = config.gpu_options.experimental.virtual_devices.add()
        device.memory_limit_mb.append(options.gpu_memory_limit / 2**20)
    return config
