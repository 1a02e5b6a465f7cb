"""
Own everything that runs one model: decode pool, model threads, Session, lanes and batcher.

`ModelHost` is inert until `start`.  Its methods belong to the reactor thread.
"""

import queue
from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from batcher.batcher import Batcher
from batcher.errors import OutOfMemory
from batcher.latency import LatencyCurve
from batcher.policy import FixedPolicy, GreedyPolicy, Policy
from model.cache import CacheUnavailableError, user_cache_folder
from model.decode_pool import DecodePool
from model.lane import Lane
from model.latencies import store_latencies, stored_latencies
from model.runner import ModelError, Runner
from model.signature import Feed, Signature
from model.thread import CallFromThread, ModelThread
from model.warmup import climb_is_over, learned_cap, prime, warm_up
from server.inference import Classifier, ServedModel
from server.model_source import Loader, load_model
from server.settings import Settings

_log = Logger()

#: Stored run times that are wrong by this factor were measured on a machine that was not itself.
DRIFT = 2.0


class ModelHost:
    """One model and the threads that serve it."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: IReactorTime,
        call_from_thread: CallFromThread,
        pool: DecodePool,
        say: Callable[[str], object],
        load: Loader = load_model,
    ) -> None:
        """*say* is told the progress of the start in words, on the reactor thread."""
        self.settings = settings
        self.threads: list[ModelThread] = []
        self.lanes: list[Lane] = []
        #: Set once the model is ready.
        self.classifier: Classifier | None = None
        self._clock = clock
        self._call_from_thread = call_from_thread
        self._pool = pool
        self._say = say
        self._load = load
        self._runner: Runner | None = None
        self._stopping = False

    async def start(self) -> Classifier:
        """
        Load and warm the model; return what answers with it.

        Raises `ModelError` in one line, or `CancelledError` where `stop` came first.
        """
        self._pool.start()
        try:
            return await self._start()
        except Exception as error:
            if self._stopping:
                # Whatever failed did so for want of threads, or is of no use to know.
                raise CancelledError from error
            raise

    async def _start(self) -> Classifier:
        first = self._start_thread()
        loaded = await first.call(lambda: self._load(self.settings, self._say_from_thread))
        self._runner = loaded.runner
        self._go_on()
        for _ in range(1, loaded.lanes):
            self._start_thread()
        self.lanes = [Lane(thread, loaded.runner) for thread in self.threads]
        measured = await self._latencies(loaded.runner)
        self._go_on()
        batcher = self._batcher(loaded.runner.signature, measured)
        served = ServedModel(
            loaded.name,
            loaded.version,
            loaded.runner.signature,
            loaded.preprocessing,
            loaded.labels,
            batcher,
        )
        self.classifier = Classifier(
            served, self._pool, max_pixels=self.settings.max_pixels, seconds=self._clock.seconds
        )
        _log.info(
            "{name} is ready on {device}: {lanes} lanes, batches of up to {cap} rows",
            name=served.full_name,
            device=loaded.runner.device,
            lanes=len(self.lanes),
            cap=batcher.stats().cap,
        )
        return self.classifier

    def _go_on(self) -> None:
        """Raise `CancelledError` where `stop` has come: no more threads, it has counted them."""
        if self._stopping:
            raise CancelledError

    async def stop(self) -> None:
        """Answer what was accepted, end the threads, free the device."""
        self._stopping = True
        if self.classifier is not None:
            await self.classifier.model.batcher.drain()
        await self._stop_threads()
        await self._pool.stop()

    def abort(self) -> None:
        """Fail whatever waits or runs; the threads are left to themselves."""
        if self.classifier is not None:
            self.classifier.model.batcher.abort()

    async def _stop_threads(self) -> None:
        for ended in [thread.stop() for thread in self.threads]:
            await ended
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _start_thread(self) -> ModelThread:
        thread = ModelThread(
            f"model-{len(self.threads)}",
            queue.SimpleQueue(),
            call_from_thread=self._call_from_thread,
            seconds=self._clock.seconds,
        )
        thread.start()
        self.threads.append(thread)
        return thread

    def _say_from_thread(self, line: str) -> None:
        self._call_from_thread(self._say, line)

    async def _latencies(self, runner: Runner) -> dict[int, float]:
        """Return l(b) up to the largest batch there may be, from the cache or measured now."""
        largest = largest_batch(self.settings, runner.signature)
        # A climb to a size that was asked for tells nothing of where a climb by itself would end.
        key = f"{runner.fingerprint}-{largest or 'learned'}"
        stored = self._stored(key)
        if stored is not None and await self._still_true(stored, runner.signature):
            return stored
        measured = await warm_up(
            self.lanes,
            runner.signature,
            largest,
            seconds=self._clock.seconds,
            say=lambda line: self._say(f"warming up: {line}"),
        )
        if largest is not None or climb_is_over(measured):
            self._store(key, measured)
        return measured

    async def _still_true(self, stored: dict[int, float], signature: Signature) -> bool:
        """Warm up, and return whether a run takes about as long as it did when it was measured."""
        self._say("warming up")
        largest = max(stored)
        try:
            now = await prime(self.lanes, signature, largest, self._clock.seconds)
        except OutOfMemory as error:
            self._say(f"{error}, as they did before: measuring again")
            return False
        then = stored[largest]
        if then / DRIFT < now < then * DRIFT:
            return True
        self._say(f"{largest} rows take {now * 1e3:.1f} ms, not {then * 1e3:.1f}: measuring again")
        return False

    def _stored(self, key: str) -> dict[int, float] | None:
        try:
            return stored_latencies(user_cache_folder(), key)
        except CacheUnavailableError:
            return None

    def _store(self, key: str, measured: dict[int, float]) -> None:
        try:
            store_latencies(user_cache_folder(), key, measured)
        except CacheUnavailableError as error:
            _log.warn("run times are not kept for the next start: {error}", error=error)

    def _batcher(self, signature: Signature, measured: dict[int, float]) -> Batcher[Feed, Feed]:
        curve = LatencyCurve(measured)
        cap = largest_batch(self.settings, signature) or learned_cap(measured)
        rows = max(cap, self.settings.max_queue_bytes // row_bytes(signature))
        policy = chosen_policy(self.settings, cap, curve)
        return Batcher(
            self._clock, self.lanes, policy, curve, cap=cap, max_queued_rows=rows, join=join_rows
        )


def largest_batch(settings: Settings, signature: Signature) -> int | None:
    """
    Return the largest batch that the user or the graph fixes, None where it is to be learned.

    Raises `ModelError` where the user asks for more than the graph takes.
    """
    fixed, asked = signature.max_rows, settings.max_batch_size
    if fixed is not None and asked is not None and asked > fixed:
        raise ModelError(f"--max-batch-size is {asked}, but the graph takes batches of {fixed}")
    return asked or fixed


def chosen_policy(settings: Settings, cap: int, curve: LatencyCurve) -> Policy:
    """Return the policy that learns, or the fixed one where the user set a delay."""
    if settings.max_queue_delay is None:
        return GreedyPolicy()
    return FixedPolicy(cap, settings.max_queue_delay, curve)


def row_bytes(signature: Signature) -> int:
    """Return the bytes of one row of all inputs; a size that is open counts as 1."""
    return sum(
        prod(size or 1 for size in spec.row_shape) * spec.dtype.itemsize
        for spec in signature.inputs
    )


def join_rows(parts: Sequence[Feed]) -> Feed:
    """Return the outputs of a request that was run in *parts*, in order."""
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
