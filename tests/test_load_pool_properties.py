"""Whatever a server does, and when, each request ends exactly once: scripts/load/pool.py."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.error import ConnectionLost
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock

from scripts.load.exchange import Exchange
from scripts.load.pool import ConnectionPool
from tests.fakes.load import FakeEndpoint, FakeTransport, plain

LIMIT, TIMEOUT = 3, 8.0

PICK = st.integers(0, 1000)


class Pooled(RuleBasedStateMachine):
    """A pool before a server that answers, refuses, stalls, breaks and hangs up."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.endpoint = FakeEndpoint(self.clock)
        self.pool = ConnectionPool(
            self.endpoint, limit=LIMIT, timeout=TIMEOUT, seconds=self.clock.seconds
        )
        self.sent: list[Exchange] = []
        self.ends: list[Exchange] = []
        self.answered: dict[FakeTransport, int] = {}

    def finish(self, exchange: Exchange) -> None:
        """Record an end; after some requests the next is sent at once."""
        self.ends.append(exchange)
        if exchange.request.endswith(b"+"):
            self.send(again=False)

    @property
    def transports(self) -> list[FakeTransport]:
        """The connections that are up, from the server's side."""
        return [transport for transport in self.endpoint.transports if transport.connected]

    @property
    def asked(self) -> list[FakeTransport]:
        """Those that wait for an answer."""
        return [
            transport
            for transport in self.transports
            if not transport.ending and len(transport.requests) > self.answered.get(transport, 0)
        ]

    def answer(self, transport: FakeTransport, head: str = "") -> None:
        """Answer the last request with its name, in two pieces."""
        name = transport.requests[-1].decode()
        whole = plain(head=f"Server-Timing: {name}\r\n{head}")
        self.answered[transport] = len(transport.requests)
        transport.send(whole[:20], whole[20:])

    @rule(again=st.booleans())
    def send(self, again: bool) -> None:
        """A request is due."""
        now = self.clock.seconds()
        name = f"{len(self.sent)}{'+' if again else ''}".encode()
        exchange = Exchange(name, now, now, self.finish)
        self.sent.append(exchange)
        self.pool.send(exchange)

    @precondition(lambda self: self.endpoint.waiting)
    @rule()
    def accept(self) -> None:
        """A connection is made."""
        self.endpoint.accept()

    @precondition(lambda self: self.endpoint.waiting)
    @rule()
    def refuse(self) -> None:
        """A connection is refused."""
        self.endpoint.refuse(Refused())

    @precondition(lambda self: self.asked)
    @rule(pick=PICK, head=st.sampled_from(["", "", "Connection: close\r\n"]))
    def reply(self, pick: int, head: str) -> None:
        """An answer comes."""
        self.answer(self.asked[pick % len(self.asked)], head)

    @precondition(lambda self: self.transports)
    @rule(pick=PICK, clean=st.booleans())
    def hang_up(self, pick: int, clean: bool) -> None:
        """A connection ends, whatever it was doing."""
        self.transports[pick % len(self.transports)].hang_up(None if clean else ConnectionLost())

    @precondition(lambda self: self.transports)
    @rule(pick=PICK, data=st.sampled_from([b"garbage", b"HTTP/1.1 200", plain() + b"more"]))
    def babble(self, pick: int, data: bytes) -> None:
        """Data comes that is no answer, more than one or half of one, and then no more."""
        transport = self.transports[pick % len(self.transports)]
        self.answered[transport] = len(transport.requests)
        transport.send(data)

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.clock.advance(seconds)
        self.pool.expire()

    @invariant()
    def each_ends_once_and_none_is_forgotten(self) -> None:
        """What has not finished is in flight, and nothing else is."""
        assert len(set(self.ends)) == len(self.ends)
        assert self.pool.in_flight == len(self.sent) - len(self.ends)
        for exchange in self.ends:
            assert (exchange.status == 0) == bool(exchange.detail)
            assert exchange.timing in (exchange.request, b"")

    @invariant()
    def the_limit_holds(self) -> None:
        """Connections that are being opened count, and those whose end has yet to be reported."""
        assert len(self.transports) + len(self.endpoint.waiting) <= LIMIT

    def teardown(self) -> None:
        """If the server answers from now on, only requests on broken connections stay open."""
        now = self.clock.seconds()
        for _ in range(3 * len(self.sent) + 10):
            self.clock.advance(0)
            while self.endpoint.waiting:
                self.endpoint.accept()
            for transport in self.asked:
                self.answer(transport)
        spoilt = [
            transport
            for transport in self.transports
            if transport.requests and not transport.ending
        ]
        assert self.pool.in_flight <= len(spoilt)
        assert self.clock.seconds() == now
        self.clock.advance(TIMEOUT)
        self.pool.expire()
        self.clock.advance(0)
        self.each_ends_once_and_none_is_forgotten()
        self.the_limit_holds()


def test_every_request_ends_once() -> None:
    """Whatever its clients, its server and the time do."""
    quiet = settings(derandomize=True, deadline=None, max_examples=20, stateful_step_count=40)
    run_state_machine_as_test(Pooled, settings=quiet)
