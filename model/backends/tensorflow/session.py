"""
Run batches through one long-lived Session, whatever file its graph came from.

Loading and running belong to model threads; `run` may be called from several at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batcher.errors import OutOfMemory
from model.backends.tensorflow.device import Device
from model.backends.tensorflow.error_text import one_line
from model.errors import RowsRefused
from model.execution.cores import usable_cores
from model.images.input import ImageInput
from model.signature import STRING, Arrays, Feed, Signature, TensorSpec

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How the Session may use the machine."""

    device: Device
    lanes: int  #: model threads that call `run` at the same time
    gpu_memory_limit: int | None = None  #: bytes; None lets the memory grow as needed


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A signature and its tensors in the graph, in the same order."""

    signature: Signature
    feeds: tuple["tf.Tensor", ...]
    fetches: tuple["tf.Tensor", ...]


@dataclass(frozen=True, slots=True)
class LoadedGraph:
    """A Session that is ready to run, and what it can be asked for."""

    session: "tf.Session"
    endpoints: Sequence[Endpoint]  #: the default one first
    image_input: ImageInput | None = None  #: into the signature of one of them
    decodes: bool = False  #: whether any of them decodes images
    has_side_effects: bool = False  #: whether a run may read or write files, or call Python
    decoder: "tf.Session | None" = None  #: one more, in which the model decodes its images

    def close(self) -> None:
        """Close what is open."""
        self.session.close()
        if self.decoder is not None:
            self.decoder.close()


class SessionRunner:
    """A `model.backend.Runner`: a Session with a callable for each of its endpoints."""

    def __init__(self, graph: LoadedGraph, device: Device, *, fingerprint: str) -> None:
        import tensorflow.compat.v1 as tf

        self._graph = graph
        # Parsing feeds and fetches costs more than a hand-over; a callable does it once.
        self._callables: dict[str, Callable[..., list[np.ndarray]]] = {
            endpoint.signature.name: graph.session.make_callable(
                list(endpoint.fetches), list(endpoint.feeds)
            )
            for endpoint in graph.endpoints
        }
        self._errors = tf.errors
        #: What comes of a path that leads nowhere, or of broken records.
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
        Run the batch in one `Session.run`.

        Raises `OutOfMemory`, `RowsRefused` for values that an operation calls invalid, such as an
        index out of range, or TensorFlow's own error, which then says in one line what is wrong.
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
        except UnicodeDecodeError as error:  # in the place of an error that quotes the values
            raise RowsRefused(one_line(error)) from error
        except self._errors.OpError as error:
            raise type(error)(None, None, one_line(error)) from error
        return tuple(map(_as_array, feed.signature.outputs, outputs))

    def close(self) -> None:
        """Close the Session."""
        self._graph.close()


def create_thread_pools(options: SessionOptions) -> None:
    """
    Have TensorFlow make its thread pools as *options* want them.

    It does so at the first Session of a process, and whoever comes later, such as Keras or a trial
    run, would else decide how the served one runs.
    """
    import tensorflow.compat.v1 as tf

    with tf.Session(graph=tf.Graph(), config=session_config(options)):
        pass


def _as_array(spec: TensorSpec, output: object) -> np.ndarray:
    """Return *output* as an array: TensorFlow gives a scalar, or a string, as what it is."""
    if isinstance(output, np.ndarray):
        return output
    return np.array(output, STRING if spec.dtype == STRING else None)


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
