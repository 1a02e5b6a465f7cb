"""
Own the lanes of one device: its model threads and the batcher that distributes batches to them.

Any number of models share the lanes.  `LanePool` is inert until `open`; its methods are called on
the reactor thread.
"""

import queue
from collections.abc import Sequence

import numpy as np
from twisted.internet.interfaces import IReactorTime

from batcher.batcher import Batcher
from batcher.policy import Policy
from model.backend import LoadedModel
from model.execution.lane import Lane
from model.execution.recorder import Recorder
from model.execution.thread import CallFromThread, ModelThread
from model.signature import Arrays, Feed


class LanePool:
    """
    The lanes of one device.

    *policy* decides for every queue that has no policy of its own.  A run may take *run_timeout*
    seconds; see `Batcher`.
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        call_from_thread: CallFromThread,
        policy: Policy,
        run_timeout: float,
    ) -> None:
        self.lanes: list[Lane] = []
        self.recorder = Recorder()  #: the totals and the recent runs of all models
        self._clock = clock
        self.call_from_thread = call_from_thread
        self._policy = policy
        self._run_timeout = run_timeout
        self._batcher: Batcher[Feed, Arrays] | None = None
        self._closed = False

    @property
    def threads(self) -> list[ModelThread]:
        """The model threads, one for each lane."""
        return [lane.thread for lane in self.lanes]

    @property
    def hung(self) -> list[str]:
        """The models and versions whose runs have exceeded their timeout, one for each lane."""
        return [] if self._batcher is None else self._batcher.hung

    def forget(self, model: LoadedModel) -> None:
        """Drop what the lanes keep of *model*, whose runs have ended."""
        for lane in self.lanes:
            lane.forget(model)

    def open(self, lanes: int) -> Batcher[Feed, Arrays]:
        """
        Start *lanes* lanes, at least 1, and return the batcher that uses them.

        A further call starts nothing and returns the same batcher.  Raises RuntimeError after
        `stop`.
        """
        if self._closed:
            raise RuntimeError("a lane pool that was stopped cannot be opened")
        if self._batcher is None:
            threads = [self.new_thread(f"model-{number}") for number in range(lanes)]
            for thread in threads:
                thread.start()
            self.lanes = [Lane(thread) for thread in threads]
            self._batcher = Batcher(
                self._clock,
                self.lanes,
                self._policy,
                join=join_rows,
                observer=self.recorder,
                run_timeout=self._run_timeout,
            )
        return self._batcher

    def new_thread(self, name: str) -> ModelThread:
        """Return a model thread that is not started; it is no lane."""
        return ModelThread(
            name,
            queue.SimpleQueue(),
            call_from_thread=self.call_from_thread,
            seconds=self._clock.seconds,
        )

    async def stop(self) -> None:
        """Answer the accepted requests, then end the threads of the lanes."""
        self._closed = True
        if self._batcher is not None:
            await self._batcher.drain()
        for ended in [thread.stop() for thread in self.threads]:
            await ended

    def abort(self) -> None:
        """Fail the requests that wait or run; do not wait for the threads."""
        if self._batcher is not None:
            self._batcher.abort()


def join_rows(parts: Sequence[Arrays]) -> Arrays:
    """Return the outputs of a request from those of its *parts*: each output joined by rows."""
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
