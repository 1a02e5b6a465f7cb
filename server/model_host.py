"""
Load one version of a model, warm it up on the lanes that it shares with other models, close it.

`ModelHost` is inert until `start`.  Its methods are called on the reactor thread.
"""

from collections.abc import Callable, Sequence
from math import inf

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from batcher.batcher import Batcher
from batcher.policy import FixedPolicy, LotPolicy, Policy
from batcher.share import Account, Share
from model.backend import LoadedModel
from model.errors import ModelError
from model.execution.cores import lower_priority
from model.execution.decode_pool import DecodePool
from model.execution.disturbance import OtherPrograms
from model.execution.lane_pool import LanePool
from model.execution.memory import give_back_memory
from model.execution.queues import Queues
from model.execution.thread import CallFromThread, ModelThread
from model.execution.warmup import MAX_WARMUP_ROWS, MeasuredRuns, SampleFailed, choose_cap
from model.signature import Arrays, Feed, Signature, blank_feed
from server.deadlines import DefaultTimeout, learned_timeout
from server.inference import Inference
from server.measured_times import MeasuredTimes
from server.model_loading import Loader, load_model
from server.served_model import ServedModel
from server.settings.table import Settings

_log = Logger()

#: The largest batch, in rows, of a signature whose runs could not be measured.
UNMEASURED_CAP_ROWS = 32

#: Seconds between two looks at the decode threads, while a model that takes no requests drains.
DECODING_POLL_SECONDS = 0.05


class ModelHost:
    """One version of a model: loads it, warms it up on the lanes of its device, and closes it."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: IReactorTime,
        lanes: LanePool,
        pool: DecodePool,
        on_progress: Callable[[str], object],
        load: Loader = load_model,
        beside: bool = False,
        must_run: bool = False,
        watch: Callable[[Callable[[], float]], OtherPrograms] = OtherPrograms,
    ) -> None:
        """
        *lanes* and *pool* may be shared with other models; the caller starts *pool* and stops both.

        Until `serve`, its runs take turns with other models as those of the warm-up do.
        If *beside*, other models take requests: then the loading thread has a low priority, and the
        warm-up leaves all lanes but one to them.
        If *must_run*, it fails if no signature runs its sample: nothing else shows that it works.
        *on_progress* is called on the reactor thread with each step of the start, in words.
        *watch* is called with a monotonic clock, and begins to measure what other programs use.
        """
        self.settings = settings
        #: Set once the model is ready.
        self.inference: Inference | None = None
        self._clock = clock
        self._lanes = lanes
        self._pool = pool
        self._on_progress = on_progress
        self._load = load
        self._beside = beside
        self._must_run = must_run
        self._watch = watch
        self._thread: ModelThread | None = None
        self._runs: MeasuredRuns | None = None
        self._loaded_model: LoadedModel | None = None
        self._stopping = False

    async def start(self) -> Inference:
        """
        Load the model and warm it up; return its `Inference`.

        Raises `ModelError`, whose message is one line, and `CancelledError` if `stop` is called
        before the model is ready.
        """
        try:
            return await self._start()
        except Exception as error:
            if self._stopping:
                # The stop caused the error, or makes it irrelevant.
                raise CancelledError from error
            raise

    async def _start(self) -> Inference:
        loaded = await self._loaded()
        self._raise_if_stopping()
        batcher = self._lanes.open(loaded.lanes)
        self._runs = MeasuredRuns(batcher, f"warm-up of {loaded.full_name}", beside=self._beside)
        queues = Queues(
            loaded,
            Share(loaded.full_name, self._runs.account),
            self.settings.max_queue_bytes,
            chosen_policy(self.settings),
        )
        times = MeasuredTimes(
            self._runs,
            loaded.runner.fingerprint,
            watch=lambda: self._watch(self._clock.seconds),
            on_progress=self._on_progress,
        )
        for signature in loaded.runner.signatures:
            await self._learn(times, loaded, signature, queues)
        self._raise_if_stopping()
        if self._must_run and not any(it.latency.fitted for it in queues.known.values()):
            raise ModelError(
                "none of its signatures could be run; a golden.jsonl with requests would prove it"
            )
        served = self._served(loaded, queues, batcher)
        delay = self.settings.max_queue_delay or 0.0
        measured = [it for it in queues.known.values() if learned_timeout(it) < inf]
        timeout = DefaultTimeout(self.settings.default_timeout, measured, delay)
        self.inference = Inference(served, self._pool, clock=self._clock, default_timeout=timeout)
        _log.info(
            "{name} is ready on {device}: {lanes} lanes, batches of up to {cap} rows, {timeout}",
            name=served.full_name,
            device=served.device,
            lanes=len(self._lanes.lanes),
            cap=served.default_queue.cap,
            timeout=timeout,
        )
        return self.inference

    async def _loaded(self) -> LoadedModel:
        """Load the model on a thread of its own, so that the lanes serve other models meanwhile."""
        self._raise_if_stopping()
        thread = self._thread = self._lanes.new_thread("loading")
        thread.start()

        def load() -> LoadedModel:
            if self._beside:
                lower_priority()
            return self._load(self.settings, self._progress_from_thread)

        try:
            self._loaded_model = await thread.call(load)
            return self._loaded_model
        finally:
            thread.stop()

    def _served(
        self, loaded: LoadedModel, queues: Queues, batcher: Batcher[Feed, Arrays]
    ) -> ServedModel:
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
            batcher=batcher,
            recorder=self._lanes.recorder,
        )

    def _raise_if_stopping(self) -> None:
        """Raise `CancelledError` if `stop` has been called: no thread may be started after it."""
        if self._stopping:
            raise CancelledError

    def serve(self, account: Account) -> None:
        """Take turns by *account*, that of the model, from now on; its start has ended."""
        if self.inference is not None:
            self.inference.use_account(account)

    async def stop(self) -> None:
        """End a start that is under way; answer the accepted requests, and refuse new ones."""
        self._stopping = True
        if self._runs is not None:
            await self._runs.stop()
        if self._thread is not None:
            await self._thread.stop()
        if self.inference is not None:
            model = self.inference.model
            await self.inference.retire()
            await model.batcher.drain(model.queues.share)

    def close(self) -> None:
        """
        Free the model's memory on the device, after `stop`; may be called on any thread.

        The caller ensures that no decode thread runs a part of the model, as for a JPEG decoder.
        """
        loaded, self._loaded_model = self._loaded_model, None
        if loaded is not None:
            loaded.runner.close()

    async def unload(self) -> None:
        """
        Stop, then free the model's memory, while other models are served.

        The memory is freed on a thread of its own, because that takes tens of milliseconds.
        """
        await self.stop()
        if self.inference is not None:
            share = self.inference.model.queues.share
            while self._pool.pending_of(share):  # cancelled requests that are still decoded
                await deferLater(self._clock, DECODING_POLL_SECONDS)
        if self._thread is None:
            return  # no load has begun
        if self._loaded_model is not None:
            self._lanes.forget(self._loaded_model)
        self.inference = self._runs = None  # what they refer to can be freed
        thread = self._thread = self._lanes.new_thread("loading")
        thread.start()

        def free() -> None:
            lower_priority()
            self.close()
            give_back_memory()

        try:
            await thread.call(free)
        finally:
            thread.stop()

    def _progress_from_thread(self, line: str) -> None:
        self._lanes.call_from_thread(self._on_progress, line)

    async def _learn(
        self, times: MeasuredTimes, loaded: LoadedModel, signature: Signature, queues: Queues
    ) -> None:
        """
        Add a queue for *signature* to *queues*, with the run times of its batch sizes.

        The run times are read from the cache or measured now.  If the model cannot run the sample,
        there are none.
        """
        sample = loaded.samples.get(signature.name) or blank_feed(signature)
        sample.model = loaded
        if not signature.batched:
            self._on_progress(f"{signature.name} runs one request at a time: {signature.alone}")
        asked = self.settings.max_batch_size if signature.batched else 1
        if signature.max_rows is not None:
            asked = min(asked or signature.max_rows, signature.max_rows)
        try:
            measured = await times.of(sample, asked)
        except SampleFailed as error:
            self._on_progress(
                f"{signature.name} cannot be warmed up and its batches are not measured: {error}"
            )
            queues.learn(sample, asked or UNMEASURED_CAP_ROWS, {})
        else:
            queues.learn(sample, asked or choose_cap(measured), measured)


def lane_pool(
    settings: Settings, clock: IReactorTime, call_from_thread: CallFromThread
) -> LanePool:
    """Return the lanes of the device, not open yet, as *settings* describe them."""
    return LanePool(
        clock=clock,
        call_from_thread=call_from_thread,
        policy=chosen_policy(settings),
        run_timeout=settings.run_timeout,
    )


async def stop_serving(hosts: Sequence[ModelHost], lanes: LanePool, pool: DecodePool) -> None:
    """Answer the accepted requests of all *hosts*, end all threads, then free the device."""
    for host in hosts:
        await host.stop()
    await lanes.stop()
    await pool.stop()
    # Last, because decode threads may run a part of a model.
    for host in hosts:
        host.close()


def chosen_policy(settings: Settings) -> Policy:
    """Return `FixedPolicy` if *settings* have a queue delay, else `LotPolicy`, which learns."""
    if settings.max_queue_delay is None:
        return LotPolicy()
    return FixedPolicy(settings.max_batch_size or MAX_WARMUP_ROWS, settings.max_queue_delay)
