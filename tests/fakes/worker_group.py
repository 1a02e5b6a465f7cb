"""Workers and their supervisor in one process, with the real ends of their channels."""

from collections.abc import Mapping

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from server.discovery.announcer import Announcement
from server.workers.channel import Channel, Handler
from server.workers.reports import READY_STATE, GroupReports, Worker


class Pair:
    """Two ends of a connection, whose bytes `exchange` carries over."""

    def __init__(
        self,
        left: Mapping[str, Handler],
        right: Mapping[str, Handler],
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.lost: list[str] = []
        self.left = Channel(left, self.clock, lambda: self.lost.append("left"))
        self.right = Channel(right, self.clock, lambda: self.lost.append("right"))
        self.wires = (StringTransport(), StringTransport())
        self.left.makeConnection(self.wires[0])  # type: ignore[no-untyped-call]  # Twisted's
        self.right.makeConnection(self.wires[1])  # type: ignore[no-untyped-call]  # the same

    def exchange(self, piece: int = 3) -> bool:
        """Carry bytes in pieces of *piece* until there are none; return whether there were any."""
        any_moved, moved = False, True
        while moved:
            moved = False
            for wire, other in zip(self.wires, (self.right, self.left), strict=True):
                data = wire.value()
                wire.clear()
                for start in range(0, len(data), piece):
                    other.dataReceived(data[start : start + piece])  # type: ignore[no-untyped-call]  # the same
                moved = moved or bool(data)
            any_moved = any_moved or moved
        return any_moved


class FakeSupervisor:
    """Supervises the workers that the test connects; they end when it removes them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.workers: list[Worker] = []
        self._pairs: list[Pair] = []
        self.restarts = 0
        self.reports = GroupReports(
            lambda: list(self.workers),
            clock,
            configured=2,
            restarts=lambda: self.restarts,
            announcement=Announcement(),
        )

    def connect(self, index: int, pid: int, handlers: Mapping[str, Handler]) -> Channel:
        """Add a worker that answers by *handlers*; return its end of the channel."""
        pair = Pair(self.reports.handlers(), handlers, self._clock)
        self._pairs.append(pair)
        self.workers.append(Worker(index, pid, READY_STATE, pair.left))
        return pair.right

    def exchange(self) -> bool:
        """Carry all messages; return whether there were any."""
        return sum(pair.exchange(1 << 16) for pair in self._pairs) > 0
