"""
Bring the models in memory in line with the repository, without a failed request.

model/repository/version_policy.py decides what is done next; `Reconciler` does it: it reads the
repository, checks, loads, proves and unloads versions, and changes where requests are sent, which
takes effect at once.  Everything here runs on the reactor thread, except reading the disk,
computing hashes and loading.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from batcher.share import Account
from model.errors import ModelError
from model.execution.memory import available_bytes, resident_bytes
from model.execution.thread import ModelThread, call_on
from model.repository.snapshot import ModelOnDisk, Snapshot, VersionOnDisk
from model.repository.version_policy import (
    Action,
    Revision,
    Stage,
    Step,
    asks_again,
    next_action,
    revision_of,
)
from server.inference import Inference
from server.model_host import ModelHost
from server.models import Models
from server.repository.disk_log import DiskLog
from server.repository.loaded import LONG_LOAD_SECONDS, Loaded
from server.repository.memory_check import check_memory
from server.repository.model_routing import ModelRouting
from server.repository.polling import NOTICE_SECONDS, POLL_SECONDS, seconds_to_next_read
from server.repository.repositories import Repository

_log = Logger()

#: Returns the host, not started, of a version of a model; True: other models take requests.
MakeHost = Callable[[ModelOnDisk, VersionOnDisk, bool], ModelHost]
#: Raises `ModelError` if a loaded version does not answer as its files state.
Prove = Callable[[Inference, VersionOnDisk], Awaitable[None]]


class Reconciler:
    """Serves what a repository asks for."""

    def __init__(
        self,
        repository: Repository,
        models: Models,
        *,
        clock: IReactorTime,
        new_thread: Callable[[str], ModelThread],
        make_host: MakeHost,
        prove: Prove,
        on_progress: Callable[[str], object],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """
        *new_thread* returns a thread for reading the disk, and one for computing hashes;
        *on_progress* is called with each step of the start, in words.  *poll_seconds* is the time
        between two reads of the repository; infinity: no read when a model is served and all
        versions are complete.
        """
        self.repository = repository
        self.disk: Snapshot = {}
        self.held: dict[Revision, Loaded] = {}
        #: The loads that have ended, by the name of the model and "loaded" or "failed".
        self.loads: Counter[tuple[str, str]] = Counter()
        self._accounts: dict[str, Account] = {}  # by the names of the models on disk
        #: Called after each read with the names of the models; with None if it has failed.
        self.on_read: Callable[[Collection[str] | None], object] = lambda _: None
        self.routing = ModelRouting(models, logs=repository.changes)
        self._models = models
        self._clock = clock
        self._new_thread = new_thread
        self._make_host = make_host
        self._prove = prove
        self._on_progress = on_progress
        self._thread: ModelThread | None = None
        self._hashing: ModelThread | None = None
        self._checking = False  # whether hashes are computed, or not read yet
        self._disk_log = DiskLog()
        self._reading = DeferredLock()
        self._poll: IDelayedCall | None = None
        self._stopping = False
        self._acting = False
        self._noticed = False  # whether a change was noticed since the last read began
        self._ready: Deferred[None] | None = None
        self._problem = ""  #: why the last read failed
        self._last_progress = ""
        self._poll_seconds = poll_seconds

    # Start and stop.

    async def start(self) -> None:
        """
        Read the repository, and load what it asks for; return when all is loaded or has failed.

        If the repository cannot change, raises the error of its model if that fails.  Else waits
        until at least one model is served.
        """
        if self.repository.changes:
            self._thread = self._new_thread("repository")
            self._thread.start()
            self._hashing = self._new_thread("hashing")
            self._hashing.start()
        ready = self._ready = Deferred()
        await self.refresh()
        await ready

    async def refresh(self) -> None:
        """Read the repository, and begin what follows from it."""
        await self._reading.run(lambda: ensureDeferred(self._refresh()))

    async def change(self, edit: Callable[[], object]) -> None:
        """
        Call *edit*, which changes the files, on the thread that reads them; then refresh.

        Raises the errors of *edit*; a `ModelError` without the path of the repository.
        """
        try:
            await call_on(self._thread, edit)
        except ModelError as error:
            raise ModelError(self.repository.relative(str(error))) from error
        await self.refresh()

    def seconds(self) -> float:
        """Return the time of the monotonic clock, in seconds."""
        return self._clock.seconds()

    def notice(self) -> None:
        """Called when the kernel reports a change in the repository: read it soon."""
        self._noticed = True
        if not self._stopping and self._poll is not None and self._poll.active():
            self._poll.reset(min(NOTICE_SECONDS, self._poll.getTime() - self._clock.seconds()))

    @property
    def hosts(self) -> list[ModelHost]:
        """The hosts of all revisions that are in memory."""
        return [it.host for it in self.held.values() if it.stage is not Stage.FAILED]

    async def stop(self) -> None:
        """Read no more, and begin nothing more; end the threads.  The caller stops `hosts`."""
        self._stopping = True
        if self._poll is not None and self._poll.active():
            self._poll.cancel()
        for thread in (self._thread, self._hashing):
            if thread is not None:
                thread.stop()  # what is under way may take long: the stop does not wait

    # Reading the disk.

    async def _refresh(self, *, checked: bool = False) -> None:
        """*checked*: a check has ended, so that this read has its result."""
        self._noticed = False
        try:
            self.disk = await call_on(self._thread, self.repository.read)
        except ModelError as error:
            if str(error) != self._problem:
                _log.warn("{error}; what is served stays", error=error)
            self._problem = str(error)
        else:
            if self._problem:
                _log.info("the repository is read again; before: {error}", error=self._problem)
            self._problem = ""
            self._disk_log.update(self.disk, self.repository.ignored)
        finally:
            if checked:
                self._checking = False
        if self._stopping:
            return
        self.on_read(None if self._problem else self.disk.keys())
        self._forget_failures()
        self._set_weights()
        self._act()
        is_ready = self._ready is not None and self._ready.called
        seconds = seconds_to_next_read(
            self.disk, self._poll_seconds, is_ready=is_ready, noticed=self._noticed
        )
        if self.repository.changes and seconds is not None:
            self._schedule(seconds)

    def _schedule(self, seconds: float) -> None:
        if self._poll is not None and self._poll.active():
            self._poll.cancel()
        self._poll = self._clock.callLater(seconds, self._poll_now)

    def _poll_now(self) -> None:
        ensureDeferred(self.refresh()).addErrback(self._poll_failed)

    def _poll_failed(self, failure: Failure) -> None:
        if not self._stopping:
            _log.failure("the repository was not read", failure)
            self._schedule(POLL_SECONDS)

    def _forget_failures(self) -> None:
        """Forget failures of revisions that are gone or are to be tried again."""
        for loaded in list(self.held.values()):
            if loaded.stage is not Stage.FAILED:
                continue
            model = self.disk.get(loaded.revision.name)
            now = {revision_of(model, it) for it in model.versions} if model else set()
            if model is None or loaded.revision not in now:
                del self.held[loaded.revision]
            elif model.serving_stamp != loaded.serving_stamp:
                if asks_again(loaded.model.serving, model.serving):
                    del self.held[loaded.revision]
                else:
                    loaded.model, loaded.serving_stamp = model, model.serving_stamp

    def _set_weights(self) -> None:
        self._accounts = {name: self._accounts.get(name) or Account() for name in self.disk}
        for name, account in self._accounts.items():
            account.set_weight(self.disk[name].serving.weight)

    # Acting.

    def _act(self) -> None:
        """Do what is to be done until there is something to wait for."""
        if self._acting:
            return  # something ended at once: the call under way takes account of it
        self._acting = True
        try:
            while not self._stopping:
                self.routing.update(self.disk, self.held, self.seconds())
                held = [it.held for it in self.held.values()]
                # While the disk cannot be read, the result of a check is not known.
                checking = self._checking or bool(self._problem)
                action = next_action(self.disk, held, self.routing.labels, checking=checking)
                if action is None:
                    break
                self._begin(action)
        finally:
            self._acting = False
        self._check_ready()

    def _begin(self, action: Action) -> None:
        revision = action.revision
        if action.step in (Step.CHECK, Step.LOAD):
            model = self.disk[revision.name]
            version = next(it for it in model.versions if it.version == revision.version)
            if action.step is Step.CHECK:
                self._checking = True
                ensureDeferred(self._check(version)).addErrback(self._poll_failed)
                return
            loaded = Loaded(
                revision,
                Stage.LOADING,
                model,
                version,
                self._make_host(model, version, not self._models.starting),
                self.seconds(),
            )
            self.held[revision] = loaded
            self._run(loaded, self._load(loaded))
            return
        loaded = self.held[revision]
        if action.step is Step.SWITCH:
            replaced = self.routing.traffic_of(revision.name).serving.get(revision.version)
            loaded.stage = Stage.SERVING
            loaded.host.serve(self._accounts[revision.name])
            if replaced is not None:
                self._drain(self.held[replaced])
        elif action.step is Step.DRAIN:
            self._drain(loaded)
        else:
            loaded.stage = Stage.UNLOADING
            self._run(loaded, self._unload(loaded))

    def _drain(self, loaded: Loaded) -> None:
        loaded.stage = Stage.DRAINING
        self._run(loaded, self._drained(loaded))

    def _run(self, loaded: Loaded, work: Coroutine[Any, Any, None]) -> None:
        running: Deferred[None] = ensureDeferred(work)
        running.addErrback(self._work_failed, loaded)
        running.addBoth(lambda _: self._act())

    def _work_failed(self, failure: Failure, loaded: Loaded) -> None:
        if self._stopping:
            return
        _log.failure("the memory of {name} was not freed", failure, name=loaded.full_name)
        if loaded.stage is Stage.UNLOADING:
            del self.held[loaded.revision]
        else:
            loaded.stage = Stage.DRAINED if loaded.stage is Stage.DRAINING else Stage.FAILED

    async def _check(self, version: VersionOnDisk) -> None:
        """Compute the hashes of *version*, while the disk is read as before."""
        try:
            await call_on(self._hashing, lambda: self.repository.check(version))
        except BaseException:
            self._checking = False
            raise
        await self._reading.run(lambda: ensureDeferred(self._refresh(checked=True)))

    async def _load(self, loaded: Loaded) -> None:
        revision, before = loaded.revision, resident_bytes()
        long_load = self._clock.callLater(LONG_LOAD_SECONDS, self._warn_of_long_load, loaded)
        try:
            replaced = [
                it for it in self.held.values() if it.revision.name == revision.name and it.memory
            ]
            known = [(it.version.size, it.memory) for it in replaced]
            check_memory(loaded.version.size, known, available_bytes())
            inference = await loaded.host.start()
            await self._prove(inference, loaded.version)
        except CancelledError:
            self.held.pop(revision, None)
            return
        except Exception as error:  # noqa: BLE001 - any error is the reason why it is not served
            loaded.reason = self._reason(error, loaded)
        else:
            loaded.memory = max(0, resident_bytes() - before)
            loaded.stage = Stage.LOADED
            self.loads[inference.model.name, "loaded"] += 1
            return
        finally:
            if long_load.active():
                long_load.cancel()
        # Not in the except block: the traceback refers to what was loaded.
        await self._load_failed(loaded)

    def _warn_of_long_load(self, loaded: Loaded) -> None:
        _log.warn(
            "{name}: {long}; other loads wait for it",
            name=loaded.full_name,
            long=loaded.long_load(self.seconds()),
        )

    def _reason(self, error: Exception, loaded: Loaded) -> str:
        """Return why *loaded* is not served; called while *error* is handled."""
        if isinstance(error, ModelError):
            return self.repository.relative(str(error))
        if not self._stopping:
            _log.failure("{name} failed to load", name=loaded.full_name)
        first_line, _, _ = str(error).partition("\n")
        return f"the start failed: {self.repository.relative(first_line)}"

    async def _load_failed(self, loaded: Loaded) -> None:
        """Free what was loaded."""
        if self._stopping:
            return  # the stop frees it
        self.loads[loaded.revision.name, "failed"] += 1
        loaded.serving_stamp = loaded.model.serving_stamp
        await loaded.host.unload()
        loaded.stage = Stage.FAILED
        self._forget_failures()  # its serving.toml may have changed meanwhile
        if self.repository.changes:
            serving = self.routing.traffic_of(loaded.revision.name).serving
            _log.error(
                "the new files of {name} failed, the old ones are served: {reason}"
                if loaded.revision.version in serving
                else "{name} is not served: {reason}",
                name=loaded.full_name,
                reason=loaded.reason,
            )

    async def _drained(self, loaded: Loaded) -> None:
        self.routing.update(self.disk, self.held, self.seconds())
        await loaded.host.stop()
        loaded.stage = Stage.DRAINED

    async def _unload(self, loaded: Loaded) -> None:
        await loaded.host.unload()
        del self.held[loaded.revision]
        _log.info("{name} is unloaded", name=loaded.full_name)

    def _check_ready(self) -> None:
        """Fire the Deferred of `start` if nothing is under way and a model is served."""
        if self._ready is None or self._ready.called or self._stopping:
            return
        if self._checking or any(it.is_under_way for it in self.held.values()):
            return
        failed = [it.reason for it in self.held.values() if it.stage is Stage.FAILED]
        if self._models.names:
            self._models.starting = False
            self._ready.callback(None)
        elif failed and not self.repository.changes:
            self._ready.errback(ModelError(failed[0]))
        else:
            problems = [it.problem for it in self.disk.values() if it.problem]
            disk = [(it.name, version) for it in self.disk.values() for version in it.versions]
            waits = [f"{name}/{it.version} {it.reason}" for name, it in disk if it.reason]
            reasons = failed or problems or waits or ["the repository holds no version"]
            reason = self.repository.relative(self._problem) or reasons[-1]
            line = f"no model is ready yet: {reason}"
            if line != self._last_progress:
                self._last_progress = line
                self._on_progress(line)
