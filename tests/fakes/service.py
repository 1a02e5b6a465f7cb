"""The whole service on a fake reactor, fake threads and fake connections, stepped by the test."""

from collections.abc import Callable
from functools import partial

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IReadDescriptor
from twisted.internet.protocol import ServerFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from model.execution.decode_pool import DecodePool
from server.lifecycle import State
from server.service import IDLE_GRACE_SECONDS, InferenceService
from server.settings.table import Settings
from server.workers.worker_reports import WorkerGroup
from tests.fakes.announcer import FakeAnnouncer
from tests.fakes.http import Client, request
from tests.fakes.model import FakeRunner
from tests.fakes.server import SIGNATURE, FakeLoader, SteppedThreads
from tests.fakes.threads import Calls, ManualThreads, outcomes


@implementer(IListeningPort)
class FakePort:
    """A port that listens until `stopListening`."""

    def __init__(self, factory: ServerFactory, host: IAddress) -> None:
        self.factory = factory
        self.stopped = False
        self.waiting = 0  #: the size of its backlog
        self._host = host

    def startListening(self) -> None:
        """Do nothing: the port listens from the start."""

    def stopListening(self) -> Deferred[None]:
        """Stop listening."""
        self.stopped = True
        return succeed(None)

    def getHost(self) -> IAddress:
        """Return the address."""
        return self._host


@implementer(IReadDescriptor)
class BacklogPort(FakePort):
    """A port with connections in the kernel's backlog."""

    def __init__(self, factory: ServerFactory, host: IAddress) -> None:
        super().__init__(factory, host)
        self.backlog: list[Callable[[], object]] = []  #: each call connects a client

    def doRead(self) -> None:
        """Accept two of the connections, as a real port accepts several at once."""
        assert not self.stopped, "accepted on a closed port"
        accepted, self.backlog = self.backlog[:2], self.backlog[2:]
        for connect in accepted:
            connect()

    def connectionLost(self, reason: Failure) -> None:
        """Do nothing: this is no connection."""

    def fileno(self) -> int:
        """Return -1: there is no file."""
        return -1

    def logPrefix(self) -> str:
        """Return a name."""
        return "port"


class FakeReactor(MemoryReactorClock):
    """A reactor whose time, thread calls and ports the test controls."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self.from_threads = Calls()
        self.ports: list[FakePort] = []
        self.taken: set[int] = set()  #: port numbers in use by other processes
        self.port_kind = FakePort

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        """Queue the call until the test drains `from_threads`."""
        self.from_threads(function, *args)

    def listenTCP(
        self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Bind and listen; raises CannotListenError for a taken port."""
        if port in self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        kind = IPv6Address if ":" in interface else IPv4Address
        self.ports.append(self.port_kind(factory, kind("TCP", interface, port)))
        self.ports[-1].waiting = backlog
        return self.ports[-1]


class ServiceHarness:
    """The service in one thread: the test steps its threads, timers and connections."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        settings: Settings | None = None,
        *,
        lanes: int = 1,
        withdraw: Callable[[], Deferred[None]] | None = None,
        group: WorkerGroup | None = None,
        reactor: FakeReactor | None = None,
    ) -> None:
        self.reactor = reactor or FakeReactor()
        self.pool = ManualThreads()
        self.threads = SteppedThreads()
        self.runner = FakeRunner(SIGNATURE, spend=self._spend)
        self.loader = FakeLoader(self.runner, lanes=lanes)
        self.failures: list[str] = []
        #: The server's state at each call of on_loaded.
        self.states_when_loaded: list[State] = []
        self.runs_after_close = 0
        decode_pool = partial(DecodePool, pool=self.pool, clock=self.reactor.seconds)
        monkeypatch.setattr("server.service.DecodePool", decode_pool)
        monkeypatch.setattr("server.service.MonotonicTime", lambda reactor: reactor)
        monkeypatch.setattr("model.execution.lane_pool.ModelThread", self.threads)
        if withdraw is not None:
            announcer = FakeAnnouncer(withdraw)
            monkeypatch.setattr("server.service.announcing", lambda *_, **__: announcer)
        self.service = InferenceService(
            settings or Settings(),
            self.reactor,
            fail=self.failures.append,
            on_loaded=lambda: self.states_when_loaded.append(self.service.lifecycle.state),
            load=self.loader,
            group=group,
        )

    def _spend(self, rows: int) -> None:
        """Let a run take 1/64 s a row, and count runs on a freed device."""
        self.runs_after_close += self.runner.closed
        self.reactor.rightNow += rows / 64

    def start(self) -> None:
        """Bind, and begin to load the model."""
        self.service.privilegedStartService()
        self.service.startService()

    def started(self) -> "ServiceHarness":
        """Start, and run until the server is ready."""
        self.start()
        self.turn()
        assert self.service.lifecycle.state is State.READY
        return self

    def turn(self, *, model: bool = True) -> None:
        """Run everything that is due now; without *model*, the model threads hang."""
        while True:
            self.reactor.from_threads.drain()
            self.reactor.advance(0)
            if self.pool.queue:
                self.pool.step()
            elif not (model and self.threads.step()):
                break

    def wait(self, seconds: float, *, model: bool = True) -> None:
        """Advance the time by *seconds*, and run everything that is due."""
        self.turn(model=model)
        self.reactor.advance(seconds)
        self.turn(model=model)

    def connect(self) -> Client:
        """Connect to the first port."""
        assert not self.reactor.ports[0].stopped, "the port does not listen"
        return Client(self.service.site, self.reactor)

    def readyz(self) -> tuple[int, object]:
        """Return the status and the body of ``GET /readyz``."""
        client = self.connect()
        client.send(request("GET", "/readyz"))
        client.hang_up()
        return client.answer.status, client.answer.json()

    def stop(self, *, model: bool = True) -> list[object]:
        """Stop the server, let the grace period pass, and return the outcome of the stop."""
        fired = outcomes(self.service.stopService())
        self.turn(model=model)
        self.wait(IDLE_GRACE_SECONDS, model=model)
        return fired
