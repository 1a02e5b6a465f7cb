"""A whole server in one thread: its reactor, threads and connections move when told."""

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
from tests.fakes.http import Client, request
from tests.fakes.model import FakeRunner
from tests.fakes.server import SIGNATURE, FakeLoader, SteppedThreads
from tests.fakes.threads import Calls, ManualThreads, outcomes


@implementer(IListeningPort)
class FakePort:
    """A port that listens until it is stopped."""

    def __init__(self, factory: ServerFactory, host: IAddress) -> None:
        self.factory = factory
        self.stopped = False
        self.waiting = 0  #: how many connections may wait to be accepted
        self._host = host

    def startListening(self) -> None:
        """Do nothing: it listens from the start."""

    def stopListening(self) -> Deferred[None]:
        """Listen no more."""
        self.stopped = True
        return succeed(None)

    def getHost(self) -> IAddress:
        """Return what was bound."""
        return self._host


@implementer(IReadDescriptor)
class BacklogPort(FakePort):
    """One behind which the kernel holds connections that nobody has accepted."""

    def __init__(self, factory: ServerFactory, host: IAddress) -> None:
        super().__init__(factory, host)
        self.backlog: list[Callable[[], object]] = []  #: each connects

    def doRead(self) -> None:
        """Accept two of the connections, as a real port accepts some, if it listens."""
        assert not self.stopped, "accepted on a closed port"
        accepted, self.backlog = self.backlog[:2], self.backlog[2:]
        for connect in accepted:
            connect()

    def connectionLost(self, reason: Failure) -> None:
        """Do nothing: this is no connection."""

    def fileno(self) -> int:
        """Return that there is no file."""
        return -1

    def logPrefix(self) -> str:
        """Return a name."""
        return "port"


class FakeReactor(MemoryReactorClock):
    """A reactor whose time, threads and ports are moved by hand."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self.from_threads = Calls()
        self.ports: list[FakePort] = []
        self.taken: set[int] = set()  #: port numbers that others have
        self.port_kind = FakePort

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        """Call soon."""
        self.from_threads(function, *args)

    def listenTCP(
        self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Bind and listen, unless another has the port."""
        if port in self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        kind = IPv6Address if ":" in interface else IPv4Address
        self.ports.append(self.port_kind(factory, kind("TCP", interface, port)))
        self.ports[-1].waiting = backlog
        return self.ports[-1]


class ServiceHarness:
    """A whole server in one thread: its threads, timers and connections move when told."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        settings: Settings | None = None,
        *,
        lanes: int = 1,
    ) -> None:
        self.reactor = FakeReactor()
        self.pool = ManualThreads()
        self.threads = SteppedThreads()
        self.runner = FakeRunner(SIGNATURE, spend=self._spend)
        self.loader = FakeLoader(self.runner, lanes=lanes)
        self.failures: list[str] = []
        #: The server's states when it said that all was loaded.
        self.states_when_loaded: list[State] = []
        self.runs_after_close = 0
        decode_pool = partial(DecodePool, pool=self.pool, clock=self.reactor.seconds)
        monkeypatch.setattr("server.service.DecodePool", decode_pool)
        monkeypatch.setattr("server.service.MonotonicTime", lambda reactor: reactor)
        monkeypatch.setattr("server.model_host.ModelThread", self.threads)
        self.service = InferenceService(
            settings or Settings(),
            self.reactor,
            fail=self.failures.append,
            on_loaded=lambda: self.states_when_loaded.append(self.service.lifecycle.state),
            load=self.loader,
        )

    def _spend(self, rows: int) -> None:
        """Let a run take its time, but not when the device has been freed."""
        self.runs_after_close += self.runner.closed
        self.reactor.rightNow += rows / 64

    def start(self) -> None:
        """Bind, and begin to load."""
        self.service.privilegedStartService()
        self.service.startService()

    def started(self) -> "ServiceHarness":
        """Start, to the end."""
        self.start()
        self.turn()
        assert self.service.lifecycle.state is State.READY
        return self

    def turn(self, *, model: bool = True) -> None:
        """Do all that is to be done now; without *model*, the model threads hang."""
        while True:
            self.reactor.from_threads.drain()
            self.reactor.advance(0)
            if self.pool.queue:
                self.pool.step()
            elif not (model and self.threads.step()):
                break

    def wait(self, seconds: float, *, model: bool = True) -> None:
        """Let *seconds* pass."""
        self.turn(model=model)
        self.reactor.advance(seconds)
        self.turn(model=model)

    def connect(self) -> Client:
        """Connect to the first port."""
        assert not self.reactor.ports[0].stopped, "nobody listens"
        return Client(self.service.site, self.reactor)

    def readyz(self) -> tuple[int, object]:
        """Return how ``GET /readyz`` is answered, and what it says."""
        client = self.connect()
        client.send(request("GET", "/readyz"))
        client.hang_up()
        return client.answer.status, client.answer.json()

    def stop(self, *, model: bool = True) -> list[object]:
        """Tell the server to stop, let the grace pass, and return what the stop gives."""
        fired = outcomes(self.service.stopService())
        self.turn(model=model)
        self.wait(IDLE_GRACE_SECONDS, model=model)
        return fired
