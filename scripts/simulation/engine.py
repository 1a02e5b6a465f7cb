"""
Simulate a workload: the real batcher, with lanes whose runs only take simulated time.

The clock is simulated too; no other clock is read.  All random numbers are part of the workload, so
that a workload has the same result on any machine.  Times are seconds; each request has one row.
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
from model.execution.recorder import Recorder
from scripts.simulation.machine import Disturbance, Run

#: The start of a workload, in seconds.  Not 0: a timer is set by a delay, and the sum
#: ``now + (time - now)`` is exactly *time* only if *time* is less than twice *now*.
START = 1024.0


@dataclass(frozen=True, slots=True)
class Noise:
    """
    Random factors of run times: lognormal with mean 1, independent between runs.

    Each request has a standard normal number, its share; the shares of the requests of a run
    determine its factor.  So policies that put the same requests into different batches use the
    same random numbers, as far as possible.
    """

    sigma: float  #: of the logarithm
    shares: Sequence[float]  #: one for each request, by its number

    def factor(self, shares: Sequence[float]) -> float:
        """Return the factor for a run of the requests with these *shares*."""
        return exp(self.sigma * (sum(shares) / sqrt(len(shares)) - self.sigma / 2.0))


@dataclass(frozen=True, slots=True)
class Workload:
    """
    The requests and run times of a simulation: the same for all policies that are compared.

    Requests arrive at the times in *due*.  With *think*, each of these times is the first request
    of a client, which sends its next request *think* seconds after each answer, until all clients
    together have sent *requests*.  Answers are sent one by one, *per_answer* seconds each, so that
    not all clients send their next requests at the same time.
    """

    seconds: Sequence[float]  #: of a run by its rows; index 0 is not used
    measured: Mapping[int, float]  #: seconds of a run as a warm-up measures them, by rows
    noise: Noise
    due: Sequence[float]  #: in order, from `START` on
    requests: int
    think: float | None = None
    per_answer: float = 0.0
    slo: float = inf  #: seconds allowed for each answer
    lanes: int = 1
    disturbances: Sequence[Disturbance] = ()  #: in the order in which they change the time of a run


@dataclass(slots=True)
class History:
    """
    The outcomes of the requests of a workload; a request's number is its place in order of arrival.
    """

    due: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)  #: times of the answers; inf: no answer
    refused: list[int] = field(default_factory=list)  #: numbers of requests refused at once
    dropped: list[int] = field(default_factory=list)  #: numbers of requests admitted, then too late
    #: For each run, the number of its oldest request, and its rows.
    runs: list[tuple[int, int]] = field(default_factory=list)


@implementer(IDelayedCall)
class _Call:
    """
    A delayed call of a `SimulatedClock`.

    The heap may hold several entries for the call; only the entry of the last `put` is valid.
    """

    __slots__ = ("_clock", "function", "number", "time")

    def __init__(self, clock: "SimulatedClock", function: Callable[[], object]) -> None:
        self._clock = clock
        self.function = function
        self.time = 0.0
        self.number = 0  #: the number of the valid entry; 0 without one

    def getTime(self) -> float:
        """Return the time at which the call is due."""
        return self.time

    def active(self) -> bool:
        """Return whether the call is still to be made: not yet made, and not cancelled."""
        return self.number > 0

    def cancel(self) -> None:
        """Cancel the call."""
        self._check_active()
        self.number = 0

    def reset(self, secondsFromNow: float) -> None:
        """Move the call to *secondsFromNow* seconds from now."""
        self._check_active()
        self._clock.put(self, self._clock.now + secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        """Move the call *secondsLater* seconds later."""
        self._check_active()
        self._clock.put(self, self.time + secondsLater)

    def _check_active(self) -> None:
        if not self.number:
            raise AlreadyCalled


@implementer(IReactorTime)
class SimulatedClock:
    """
    A clock that steps to the time of the next delayed call.

    Calls are made in order of their times; calls of the same time in the order they were scheduled.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self._calls: list[tuple[float, int, _Call]] = []
        self._count = 0

    def seconds(self) -> float:
        """Return the simulated time."""
        return self.now

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002 - the interface's own name
        *args: object,
        **kw: object,
    ) -> _Call:
        """Schedule a call of *callable* in *delay* seconds, and return the delayed call."""
        call = _Call(self, partial(callable, *args, **kw))
        self.put(call, self.now + delay)
        return call

    def getDelayedCalls(self) -> Sequence[_Call]:
        """Return the calls that are still to be made, in order of their times."""
        return [call for _, number, call in sorted(self._calls) if call.number == number]

    def put(self, call: _Call, time: float) -> None:
        """Schedule *call* at *time*; this replaces the time at which it was scheduled before."""
        self._count += 1
        call.time, call.number = time, self._count
        heappush(self._calls, (time, self._count, call))

    def next(self) -> float:
        """
        Return a time at or before the next call, the time of the first entry; inf without entries.
        """
        return self._calls[0][0] if self._calls else inf

    def step(self) -> None:
        """Remove the first entry; if it is valid, set the clock to its time and make its call."""
        time, number, call = heappop(self._calls)
        if call.number == number:
            self.now = time
            call.number = 0
            call.function()


class _Runs:
    """Records the runs of a workload, and determines how long they take."""

    __slots__ = ("_launched", "_sizes", "_workload")

    def __init__(self, workload: Workload, history: History) -> None:
        self._workload = workload
        self._launched = history.runs
        self._sizes: set[int] = set()  # the rows of all runs

    def launch(self, start: float, oldest: int, shares: Sequence[float]) -> float:
        """
        Record a run at the time *start*, and return its seconds.

        *oldest* is the number of its first request; *shares* are the noise of each request.
        """
        workload, rows = self._workload, len(shares)
        seconds = workload.seconds[rows] * workload.noise.factor(shares)
        if workload.disturbances:
            run = Run(start, rows, not self._launched, rows not in self._sizes)
            for each in workload.disturbances:
                seconds = each.disturbed(run, seconds)
        self._launched.append((oldest, rows))
        self._sizes.add(rows)
        return seconds


class _Lane:
    """A lane whose runs take the times of the workload; the result of a request is its number."""

    seconds: float | None = None

    def __init__(self, clock: SimulatedClock, noise: Noise, runs: _Runs) -> None:
        self._clock = clock
        self._noise = noise
        self._runs = runs

    def run(self, pieces: Sequence[Piece[int]]) -> Deferred[Sequence[int]]:
        """
        Start a run of *pieces*; the Deferred fires at its end with the number of each request.
        """
        shares = [self._noise.shares[piece.item] for piece in pieces]
        taken = self._runs.launch(self._clock.now, pieces[0].item, shares)
        ended: Deferred[Sequence[int]] = Deferred()
        self._clock.callLater(taken, ended.callback, [piece.item for piece in pieces])
        return ended


class _Simulation:
    """The simulation of one batcher, with one policy, under one workload."""

    def __init__(self, workload: Workload, policy: Policy, cap: int) -> None:
        self._workload = workload
        self._clock = SimulatedClock(START)
        self.history = History()
        # Time and client of each past or scheduled arrival, in order.
        self._arrivals = [(due, client) for client, due in enumerate(workload.due)]
        self._last_answer = START  #: time of the last answer
        self._faults: list[Failure] = []
        self._queue: Queue[int, int] = Queue(
            LatencyCurve(workload.measured), cap, workload.requests
        )
        runs = _Runs(workload, self.history)
        self._batcher: Batcher[int, int] = Batcher(
            self._clock,
            [_Lane(self._clock, workload.noise, runs) for _ in range(workload.lanes)],
            policy,
            join=itemgetter(0),
            observer=Recorder(),
        )

    def run(self) -> None:
        """Process all arrivals and calls in order of time; at equal times, arrivals come first."""
        arrivals, clock, arrived = self._arrivals, self._clock, self.history.due
        while True:
            number = len(arrived)
            due, client = arrivals[number] if number < len(arrivals) else (inf, 0)
            if due > clock.next():
                clock.step()
            elif due < inf:
                clock.now = due
                self._arrive(number, client)
            else:
                break
        for fault in self._faults:
            fault.raiseException()

    def _arrive(self, number: int, client: int) -> None:
        history, now, workload = self.history, self._clock.now, self._workload
        history.due.append(now)
        history.ended.append(inf)
        deadline = now + workload.slo
        try:
            if deadline < inf:
                self._batcher.admission.admit(now, self._queue, deadline)
        except Overloaded:
            self._refuse(number, client)
            return
        answer = self._batcher.submit(
            number,
            1,
            self._queue,
            deadline=deadline,
            source=None if workload.think is None else client,
        )
        answer.addCallbacks(
            self._answered, self._failed, callbackArgs=(client,), errbackArgs=(number, client)
        )

    def _answered(self, number: int, client: int) -> None:
        self.history.ended[number] = self._clock.now
        self._send_next(client, 0.0)

    def _failed(self, failure: Failure, number: int, client: int) -> None:
        if failure.check(QueueFull, Overloaded):
            self._refuse(number, client)
        elif failure.check(DeadlineExceeded):
            self.history.dropped.append(number)
            self._send_next(client, 0.0)
        else:
            self._faults.append(failure)

    def _refuse(self, number: int, client: int) -> None:
        self.history.refused.append(number)
        # A client that is refused and retries at once would stop the simulated time.
        self._send_next(client, self._workload.seconds[1])

    def _send_next(self, client: int, pause: float) -> None:
        """
        Schedule the next request of *client*, *pause* plus think time after the answer.

        In an open loop, and when all requests of the workload are sent, does nothing.
        """
        workload = self._workload
        if workload.think is not None and len(self._arrivals) < workload.requests:
            self._last_answer = max(self._last_answer, self._clock.now) + workload.per_answer
            due = self._last_answer + pause + workload.think
            insort(self._arrivals, (due, client), lo=len(self.history.due), key=itemgetter(0))


def simulate(workload: Workload, policy: Policy, cap: int) -> History:
    """Return the history of *workload* under *policy*, with batches of at most *cap* rows."""
    simulation = _Simulation(workload, policy, cap)
    simulation.run()
    return simulation.history


def simulate_fixed(workload: Workload, policy: FixedPolicy) -> History:
    """
    Return the same history as `simulate` with *policy* and its batch size as the cap, but faster.

    Steps from run to run.  Raises ValueError unless the workload has one lane and no SLO.
    """
    if workload.lanes != 1 or workload.slo < inf:
        raise ValueError("expected one lane and no SLO: use simulate for others")
    limit, history = policy.max_batch_size, History(due=list(workload.due))
    due, ended, shares = history.due, history.ended, workload.noise.shares
    runs = _Runs(workload, history)
    # Requests before *head* are launched, those before *ready* wait at the time *free*.
    head, ready, free, answered = 0, 0, START, START
    while head < len(due):
        start, stop = free, min(ready, head + limit)
        if stop < head + limit and (stop == head or free < due[head] + policy.max_queue_delay):
            start, stop = _delayed_start(due, head, policy)
        rows = stop - head
        free = start + runs.launch(start, head, shares[head:stop])
        ended.extend(repeat(free, rows))
        # A client without think time sends its next request after the next run is launched.
        head, ready = stop, bisect_right(due, free, stop)
        if workload.think is not None:
            for _ in range(min(rows, workload.requests - len(due))):
                answered = max(answered, free) + workload.per_answer
                due.append(answered + workload.think)
    return history


def _delayed_start(due: Sequence[float], head: int, policy: FixedPolicy) -> tuple[float, int]:
    """
    Return the time at which an idle lane launches the next batch, and the end of that batch.

    The batch has the requests numbered from *head* to before the end; *due* has all arrival times.
    """
    full, at = head + policy.max_batch_size, due[head] + policy.max_queue_delay
    if at <= due[head]:
        return due[head], head + 1
    if full <= len(due) and due[full - 1] < at:
        return due[full - 1], full
    stop = bisect_left(due, at, head + 1, min(full, len(due)))
    # The first request that arrives exactly at that time is part of the batch, too.
    return at, stop + (stop < len(due) and due[stop] == at)
