"""
Run batches on one model thread: copy rows into a buffer, run the model once, split the outputs.

A lane belongs to a device, and runs the batches of every model on it: the feeds of a batch name
their model.  `run` is called on the reactor thread; staging, running and splitting happen on the
model thread, which wakes the reactor once for each batch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from batcher.executor import Piece
from model.backend import LoadedModel
from model.errors import ModelError
from model.execution.staging import Staging
from model.execution.thread import ModelThread
from model.signature import Arrays, Feed

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


class Lane:
    """A `batcher.executor.Executor`: one model thread with a staging buffer of its own."""

    def __init__(self, thread: ModelThread) -> None:
        self.thread = thread
        self._staging = Staging()
        # Written by the model thread:
        #: Seconds of the last run, with copying and splitting; None before the first.
        self.seconds: float | None = None
        #: Number of batches that were run, and of rows in them; failed batches count, too.
        self.runs = 0
        self.rows = 0
        # One value, so that the reactor thread never reads the parts of two moments: the seconds
        # of the runs that have ended, and when the run under way began, if there is one.
        self._used: tuple[float, float | None] = (0.0, None)
        self._last_busy = 0.0

    def run(self, pieces: Sequence[Piece[Feed]]) -> "Deferred[Sequence[Arrays]]":
        """
        Run *pieces*, whose feeds have the same key, as one batch; fire with a result for each
        piece.

        The Deferred fails with `ModelError` if the number of rows of an output differs from that of
        the batch (one of the feeds may be the cause), and with any error of `Runner.run`, such as
        `OutOfMemory`.
        """
        return self.thread.call(lambda: self.run_now(pieces))

    def forget(self, model: LoadedModel) -> None:
        """Drop what is kept of *model*, on the model thread, after the runs that are queued."""
        self.thread.call(lambda: self._staging.forget(model)).addErrback(lambda _: None)

    @property
    def busy_seconds(self) -> float:
        """
        The seconds for which this lane has run batches, with the run that is under way.

        Never falls.  Read on the reactor thread.
        """
        now = self.thread.seconds()
        seconds, began = self._used
        if began is not None:
            seconds += max(0.0, now - began)
        # The run may have ended between its last moment and the change of `_used`.
        self._last_busy = max(self._last_busy, seconds)
        return self._last_busy

    def run_now(self, pieces: Sequence[Piece[Feed]]) -> Sequence[Arrays]:
        """Run *pieces* as `run` does, but on the calling thread: this lane's model thread."""
        began = self.thread.seconds()
        used, _ = self._used
        self._used = used, began
        try:
            return self._run(pieces)
        finally:
            self.seconds = self.thread.seconds() - began
            self._used = used + self.seconds, None

    def _run(self, pieces: Sequence[Piece[Feed]]) -> Sequence[Arrays]:
        self.runs += 1
        first = pieces[0].item
        if first.model is None:
            raise ModelError("a feed that names no model cannot be run")
        runner = first.model.runner
        if not first.signature.batched:
            self.rows += 1
            return [runner.run(first)]
        feed = self._staging.stage([(piece.item, piece.start, piece.stop) for piece in pieces])
        self.rows += feed.rows
        outputs = runner.run(feed)
        for output in outputs:
            got = len(output) if output.ndim else 0
            if got != feed.rows:
                raise ModelError(f"the model returned {got} rows for a batch of {feed.rows}")
        results: list[Arrays] = []
        start = 0
        for piece in pieces:
            stop = start + piece.stop - piece.start
            results.append(tuple(output[start:stop] for output in outputs))
            start = stop
        return results
