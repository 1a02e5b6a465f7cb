"""
One of the workers that a supervisor keeps running: its processes, one after the other.

Decides when a process is started again, and when its sockets are open.  At most one process serves
and one starts; those that have a successor leave meanwhile.  Runs on the reactor thread.
"""

import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from server.workers.channel import Channel, ChannelError, Handler
from server.workers.restarts import RestartDelays

#: Seconds after which a process is killed if its reactor has not run.  TensorFlow may block it for
#: some, while it loads a model.
MAX_SILENCE_SECONDS = 60

#: The same until the process is ready: to import TensorFlow from a slow disk may block it.
MAX_START_SILENCE_SECONDS = 300

#: Seconds from `Slot.abort` until the processes that have not ended are killed.
MAX_ABORT_SECONDS = 5.0

_log = Logger()


class Stage(Enum):
    """A stage of one process."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"  #: it has a successor
    ENDED = "ended"


class Process(Protocol):
    """A process of a worker: `server.workers.process.WorkerProcess`."""

    pid: int
    channel: Channel

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, unless it has ended."""


class Sockets(Protocol):
    """The sockets of all workers: `server.workers.sockets.ListeningSockets`."""

    def open(self, worker: int) -> None:
        """Listen on the sockets of *worker*; raises OSError."""

    def shut(self, worker: int) -> None:
        """Stop listening on the sockets of *worker*."""


class Spawn(Protocol):
    """Starts the process of a worker."""

    def __call__(
        self,
        index: int,
        *,
        accepts_at_once: bool,
        handlers: Mapping[str, Handler],
        on_ended: Callable[[int], object],
    ) -> Process:
        """Start it; raises OSError."""


@dataclass(slots=True, eq=False)
class Run:
    """One process, and its state."""

    process: Process | None = None  #: None if it could not be started
    stage: Stage = Stage.STARTING
    ready_since: float | None = None  #: by the clock
    silence: int = 0  #: seconds without a beat
    is_well: bool = True  #: whether its last beat has reported no trouble
    is_closed: bool = False  #: whether it accepts no more connections, because it stops
    ended: Deferred[None] = field(default_factory=Deferred)

    @property
    def state(self) -> str:
        """What it does, in one word for users."""
        return (Stage.LEAVING if self.is_closed else self.stage).value

    @property
    def max_silence(self) -> int:
        """The seconds without a beat after which it is killed."""
        is_starting = self.stage is Stage.STARTING
        return MAX_START_SILENCE_SECONDS if is_starting else MAX_SILENCE_SECONDS


class Slot:
    """Keeps one worker running until `stop`."""

    def __init__(
        self,
        index: int,
        *,
        spawn: Spawn,
        sockets: Sockets,
        clock: IReactorTime,
        handlers: Mapping[str, Handler],
        on_ready: Callable[[], object],
        must_restart: Callable[[str, int | None], bool],
    ) -> None:
        """
        *on_ready* is called when a process has become ready; *must_restart* when one has ended by
        itself, with the reason in words and its code as in `end_in_words`, which is None if it
        could not be started: it returns whether to start another.
        """
        self.index = index
        self.runs: list[Run] = []
        #: Whether each process that was ready has ended with 0 after `stop`.
        self.ended_well = True
        self._spawn = spawn
        self._sockets = sockets
        self._clock = clock
        self._handlers = handlers
        self._on_ready = on_ready
        self._must_restart = must_restart
        self._delays = RestartDelays()
        self._restart: IDelayedCall | None = None
        self.restarts = 0  #: of processes that had ended by themselves
        self._replaced: Deferred[bool] | None = None
        self._stopping = False

    @property
    def serving(self) -> Run | None:
        """The process that is to serve; it may be closed."""
        return next((it for it in self.runs if it.stage is Stage.READY), None)

    def start(self, *, accepts_at_once: bool = False) -> None:
        """Start a process; with *accepts_at_once* it accepts connections while it loads."""
        run = Run()
        self.runs.append(run)

        def beat(is_well: bool) -> None:
            run.silence, run.is_well = 0, is_well

        try:
            run.process = self._spawn(
                self.index,
                accepts_at_once=accepts_at_once,
                handlers={
                    **self._handlers,
                    "ready": lambda _: self._ready(run),
                    "beat": beat,
                    "closed": lambda _: self._closed(run),
                },
                on_ended=lambda code: self._ended(run, end_in_words(code), code),
            )
        except OSError as error:
            # Later, because twistd starts its services before the reactor, which may have to stop.
            reason = f"could not be started: {error.strerror}"
            self._clock.callLater(0, self._ended, run, reason, None)

    def _ready(self, run: Run) -> bool:
        """Called when the model of a process is loaded; return whether to accept connections."""
        if self._stopping or run.stage is not Stage.STARTING:  # it may have ended meanwhile
            return False
        self._sockets.open(self.index)
        run.ready_since, run.silence = self._clock.seconds(), 0
        old, run.stage = self.serving, Stage.READY
        if old is not None:
            old.stage = Stage.LEAVING
        self._settle(replaced=True)
        self._on_ready()
        return True

    def _closed(self, run: Run) -> None:
        """Called when a process accepts no more connections: it stops."""
        run.is_closed = True
        if run.stage is Stage.READY and not self._stopping:  # after a signal to this process alone
            self._sockets.shut(self.index)

    def _settle(self, *, replaced: bool) -> None:
        """Report the outcome of `replace`, if it is under way."""
        waiting, self._replaced = self._replaced, None
        if waiting is not None:
            waiting.callback(replaced)

    def _ended(self, run: Run, reason: str, code: int | None) -> None:
        stage, run.stage = run.stage, Stage.ENDED
        self.runs.remove(run)
        if not self._stopping and stage is not Stage.LEAVING:
            self._failed(run, reason, code)
        elif code != 0 and run.ready_since is not None:
            self.ended_well = self.ended_well and not self._stopping
            _log.error("worker {index} {reason}", index=self.index, reason=reason)
        run.ended.callback(None)

    def _failed(self, run: Run, reason: str, code: int | None) -> None:
        """A process has ended by itself."""
        if self.serving is not None:  # the successor of this one has failed
            _log.error("the new worker {index} {reason}", index=self.index, reason=reason)
            self._settle(replaced=False)
            return
        self._sockets.shut(self.index)
        if not self._must_restart(reason, code):
            return
        now = self._clock.seconds()
        ready = 0.0 if run.ready_since is None else now - run.ready_since
        if any(it.stage is Stage.STARTING for it in self.runs):
            _log.error("worker {index} {reason}", index=self.index, reason=reason)
            return  # its successor follows
        delay = self._delays.delay(ready)
        _log.error(
            "worker {index} {reason}; it is started again in {delay:g} s",
            index=self.index,
            reason=reason,
            delay=delay,
        )
        self._settle(replaced=False)
        self._restart = self._clock.callLater(delay, self._start_again)

    def _start_again(self) -> None:
        self.restarts += 1
        self.start()

    async def replace(self) -> bool:
        """
        Start a successor of the process that serves; when it is ready, end the old one.

        Return whether that was done; if not, the old one serves, or is started again by itself.
        """
        old = self.serving
        if old is None or self._stopping:
            return False
        replaced: Deferred[bool] = Deferred()
        self._replaced = replaced
        self.start()
        if not await replaced:
            return False
        if old.process is not None and old.stage is Stage.LEAVING:
            # Without an answer it may drop connections in the queue, or is killed for its silence.
            with suppress(ChannelError):
                await old.process.channel.call("succeeded")
            old.process.signal(signal.SIGTERM)
            await old.ended
        return True

    def count_second(self) -> None:
        """Called each second: kill processes that are silent for too long."""
        for run in self.runs:
            run.silence += 1
            if run.silence == run.max_silence and run.process is not None:
                _log.error(
                    "worker {index} has not run for {seconds} s: it is killed",
                    index=self.index,
                    seconds=run.silence,
                )
                run.process.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes."""
        for run in self.runs:
            if run.process is not None:
                run.process.signal(number)

    def abort(self) -> None:
        """Abort all processes; kill those that have not ended `MAX_ABORT_SECONDS` later."""
        for run in self.runs:
            if run.process is not None:
                run.process.channel.call("abort").addErrback(lambda _: None)  # it is killed
        self._clock.callLater(MAX_ABORT_SECONDS, self.signal, signal.SIGKILL)

    async def stop(self) -> None:
        """Send SIGTERM to all processes; return when they have ended."""
        self._stopping = True
        if self._restart is not None and self._restart.active():
            self._restart.cancel()
        self.signal(signal.SIGTERM)
        for run in list(self.runs):
            await run.ended
        self._settle(replaced=False)


def end_in_words(code: int) -> str:
    """Return how a process has ended, from its exit code or minus the number of a signal."""
    if code >= 0:
        return f"has ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}"
