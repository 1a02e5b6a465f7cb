"""
Tell whether the server lives and whether it is ready.

Alive means that the reactor turns and that every model thread shows a heartbeat; ready means that
a model is warm and the server is not about to go.  Everything here runs on the reactor thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import orjson
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from model.thread import ModelThread
from server.http.messages import HTTPRequest, HTTPResponse
from server.lifecycle import Lifecycle, State

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
        on_beat: Callable[[bool], object] = bool,
    ) -> None:
        """
        *decoding* tells whether the decode threads live; *on_beat* is told at each beat whether
        the server does.
        """
        self._decoding = decoding
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
                thread.alive and now - thread.last_beat < SILENCE,
                round(max(0.0, now - thread.last_beat), 3),
            )
            for thread in self._threads()
        ]

    @property
    def alive(self) -> bool:
        """
        Whether all model threads show a heartbeat and the decode threads live; that this is asked
        shows the reactor's.
        """
        return self._decoding() and all(pulse.alive for pulse in self.pulses())

    def _beat(self) -> None:
        now = self._clock.seconds()
        self.reactor_lag = max(0.0, now - self._last - BEAT)
        self._last = now
        for thread in self._threads():
            thread.ping()
        self._on_beat(self.alive)


class HealthAPI:
    """The endpoints of `GET /healthz` and `GET /readyz`."""

    def __init__(self, heartbeat: Heartbeat, lifecycle: Lifecycle) -> None:
        self._heartbeat = heartbeat
        self._lifecycle = lifecycle

    def healthz(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer 200 while the server lives, else 503; a load that takes long is no death."""
        starting = self._lifecycle.state is State.STARTING
        alive = starting or self._heartbeat.alive
        return _json(
            200 if alive else 503,
            {
                "alive": alive,
                "reactor_lag_s": round(self._heartbeat.reactor_lag, 3),
                "model_threads": [asdict(pulse) for pulse in self._heartbeat.pulses()],
            },
        )

    def readyz(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer 200 while requests are welcome, else 503 with the state and its progress."""
        state = self._lifecycle.state
        content: dict[str, object] = {"ready": state is State.READY, "state": state.value}
        if state is State.STARTING:
            content["progress"] = self._lifecycle.progress
        return _json(200 if state is State.READY else 503, content)


def _json(status: int, content: dict[str, object]) -> Deferred[HTTPResponse]:
    return succeed(HTTPResponse(status, orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)))
