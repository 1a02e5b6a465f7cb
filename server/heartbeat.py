"""
Heartbeats of the model threads, and whether the server lives.

Alive means that the reactor turns, that every model thread shows a heartbeat, and that no run has
been given up.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from model.execution.thread import ModelThread

#: Seconds between heartbeats.
BEAT = 1.0

#: Seconds without a heartbeat after which a thread counts as dead; a run may take as long.
SILENCE = 30.0


@dataclass(frozen=True, slots=True)
class Pulse:
    """The heartbeat of one thread."""

    name: str
    alive: bool
    silent_s: float  #: seconds since it last took or ended a call, or answered a ping


class Heartbeat:
    """Pings the model threads, and hears how late the reactor is with it."""

    def __init__(
        self,
        clock: IReactorTime,
        threads: Callable[[], Sequence[ModelThread]],
        *,
        decoding: Callable[[], bool] = lambda: True,
        hung: Callable[[], bool] = bool,
        on_beat: Callable[[bool], object] = bool,
    ) -> None:
        """
        *decoding* tells whether the decode threads live, *hung* whether a run has been given up;
        *on_beat* is told at each beat whether the server lives.
        """
        self._decoding = decoding
        self._hung = hung
        self._clock = clock
        self._threads = threads
        self._on_beat = on_beat
        self._last = clock.seconds()
        self._loop = LoopingCall(self._beat)
        self._loop.clock = clock
        #: Seconds by which the reactor was last late for a beat.
        self.reactor_lag = 0.0

    def start(self) -> None:
        """Begin to beat."""
        self._last = self._clock.seconds() - BEAT
        self._loop.start(BEAT)

    def stop(self) -> None:
        """Beat no more."""
        if self._loop.running:
            self._loop.stop()

    def pulses(self) -> list[Pulse]:
        """Return the heartbeat of each model thread."""
        now = self._clock.seconds()
        return [
            Pulse(
                thread.name,
                thread.alive and now - thread.last_heartbeat < SILENCE,
                round(max(0.0, now - thread.last_heartbeat), 3),
            )
            for thread in self._threads()
        ]

    @property
    def trouble(self) -> str:
        """
        Why the server does not live, in words; empty while it does.

        That this is asked shows the reactor's own life.
        """
        if self._hung():
            return "a run of the model does not end"
        if not self._decoding():
            return "a decode thread has died"
        silent = [pulse.name for pulse in self.pulses() if not pulse.alive]
        return f"no heartbeat of {', '.join(silent)}" if silent else ""

    def _beat(self) -> None:
        now = self._clock.seconds()
        self.reactor_lag = max(0.0, now - self._last - BEAT)
        self._last = now
        for thread in self._threads():
            thread.ping()
        self._on_beat(not self.trouble)
