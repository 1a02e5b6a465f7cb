"""
Heartbeats of the model threads, and whether the server is alive.

Alive means that the reactor runs, that every model thread has a recent heartbeat, that the decode
threads are alive, and that no run has exceeded its timeout.  Everything here runs on the reactor
thread.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from model.execution.thread import ModelThread

_log = Logger()

HEARTBEAT_INTERVAL_SECONDS = 1.0

#: A thread without a heartbeat for this long counts as dead.  A thread has none during a run.
MAX_SILENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ThreadHealth:
    """The health of one model thread."""

    name: str
    alive: bool
    silent_s: float  #: seconds since it last began or ended a call, or answered a ping


class Heartbeat:
    """Pings the model threads every `HEARTBEAT_INTERVAL_SECONDS`; measures the reactor's lag."""

    def __init__(
        self,
        clock: IReactorTime,
        threads: Callable[[], Sequence[ModelThread]],
        *,
        decoding: Callable[[], bool] = lambda: True,
        hung: Callable[[], Collection[str]] = tuple,
        on_beat: Callable[[bool], object] = bool,
    ) -> None:
        """
        *threads* returns the model threads, *decoding* whether the decode threads are alive, *hung*
        the names of the models whose runs have exceeded their timeout.  At each heartbeat,
        *on_beat* is called with True if the server is alive, else with False.
        """
        self._decoding = decoding
        self._hung = hung
        self._clock = clock
        self._threads = threads
        self._on_beat = on_beat
        self._last = clock.seconds()
        self._loop = LoopingCall(self._beat)
        self._loop.clock = clock
        self._logged = ""  #: the trouble at the last heartbeat
        #: The delay of the last heartbeat, in seconds.
        self.reactor_lag = 0.0

    def start(self) -> None:
        """Begin the heartbeats."""
        self._last = self._clock.seconds() - HEARTBEAT_INTERVAL_SECONDS
        self._loop.start(HEARTBEAT_INTERVAL_SECONDS)

    def stop(self) -> None:
        """End the heartbeats; a second call does nothing."""
        if self._loop.running:
            self._loop.stop()

    def thread_health(self) -> list[ThreadHealth]:
        """Return the health of each model thread."""
        now = self._clock.seconds()
        return [
            ThreadHealth(
                thread.name,
                thread.alive and now - thread.last_heartbeat < MAX_SILENCE_SECONDS,
                round(max(0.0, now - thread.last_heartbeat), 3),
            )
            for thread in self._threads()
        ]

    @property
    def trouble(self) -> str:
        """
        The reason why the server is not alive, in words; empty while it is alive.

        The reactor is not checked: if it did not run, nothing would read this property.
        """
        if hung := self._hung():
            return f"a run of {', '.join(sorted(set(hung)))} does not end"
        if not self._decoding():
            return "a decode thread has ended unexpectedly"
        silent = [thread.name for thread in self.thread_health() if not thread.alive]
        return f"no heartbeat of {', '.join(silent)}" if silent else ""

    def _beat(self) -> None:
        now = self._clock.seconds()
        self.reactor_lag = max(0.0, now - self._last - HEARTBEAT_INTERVAL_SECONDS)
        self._last = now
        for thread in self._threads():
            thread.ping()
        trouble = self.trouble
        self._log_change(trouble)
        self._on_beat(not trouble)

    def _log_change(self, trouble: str) -> None:
        """Log *trouble*, which may be none, unless it was there at the last heartbeat."""
        before, self._logged = self._logged, trouble
        if trouble and trouble != before:
            _log.warn("the server is not alive: {trouble}", trouble=trouble)
        elif before and not trouble:
            _log.warn("the server is alive again")
