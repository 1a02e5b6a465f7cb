"""
Own the parts that run one model: decode pool, model threads, Session, lanes and batcher.

`ModelHost` is inert until `start`.  Its methods are called on the reactor thread.
"""

import hashlib
import queue
from collections.abc import Callable, Sequence
from math import inf

import numpy as np
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from batcher.batcher import Batcher
from batcher.errors import OutOfMemory
from batcher.learning.latency import MAX_WARMUP_RUNS
from batcher.policy import FixedPolicy, LotPolicy, Policy
from model.backend import LoadedModel, Runner
from model.execution.decode_pool import DecodePool
from model.execution.lane import Lane
from model.execution.queues import Queues
from model.execution.thread import CallFromThread, ModelThread
from model.execution.warmup import (
    MAX_WARMUP_ROWS,
    SampleFailed,
    choose_cap,
    run_all_sizes,
    sweep_is_complete,
    warm_up,
)
from model.repository.cache import CacheUnavailableError, user_cache_folder
from model.repository.latencies import store_latencies, stored_latencies
from model.signature import Arrays, Feed, Signature, blank_feed
from server.deadlines import DefaultTimeout, learned_timeout
from server.inference import Inference, ServedModel
from server.model_loading import Loader, load_model
from server.settings.table import Settings

_log = Logger()

#: Measure again if a run takes more than this many times its stored time, or less than 1 / this.
MAX_STORED_LATENCY_RATIO = 2.0

#: The largest batch, in rows, of a signature whose runs could not be measured.
UNMEASURED_CAP_ROWS = 32


class ModelHost:
    """One model and the threads that serve it."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: IReactorTime,
        call_from_thread: CallFromThread,
        pool: DecodePool,
        on_progress: Callable[[str], object],
        load: Loader = load_model,
    ) -> None:
        """*on_progress* is called on the reactor thread with each step of the start, in words."""
        self.settings = settings
        self.threads: list[ModelThread] = []
        self.lanes: list[Lane] = []
        #: Set once the model is ready.
        self.inference: Inference | None = None
        self._clock = clock
        self._call_from_thread = call_from_thread
        self._pool = pool
        self._on_progress = on_progress
        self._load = load
        self._runner: Runner | None = None
        self._stopping = False
        self._cache_is_usable = True  #: whether run times are kept for the next start

    @property
    def hung(self) -> bool:
        """Whether a run has exceeded its timeout and not ended."""
        return self.inference is not None and self.inference.model.batcher.hung

    async def start(self) -> Inference:
        """
        Load the model and warm it up; return its `Inference`.

        Raises `ModelError`, whose message is one line, and `CancelledError` if `stop` is called
        before the model is ready.
        """
        self._pool.start()
        try:
            return await self._start()
        except Exception as error:
            if self._stopping:
                # The stop has ended the threads; that caused the error, or makes it irrelevant.
                raise CancelledError from error
            raise

    async def _start(self) -> Inference:
        first = self._start_thread()
        loaded = await first.call(lambda: self._load(self.settings, self._progress_from_thread))
        self._runner = loaded.runner
        self._raise_if_stopping()
        for _ in range(1, loaded.lanes):
            self._start_thread()
        self.lanes = [Lane(thread, loaded.runner) for thread in self.threads]
        queues = Queues(self.settings.max_queue_bytes)
        for signature in loaded.runner.signatures:
            await self._learn(loaded, signature, queues)
        self._raise_if_stopping()
        served = self._served(loaded, queues)
        delay = self.settings.max_queue_delay or 0.0
        measured = [it for it in queues.known.values() if learned_timeout(it) < inf]
        timeout = DefaultTimeout(self.settings.default_timeout, measured, delay)
        self.inference = Inference(
            served, self._pool, seconds=self._clock.seconds, default_timeout=timeout
        )
        _log.info(
            "{name} is ready on {device}: {lanes} lanes, batches of up to {cap} rows, {timeout}",
            name=served.full_name,
            device=served.device,
            lanes=len(self.lanes),
            cap=served.default_queue.cap,
            timeout=timeout,
        )
        return self.inference

    def _served(self, loaded: LoadedModel, queues: Queues) -> ServedModel:
        return ServedModel(
            name=loaded.name,
            version=loaded.version,
            device=loaded.runner.device,
            signatures={signature.name: signature for signature in loaded.signatures},
            default=loaded.signatures[0].name,
            image_input=loaded.image_input,
            samples=loaded.samples,
            labels=loaded.labels,
            top=loaded.top,
            max_pixels=self.settings.max_pixels if loaded.decodes else None,
            queues=queues,
            batcher=Batcher(
                self._clock,
                self.lanes,
                chosen_policy(self.settings),
                join=join_rows,
                run_timeout=self.settings.run_timeout,
            ),
        )

    def _raise_if_stopping(self) -> None:
        """
        Raise `CancelledError` if `stop` has been called.

        `stop` ends only the threads that existed then, so no other thread may be started after it.
        """
        if self._stopping:
            raise CancelledError

    async def stop(self) -> None:
        """Answer the accepted requests, end all threads, then free the device."""
        self._stopping = True
        if self.inference is not None:
            await self.inference.model.batcher.drain()
        for ended in [thread.stop() for thread in self.threads]:
            await ended
        await self._pool.stop()
        # Last, because decode threads may run a part of the model.
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def abort(self) -> None:
        """Fail the requests that wait or run; do not wait for the threads."""
        if self.inference is not None:
            self.inference.model.batcher.abort()

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

    def _progress_from_thread(self, line: str) -> None:
        self._call_from_thread(self._on_progress, line)

    async def _learn(self, loaded: LoadedModel, signature: Signature, queues: Queues) -> None:
        """
        Add a queue for *signature* to *queues*, with the run times of its batch sizes.

        The run times are read from the cache or measured now.  If the model cannot run the sample,
        there are none.
        """
        sample = loaded.samples.get(signature.name) or blank_feed(signature)
        if not signature.batched:
            self._on_progress(f"{signature.name} runs one request at a time: {signature.alone}")
        asked = self.settings.max_batch_size if signature.batched else 1
        if signature.max_rows is not None:
            asked = min(asked or signature.max_rows, signature.max_rows)
        try:
            measured = await self._latencies(loaded.runner, sample, asked)
        except SampleFailed as error:
            self._on_progress(
                f"{signature.name} cannot be warmed up and its batches are not measured: {error}"
            )
            queues.learn(sample, asked or UNMEASURED_CAP_ROWS, {})
        else:
            queues.learn(sample, asked or choose_cap(measured), measured)

    async def _latencies(
        self, runner: Runner, sample: Feed, largest: int | None
    ) -> dict[int, float]:
        """
        Return the seconds of a run, by its rows, from the cache or measured now.

        The runs have rows like *sample*, at most *largest*; None: the measurement finds the limit.
        """
        key = latency_key(runner.fingerprint, sample.signature, largest)
        stored = self._stored(key)
        if stored is not None and await self._latencies_hold(stored, sample):
            return stored
        measured = await warm_up(
            self.lanes,
            sample,
            largest,
            on_progress=lambda line: self._on_progress(f"warming up: {line}"),
        )
        if largest is not None or sweep_is_complete(measured):
            self._store(key, measured)
        return measured

    async def _latencies_hold(self, stored: dict[int, float], sample: Feed) -> bool:
        """
        Warm up; return whether a run of the largest size in *stored* takes about its stored time.

        *stored* has the seconds of a run, by its rows.
        """
        self._on_progress("warming up")
        largest = max(stored)
        try:
            now = await run_all_sizes(self.lanes, sample, largest)
        except OutOfMemory as error:
            self._on_progress(f"{error}, although it did before; measuring again")
            return False
        then = stored[largest]
        if then / MAX_STORED_LATENCY_RATIO < now < then * MAX_STORED_LATENCY_RATIO:
            return True
        self._on_progress(
            f"a run of {largest} rows takes {now * 1e3:.1f} ms instead of the stored "
            f"{then * 1e3:.1f} ms; measuring again"
        )
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
            if self._cache_is_usable:
                self._cache_is_usable = False
                _log.warn("run times are not kept for the next start: {error}", error=error)


def latency_key(fingerprint: str, signature: Signature, largest: int | None) -> str:
    """
    Return the key of the stored run times of *signature*.

    *fingerprint* identifies the model and the device.  *largest* is the limit of the warm-up in
    rows, or None.  The key depends on it, because a warm-up that stops at a given size does not
    show at which size it would have stopped without that limit.
    """
    facts = f"{fingerprint} {signature} {largest or 'learned'} {MAX_WARMUP_RUNS} runs"
    return hashlib.sha256(facts.encode()).hexdigest()


def chosen_policy(settings: Settings) -> Policy:
    """Return `FixedPolicy` if *settings* have a queue delay, else `LotPolicy`, which learns."""
    if settings.max_queue_delay is None:
        return LotPolicy()
    return FixedPolicy(settings.max_batch_size or MAX_WARMUP_ROWS, settings.max_queue_delay)


def join_rows(parts: Sequence[Arrays]) -> Arrays:
    """Return the outputs of a request from those of its *parts*: each output joined by rows."""
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
