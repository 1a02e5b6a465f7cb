"""Fetch any tensors of a graph on the CPU, for trials while a model is loaded."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from model.backends.tensorflow.trials.row_comparison import Value

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf


class CpuRun:
    """Runs a graph and feeds one of its tensors; `on_cpu` provides a `CpuRun`."""

    def __init__(self, session: "tf.Session", fed: str) -> None:
        self._session = session
        self._fed = fed

    def __call__(self, fetched: Sequence[str], value: "bytes | Value") -> list[Value]:
        """
        Feed *value*, and return the values of the tensors *fetched*.

        Raises TensorFlow's error if the run fails, and ValueError if *value* does not fit.
        """
        values = self._session.run(list(fetched), {self._fed: value})
        return [np.asarray(each) for each in values]

    def numeric_tensors(self, names: Iterable[str]) -> list[str]:
        """Return the tensors among *names* that hold numbers."""
        tensors = map(self._session.graph.get_tensor_by_name, names)
        return [each.name for each in tensors if each.dtype.is_floating or each.dtype.is_integer]

    def is_random(self, node: str) -> bool:
        """Whether *node* returns different random values in each run."""
        op_def = self._session.graph.get_operation_by_name(node).op_def
        return op_def.is_stateful and any(attr.name == "seed" for attr in op_def.attr)


@contextmanager
def on_cpu(graph: "tf.Graph", fed: str, *, optimised: bool = True) -> Iterator[CpuRun]:
    """
    Provide a `CpuRun` that feeds the tensor *fed*; its Session is closed at the end of the block.

    With *optimised*, TensorFlow's optimiser rewrites the graph before it runs.
    """
    import tensorflow.compat.v1 as tf

    config = tf.ConfigProto()
    config.device_count["GPU"] = 0
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimised
    with tf.Session(graph=graph, config=config) as session:
        yield CpuRun(session, fed)
