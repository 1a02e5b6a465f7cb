"""
Foretell what requests would see: the real batcher, before a model that only takes its time.

Has a clock of its own and reads no other; chance comes in with the world, so that the same world
ends the same way on any machine.  Times and durations are seconds, and each request has one row.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import repeat
from math import exp, inf, sqrt
from operator import itemgetter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from batcher.batcher import Batcher
from batcher.errors import DeadlineExceeded, Overloaded, QueueFull
from batcher.executor import Piece
from batcher.learning.latency import LatencyCurve
from batcher.policy import FixedPolicy, Policy
from batcher.queue import Queue

#: When a world begins.  Not at 0: a timer is set by its delay, and the sum gives back the very time
#: that was meant only where that is less than twice the time at which it was set.
START = 1024.0


@dataclass(frozen=True, slots=True)
class Noise:
    """
    By what runs take longer or less: lognormal, 1 on average, one run's independent of another's.

    Every request has a share, standard normal, in that of the run it rides in: whoever shares the
    same requests out among other runs meets the same chance, as far as that can be.
    """

    sigma: float  #: of the logarithm
    shares: Sequence[float]  #: one a request, by its number

    def stretch(self, shares: Sequence[float]) -> float:
        """Return the factor for a run of as many rows as *shares*, which are theirs."""
        return exp(self.sigma * (sum(shares) / sqrt(len(shares)) - self.sigma / 2.0))


@dataclass(frozen=True, slots=True)
class World:
    """
    All that a batcher meets: the same one for each policy that is to be compared.

    The requests *due* come from outside.  With *think*, each of these comes from a client who sends
    one more so long after an answer, until there were *requests* in all.  Clients are answered one
    by one, *per_answer* seconds each, so that they do not come back at once.
    """

    seconds: Sequence[float]  #: of a run of as many rows as the index says; of 0 rows, any
    measured: Mapping[int, float]  #: what a warm-up saw of that, by rows
    noise: Noise
    due: Sequence[float]  #: in order, from `START` on
    requests: int
    think: float | None = None
    per_answer: float = 0.0
    slo: float = inf  #: what each request is given for its answer
    lanes: int = 1


@dataclass(slots=True)
class History:
    """What became of the requests of a world, which are numbered in order of arrival."""

    due: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)  #: when they were answered; inf: they were not
    refused: list[int] = field(default_factory=list)  #: who was turned away at once
    dropped: list[int] = field(default_factory=list)  #: who was taken in and came too late
    runs: list[tuple[int, int]] = field(default_factory=list)  #: the oldest in each, and its rows


@implementer(IDelayedCall)
class _Call:
    """A call that a `SimulatedClock` is to make; the entry in its heap may be out of date."""

    __slots__ = ("_clock", "function", "number", "time")

    def __init__(self, clock: "SimulatedClock", function: Callable[[], object]) -> None:
        self._clock = clock
        self.function = function
        self.time = 0.0
        self.number = 0  #: of the entry that counts; 0 when there is none

    def getTime(self) -> float:
        """Return when it is due."""
        return self.time

    def active(self) -> bool:
        """Return whether it is still to come."""
        return self.number > 0

    def cancel(self) -> None:
        """Never make it."""
        self._need_active()
        self.number = 0

    def reset(self, secondsFromNow: float) -> None:
        """Make it so many seconds from now."""
        self._need_active()
        self._clock.put(self, self._clock.now + secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        """Make it so many seconds later than it was due."""
        self._need_active()
        self._clock.put(self, self.time + secondsLater)

    def _need_active(self) -> None:
        if not self.number:
            raise AlreadyCalled


@implementer(IReactorTime)
class SimulatedClock:
    """Time that goes from call to call, in order of their times and then of their making."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._calls: list[tuple[float, int, _Call]] = []
        self._made = 0

    def seconds(self) -> float:
        """Return the time."""
        return self.now

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002 - the interface's own name
        *args: object,
        **kw: object,
    ) -> _Call:
        """Call *callable* in *delay* seconds."""
        call = _Call(self, partial(callable, *args, **kw))
        self.put(call, self.now + delay)
        return call

    def getDelayedCalls(self) -> Sequence[_Call]:
        """Return the calls to come."""
        return [call for _, number, call in sorted(self._calls) if call.number == number]

    def put(self, call: _Call, time: float) -> None:
        """Make *call* at *time*, and not when it was to be made before."""
        self._made += 1
        call.time, call.number = time, self._made
        heappush(self._calls, (time, self._made, call))

    def next(self) -> float:
        """Return no later a time than the next call's; inf when there is none."""
        return self._calls[0][0] if self._calls else inf

    def step(self) -> None:
        """Go on to that time, and make the call that is due."""
        time, number, call = heappop(self._calls)
        if call.number == number:
            self.now = time
            call.number = 0
            call.function()


class _Lane:
    """Takes the time that the world says, and answers each request with its number."""

    seconds: float | None = None

    def __init__(self, clock: SimulatedClock, world: World, history: History) -> None:
        self._clock = clock
        self._world = world
        self._runs = history.runs

    def run(self, pieces: Sequence[Piece[int]]) -> Deferred[Sequence[int]]:
        """Fire when the run has ended."""
        rows, noise = len(pieces), self._world.noise
        shares = [noise.shares[piece.item] for piece in pieces]
        taken = self._world.seconds[rows] * noise.stretch(shares)
        self._runs.append((pieces[0].item, rows))
        ended: Deferred[Sequence[int]] = Deferred()
        self._clock.callLater(taken, ended.callback, [piece.item for piece in pieces])
        return ended


class _Simulation:
    """One batcher in one world."""

    def __init__(self, world: World, policy: Policy, cap: int) -> None:
        self._world = world
        self._clock = SimulatedClock(START)
        self.history = History()
        # Times and clients of those that came and of those known to come, in order.
        self._arrivals = [(due, client) for client, due in enumerate(world.due)]
        self._told = START  #: when the last answer was
        self._faults: list[Failure] = []
        self._queue: Queue[int, int] = Queue(LatencyCurve(world.measured), cap, world.requests)
        self._batcher: Batcher[int, int] = Batcher(
            self._clock,
            [_Lane(self._clock, world, self.history) for _ in range(world.lanes)],
            policy,
            join=itemgetter(0),
        )

    def run(self) -> None:
        """Let everything happen; of what happens at the same time, arrivals come first."""
        arrivals, clock, came = self._arrivals, self._clock, self.history.due
        while True:
            number = len(came)
            due, client = arrivals[number] if number < len(arrivals) else (inf, 0)
            if due > clock.next():
                clock.step()
            elif due < inf:
                clock.now = due
                self._come(number, client)
            else:
                break
        for fault in self._faults:
            fault.raiseException()

    def _come(self, number: int, client: int) -> None:
        history, now, world = self.history, self._clock.now, self._world
        history.due.append(now)
        history.ended.append(inf)
        deadline = now + world.slo
        try:
            if deadline < inf:
                self._batcher.admit(self._queue, deadline=deadline)
        except Overloaded:
            self._turn_away(number, client)
            return
        answer = self._batcher.submit(
            number,
            1,
            self._queue,
            deadline=deadline,
            source=None if world.think is None else client,
        )
        answer.addCallbacks(
            self._answered, self._failed, callbackArgs=(client,), errbackArgs=(number, client)
        )

    def _answered(self, number: int, client: int) -> None:
        self.history.ended[number] = self._clock.now
        self._come_back(client, 0.0)

    def _failed(self, failure: Failure, number: int, client: int) -> None:
        if failure.check(QueueFull, Overloaded):
            self._turn_away(number, client)
        elif failure.check(DeadlineExceeded):
            self.history.dropped.append(number)
            self._come_back(client, 0.0)
        else:
            self._faults.append(failure)

    def _turn_away(self, number: int, client: int) -> None:
        self.history.refused.append(number)
        # Who is refused at once and comes back at once would never let the time go on.
        self._come_back(client, self._world.seconds[1])

    def _come_back(self, client: int, pause: float) -> None:
        """Have *client* send one more, after *pause* and the time to think, if it is one to."""
        world = self._world
        if world.think is not None and len(self._arrivals) < world.requests:
            self._told = max(self._told, self._clock.now) + world.per_answer
            due = self._told + pause + world.think
            insort(self._arrivals, (due, client), lo=len(self.history.due), key=itemgetter(0))


def simulate(world: World, policy: Policy, cap: int) -> History:
    """Return what becomes of *world* where *policy* decides, and at most *cap* rows share a run."""
    simulation = _Simulation(world, policy, cap)
    simulation.run()
    return simulation.history


def simulate_fixed(world: World, policy: FixedPolicy) -> History:
    """
    Return what `simulate` returns for *policy* and as large a cap, several times sooner.

    Goes from run to run.  The world has one lane and no SLO; raises ValueError for others.
    """
    if world.lanes != 1 or world.slo < inf:
        raise ValueError("one lane and no SLO: the rest takes the batcher itself")
    limit, history = policy.max_batch_size, History(due=list(world.due))
    due, ended, runs, noise = history.due, history.ended, history.runs, world.noise
    # The requests up to *head* have left, those up to *ready* wait at the time *free*.
    head, ready, free, told = 0, 0, START, START
    while head < len(due):
        start, stop = free, min(ready, head + limit)
        if stop < head + limit and (stop == head or free < due[head] + policy.max_queue_delay):
            start, stop = _gathered(due, head, policy)
        rows = stop - head
        free = start + world.seconds[rows] * noise.stretch(noise.shares[head:stop])
        ended.extend(repeat(free, rows))
        runs.append((head, rows))
        # Whoever comes back at once does so after the next run has been decided upon.
        head, ready = stop, bisect_right(due, free, stop)
        if world.think is not None:
            for _ in range(min(rows, world.requests - len(due))):
                told = max(told, free) + world.per_answer
                due.append(told + world.think)
    return history


def _gathered(due: Sequence[float], head: int, policy: FixedPolicy) -> tuple[float, int]:
    """Return when an idle lane that waits launches, and the number after the last that rides."""
    full, at = head + policy.max_batch_size, due[head] + policy.max_queue_delay
    if at <= due[head]:
        return due[head], head + 1
    if full <= len(due) and due[full - 1] < at:
        return due[full - 1], full
    stop = bisect_left(due, at, head + 1, min(full, len(due)))
    # Whoever comes at that very moment finds that it is time: the first one rides, too.
    return at, stop + (stop < len(due) and due[stop] == at)
