"""Small models that numpy computes, for the servers of dialects without sockets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import ml_dtypes
import numpy as np
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from batcher.executor import Piece
from batcher.policy import FixedPolicy
from model.signature import STRING, Arrays, Feed, Signature, TensorSpec, blank_feed
from server.served_model import ServedModel
from tests.fakes.model import fake_queues
from tests.fakes.server import LABELS, served_model

#: Returns the outputs of the arrays of a batch.
Compute = Callable[..., Arrays]

#: The signatures of each model, and what each computes.
Models = Mapping[str, Sequence[tuple[Signature, Compute]]]


def spec(name: str, dtype: str, *row: int | None) -> TensorSpec:
    """Return a tensor with a batch axis; *dtype* is as numpy names it, "string" or "bfloat16"."""
    kinds = {"string": STRING, "bfloat16": np.dtype(ml_dtypes.bfloat16)}
    return TensorSpec(name, kinds.get(dtype) or np.dtype(dtype), (None, *row))


class NumpyLane:
    """A lane whose runs end at once, or when `release` is called if they are `held`."""

    seconds: float | None = None

    def __init__(self, name: str, models: Models, batches: list[tuple[str, int]]) -> None:
        """*batches* receives the *name* of the model, one of *models*, and the rows of each run."""
        self.held = False
        self.error: Exception | None = None  #: with which the next run fails
        self.pieces: Sequence[Piece[Feed]] = ()  #: those of the last run
        self._name = name
        self._compute = {signature.name: compute for signature, compute in models[name]}
        self._batches = batches
        self._running: list[tuple[Deferred[Sequence[Arrays]], Sequence[Arrays]]] = []

    def run(self, pieces: Sequence[Piece[Feed]]) -> Deferred[Sequence[Arrays]]:
        """Return the outputs of *pieces*."""
        self.pieces = pieces
        self._batches.append((self._name, sum(piece.rows for piece in pieces)))
        error, self.error = self.error, None
        if error is not None:
            return fail(error)
        outputs = [self._outputs(piece) for piece in pieces]
        if not self.held:
            return succeed(outputs)
        self._running.append((Deferred(), outputs))
        return self._running[-1][0]

    def release(self) -> None:
        """End the run that is held, and hold no further one."""
        self.held = False
        answer, outputs = self._running.pop()
        answer.callback(outputs)

    def _outputs(self, piece: Piece[Feed]) -> Arrays:
        signature, arrays = piece.item.signature, piece.item.arrays
        if signature.batched:
            arrays = tuple(array[piece.start : piece.stop] for array in arrays)
        outputs = self._compute[signature.name](*arrays)
        return tuple(
            np.asarray(output, spec.dtype)
            for spec, output in zip(signature.outputs, outputs, strict=True)
        )


def numpy_model(
    name: str,
    version: str,
    models: Models,
    lane: NumpyLane,
    clock: Clock,
    *,
    max_queue_bytes: int,
    takes_images: bool = False,
    labels: tuple[str, ...] = LABELS,
) -> ServedModel:
    """Return the model *name* of *models*, which *lane* runs in batches of four rows."""
    signatures = {each.name: each for each, _ in models[name]}
    queues = fake_queues(max_queue_bytes)
    for each in signatures.values():
        queues.learn(blank_feed(each), 4 if each.batched else 1, {})
    policy = FixedPolicy(4, 0.0)
    return replace(
        served_model(clock, lane, policy=policy, takes_images=takes_images, labels=labels),
        name=name,
        version=version,
        signatures=signatures,
        default=next(iter(signatures)),
        queues=queues,
    )
