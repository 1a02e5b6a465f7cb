"""A supervisor whose processes, sockets and time the test controls."""

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock

from server.settings.table import Settings
from server.workers.channel import Channel, ChannelError, Handler
from server.workers.slot import Process
from server.workers.socket_plan import PlannedSocket
from server.workers.supervisor import Supervisor
from tests.fakes.announcer import FakeAnnouncer


class FakeChannel(Channel):
    """A connection that notes the calls, and answers them, except for those for reports."""

    def __init__(self, clock: Clock, note: Callable[[str], object]) -> None:
        super().__init__({}, clock)
        self._note = note

    def call(self, name: str, argument: object = None, *, timeout: float = 5.0) -> Deferred[object]:
        """Note the call, or fail if it asks for a report."""
        if name == "readings":
            return fail(ChannelError(f"{name}: no answer"))
        self._note(name)
        return succeed(None)


class FakeProcess:
    """A process that ends when the test says so."""

    def __init__(
        self,
        name: str,
        harness: "SupervisorHarness",
        handlers: Mapping[str, Handler],
        on_ended: Callable[[int], object],
    ) -> None:
        self.pid = len(harness.started)
        self.name = name
        self.channel: Channel = FakeChannel(harness.clock, lambda it: harness.note(name, it))
        self.call = {it: handlers[it] for it in handlers}
        self.end = on_ended
        self._note = harness.note
        self._plans: tuple[PlannedSocket, ...] = ()

    def signal(self, number: signal.Signals) -> None:
        """Note the signal."""
        self._note(self.name, number.name)

    def ready(self) -> object:
        """The process reports that it is ready; return the answer."""
        return self.call["ready"](None)

    def beat(self, is_well: bool = True) -> None:
        """The process reports that it runs."""
        self.call["beat"](is_well)


class FakeSockets:
    """Sockets that note what happens to them."""

    def __init__(self, harness: "SupervisorHarness") -> None:
        self._note = harness.note

    def __call__(self, plans: Iterable[PlannedSocket], workers: int) -> "FakeSockets":
        """Take the place of the class."""
        self._plans = tuple(plans)
        return self

    def addresses(self) -> list[IAddress]:
        """Return one for each plan."""
        return [IPv4Address("TCP", "127.0.0.1", plan.port) for plan in self._plans]

    def open(self, worker: int) -> None:
        """Note it."""
        self._note(str(worker), "open")

    def shut(self, worker: int) -> None:
        """Note it."""
        self._note(str(worker), "shut")

    def close(self) -> None:
        """Note it."""
        self._note("all", "close")

    def remove_paths(self) -> None:
        """Note it."""
        self._note("all", "remove paths")


class SupervisorHarness:
    """A supervisor of *workers* workers; `events` has what it did since it was last cleared."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        workers: int = 2,
        withdraw: Callable[[], Deferred[None]] = lambda: succeed(None),
    ) -> None:
        self.clock = Clock()
        self.events: list[str] = []
        #: The processes so far, by the number of the worker and that of the process: 0a, 0b.
        self.started: dict[str, FakeProcess] = {}
        self.refusal: OSError | None = None  #: why no process can be started
        self.notified: list[str] = []
        self.failures: list[str] = []
        self.readiness: list[str] = []
        self.announcer = FakeAnnouncer(withdraw, lambda: self.readiness.append("ready"))
        #: Returns whether the supervisor counts as ready, once it has bound its addresses.
        self.is_ready: Callable[[], bool] = bool
        monkeypatch.setattr("server.workers.supervisor.ListeningSockets", FakeSockets(self))
        monkeypatch.setattr("server.workers.supervisor.notify", self.notified.append)
        monkeypatch.setattr("server.process.systemd.notify", self.notified.append)
        self.supervisor = Supervisor(
            Settings(workers=workers),
            self.clock,
            lambda _: self._spawn,
            fail=self.failures.append,
            announcing=self._announcing,
        )

    def _announcing(
        self, addresses: Sequence[IAddress], *, ready: Callable[[], bool], **_: object
    ) -> FakeAnnouncer:
        self.is_ready = ready
        return self.announcer

    def note(self, name: str, what: str) -> None:
        """Note an event."""
        self.events.append(f"{name} {what}")

    def _spawn(
        self,
        index: int,
        *,
        accepts_at_once: bool,
        handlers: Mapping[str, Handler],
        on_ended: Callable[[int], object],
    ) -> Process:
        if self.refusal is not None:
            raise self.refusal
        count = sum(name[0] == str(index) for name in self.started)
        name = f"{index}{'abcdefgh'[count]}"
        self.note(name, "start, accepts at once" if accepts_at_once else "start")
        self.started[name] = FakeProcess(name, self, handlers, on_ended)
        return self.started[name]

    def start(self) -> None:
        """Start the supervisor."""
        self.supervisor.privilegedStartService()
        self.supervisor.startService()

    def ready(self) -> "SupervisorHarness":
        """Start, and let each worker become ready."""
        self.start()
        for index in range(self.supervisor.settings.workers):
            self.started[f"{index}a"].ready()
        self.events.clear()
        return self

    def wait(self, seconds: int, beats: Iterable[str] = ()) -> None:
        """Let *seconds* pass; the processes *beats* report that they run in each of them."""
        for _ in range(seconds):
            for name in beats:
                self.started[name].beat()
            self.clock.advance(1)

    def happened(self) -> list[str]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events
