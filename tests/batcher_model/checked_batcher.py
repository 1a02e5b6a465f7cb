"""
A batcher on a clock, its lanes, and a model of all that must hold between them.

`Ferry` does what a test says; it looks at every batch that leaves and every answer that comes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from batcher.batcher import Batcher
from batcher.errors import (
    BatcherError,
    DeadlineExceeded,
    OutOfMemory,
    QueueFull,
    RunHung,
    ShuttingDown,
)
from batcher.executor import Piece
from batcher.learning.latency import LatencyCurve
from batcher.policy import LotPolicy
from batcher.queue import Queue
from tests.batcher_model.requests import Flown, Hangup, Rider, Submission, due_of, rides, same
from tests.batcher_model.settings import (
    FIXED,
    KEYS,
    LIMIT,
    MIN_HUNG_RUN_RATIO,
    RUN_TIMEOUT,
    Fault,
    World,
)
from tests.batcher_model.shares import Fairness, Leaving, Line, Ready
from tests.fakes.executor import ManualExecutor, ManualRun, Rows, join_rows, rows_of


class Witness(ManualExecutor[int]):
    """A lane that has each batch looked at when it is launched."""

    def __init__(self, ferry: "Ferry") -> None:
        super().__init__()
        self.ferry = ferry
        self.flown: list[Flown] = []

    def run(self, pieces: Sequence[Piece[int]]) -> Deferred[Sequence[Rows[int]]]:
        """Begin a run, and perhaps end it at once."""
        with self.ferry.noting():  # whatever is raised here would be an answer to the riders
            assert not self.busy, "one run at a time"
        self.runs.append(ManualRun(pieces))
        self.flown.append(self.ferry.launched(self.current))
        answer = self.current.answer
        instant = self.ferry.world.instant
        if instant and len(self.runs) % instant == 0:
            self.ferry.end(self, "none")
        return answer

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return bool(self.flown) and not self.flown[-1].run.ended


class Ferry:
    """The batcher, the requests that it was given, and what must become of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = Clock()
        self.lanes = [Witness(self) for _ in range(world.lanes)]
        self.batcher: Batcher[int, Rows[int]] = Batcher(
            self.clock,
            self.lanes,
            FIXED if world.fixed else LotPolicy(),
            join=join_rows,
            run_timeout=RUN_TIMEOUT,
        )
        self.caps = dict(zip(KEYS, world.caps, strict=True))  #: what they must be by now
        self.queues: dict[str, Queue[int, Rows[int]]] = {
            key: Queue(LatencyCurve(dict(world.known)), cap, LIMIT, key)
            for key, cap in self.caps.items()
        }
        if world.returns:
            for queue in self.queues.values():
                for _ in range(3):
                    queue.returns.answered([(0, 1)], 0.0)
                    queue.returns.observe(0, 1, 0.25)
        self.riders: list[Rider] = []
        self.open: dict[int, Rider] = {}  #: those who have not heard yet
        self.totals: Counter[str] = Counter()
        self.flown: list[Flown] = []
        #: Who was answered last, and may come back.
        self.missing: dict[str, set[int | None]] = {key: set() for key in KEYS}
        self.since = dict.fromkeys(KEYS, 0.0)  #: when they were answered
        self.landed = 0.0  #: when a run ended last
        self.probe = 0.0  #: until when one who was let in to learn from him may be on his way
        self.closed = self.aborted = False
        self.drains = 0
        self.drained: list[None] = []
        self.wrong: list[AssertionError] = []
        self._fairness = Fairness(KEYS)
        self._at_door: Rider | None = None  #: who is being submitted

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Keep what is found wrong within a callback, where it would be lost."""
        try:
            yield
        except AssertionError as error:
            self.wrong.append(error)

    # What others do.

    def submit(self, asked: Submission) -> None:
        """Submit a request, which may be refused for a good reason alone."""
        rider = Rider(len(self.riders), asked, self.clock.seconds())
        rider.reasons, must = self._refusals(rider)
        rider.was_missing = asked.source in self.missing[asked.key]
        self.riders.append(rider)
        self.open[rider.number] = rider
        self.missing[asked.key] -= {asked.source}
        outer, self._at_door = self._at_door, rider
        rider.answer = self.batcher.submit(
            rider.number,
            asked.rows,
            self.queues[asked.key],
            deadline=rider.deadline,
            priority=asked.priority,
            source=asked.source,
            trace=rider.trace,
        )
        rider.answer.addBoth(self._told, rider)
        self._at_door = outer
        with self.noting():
            assert rider.turned_away or not must, "taken in"

    def cancel(self, which: int) -> None:
        """Cancel one of those who have not heard yet."""
        if self.open:
            rider = list(self.open.values())[which % len(self.open)]
            if rider.answer is not None:  # it is about to be taken in
                rider.due = CancelledError()
                rider.answer.cancel()

    def drain(self) -> None:
        """Drain, once more if need be."""
        self.closed = True
        self.drains += 1
        self.batcher.drain().addCallback(self.drained.append)

    def abort(self) -> None:
        """Stop at once."""
        self.closed = self.aborted = True
        self.batcher.abort()

    def end(self, lane: Witness, fault: Fault) -> None:
        """End the run on *lane*."""
        run, now = lane.current, self.clock.seconds()
        self.landed = now
        riders = [self.riders[piece.item] for piece in run.given]
        key = riders[0].asked.key
        error: Exception | None = None
        results = [rows_of(piece) for piece in run.given]
        if fault == "leaving":
            error = ShuttingDown()
        elif fault == "memory" or (fault == "none" and run.rows > self.world.fits):
            error = OutOfMemory(run.rows)
            if run.rows > 1:
                self.caps[key] = min(self.caps[key], (run.rows + 1) // 2)
        elif fault == "none" and any(rider.asked.poison for rider in riders):
            error = ValueError("poison")
        elif fault != "none":
            results = results[1:] if fault == "too few" else [*results, []]
        due = due_of(run, error, len(results))
        open_before = [rider for rider in riders if not rider.settled]
        for piece, rider in zip(run.given, riders, strict=True):
            if error is None and due is None:
                rider.succeeds(piece.start, piece.stop, now)
            else:
                rider.fails(piece.start, piece.stop, due)
        if error is not None:
            run.fail(error)
            return
        if due is None:
            self.since[key] = now
            self.missing[key] = {it.asked.source for it in open_before if it.due} - {None}
        run.finish(results)

    # Time.

    def sleep(self, seconds: float) -> None:
        """Let time pass, with every timer in time."""
        until = self.clock.seconds() + seconds
        for _ in range(100):
            times = [call.getTime() for call in self.clock.getDelayedCalls()]
            if not times or min(times) > until:
                break
            self.set_clock(max(self.clock.seconds(), *times))
            self._ring()
        else:
            raise AssertionError("the timer rings and rings")
        self.set_clock(until)
        self._ring()

    def _ring(self) -> None:
        self.clock.advance(0)
        if not self.aborted:
            for flown in self.flying:
                flown.given_up = flown.given_up or flown.hangs_at <= self.clock.seconds()

    def set_clock(self, time: float) -> None:
        """Have the clock show *time*, while no timer rings."""
        self.clock.rightNow = time
        for flown in self.flying:
            flown.overdue = flown.overdue or flown.hangs_at <= time

    # What is known.

    @property
    def flying(self) -> list[Flown]:
        """What runs, of those lanes that do."""
        return [lane.flown[-1] for lane in self.lanes if lane.busy]

    def waiting(self, asked: Submission) -> int:
        """Return how many rows wait of the profile and the priority of *asked*."""
        line = asked.key, asked.priority
        mine = (it for it in self.open.values() if (it.asked.key, it.asked.priority) == line)
        return sum(rider.waiting for rider in mine)

    def certain(self, rider: Rider) -> bool:
        """
        Return whether *rider* must still be served.

        Who is late, or would be, or waits for what hangs may have been told, or is about to be.
        """
        if rider.settled or rider.hopeless or rider.deadline <= self.clock.seconds():
            return False
        flying = self.flying
        if len(flying) == len(self.lanes) and all(flown.overdue for flown in flying):
            return False
        return not any(flown.overdue and rides(rider, flown) for flown in flying)

    def held(self, key: str) -> bool:
        """Return whether the policy may let those of *key* wait for company."""
        mine = [it for it in self.open.values() if it.asked.key == key and self.certain(it)]
        if self.closed or not self.world.fixed:
            return bool(self.missing[key]) and not self.closed
        rows = sum(rider.waiting for rider in mine)
        if not 0 < rows < min(FIXED.max_batch_size, self.caps[key]):
            return False
        return self.clock.seconds() < self.oldest(mine) + FIXED.max_queue_delay

    @staticmethod
    def oldest(riders: Sequence[Rider]) -> float:
        """Return when the first came of the heads of all priorities."""
        heads: dict[int, float] = {}
        for rider in riders:
            if rider.waiting:
                heads.setdefault(rider.asked.priority, rider.came)
        return min(heads.values())

    def too_late(self, rider: Rider) -> bool:
        """Return whether a run may come too late for *rider*, by what is believed of runs."""
        latency, cap = self.queues[rider.asked.key].latency, self.caps[rider.asked.key]
        needed = latency.margin * latency.predict(cap)
        return not self.world.fixed and rider.deadline < self.clock.seconds() + needed

    # What the batcher does.

    def launched(self, run: ManualRun[int]) -> Flown:
        """Look at a batch that is launched."""
        queue = self.queues[self.riders[run.given[0].item].asked.key]
        limit = max(RUN_TIMEOUT, MIN_HUNG_RUN_RATIO * queue.latency.predict(run.rows))
        flown = Flown(run, self.clock.seconds() + limit)
        self.flown.append(flown)
        with self.noting():
            self._look_at(run, queue.name)
        return flown

    def _look_at(self, run: ManualRun[int], key: str) -> None:
        """Raise AssertionError if this batch must not leave."""
        riders = [self.riders[piece.item] for piece in run.given]
        assert {rider.asked.key for rider in riders} == {key}, "profiles share a run"
        assert run.rows <= self.caps[key], "more rows than a batch may have"
        for rider in self.open.values():
            rider.hopeless = rider.hopeless or self.too_late(rider)
        pairs = list(zip(run.given, riders, strict=True))
        fresh = {piece.stop > rider.launched for piece, rider in pairs}
        assert len(fresh) == 1, "what is run again rides with what is not"
        if fresh == {True}:
            self._look_at_fresh(key, pairs)
        for piece, rider in pairs:
            rider.boards(piece.start, piece.stop, self.clock.seconds())

    def _look_at_fresh(self, key: str, pairs: "Sequence[tuple[Piece[int], Rider]]") -> None:
        """Raise AssertionError if it was the turn of others."""
        waiting: dict[Line, int] = {}
        for rider in self.open.values():
            if rider.waiting:
                waiting.setdefault((rider.asked.key, rider.asked.priority), rider.number)
        held = {each: self.held(each) for each in KEYS}
        ready: dict[Line, Ready] = {}
        gone = {rider.number: piece.stop for piece, rider in pairs}
        lines: dict[Line, list[Rider]] = {}
        for rider in filter(self.certain, self.open.values()):
            assert rider.again == 0, "to be run again before all others"
            line = rider.asked.key, rider.asked.priority
            lines.setdefault(line, []).append(rider)
            if rider.waiting and not held[rider.asked.key]:
                ready.setdefault(line, Ready(rider.number)).rows += rider.waiting
        for _, rider in pairs:
            for older in lines.get((key, rider.asked.priority), []):
                assert (
                    older.number >= rider.number
                    or gone.get(older.number, older.launched) == older.asked.rows
                ), "overtaken within a priority"
        pieces = [Leaving(it.number, it.asked.priority, piece.rows) for piece, it in pairs]
        self._fairness.leave(key, pieces, ready, waiting, max(self.world.caps))

    # What riders hear.

    def _told(self, outcome: Rows[int] | Failure, rider: Rider) -> None:
        """Look at how *rider* ended; then let its owner go on."""
        with self.noting():
            end = outcome.value if isinstance(outcome, Failure) else outcome
            rider.outcomes.append(end)
            del self.open[rider.number]
            self._judge(rider, end)
        self.totals[rider.total] += rider.asked.rows
        match rider.asked.then:
            case Submission() as more:
                self.submit(more)
            case Hangup(which):
                self.cancel(which)
            case None:
                pass

    def _judge(self, rider: Rider, end: object) -> None:
        """Raise AssertionError if *rider* does not deserve this *end*."""
        if rider.due is not None:
            assert same(end, rider.due), f"{end!r} instead of {rider.due!r}"
            return
        now = self.clock.seconds()
        flying = self.flying
        match end:
            case _ if self._at_door is rider and _is_refusal(end):
                assert type(end) in rider.reasons, f"refused without reason: {end!r}"
                if isinstance(end, QueueFull):
                    assert (end.rows, end.limit) == (rider.asked.rows, LIMIT)
                    assert end.rows + end.waiting > end.limit
                rider.turned_away = True
                if rider.was_missing:
                    self.missing[rider.asked.key].add(rider.asked.source)
            case DeadlineExceeded(stage="queue", late=late):
                assert late == now - rider.deadline
                assert rider.waiting or rider.again
                assert late >= 0.0 or rider.hopeless or self.too_late(rider), "not late"
                assert late >= 0.0 or rider.waiting
            case RunHung():
                rode = any(flown.overdue and rides(rider, flown) for flown in flying)
                stuck = len(flying) == len(self.lanes) and all(it.overdue for it in flying)
                assert rode or stuck, "nothing hangs"
            case ShuttingDown():
                assert self.aborted, "nobody aborts"
            case _:
                raise AssertionError(f"{end!r} is nobody's due")

    def _refusals(self, rider: Rider) -> tuple[list[type[BatcherError]], bool]:
        """Return why *rider* may be refused, and whether it must be."""
        if self.closed:
            return [ShuttingDown], True
        flying = self.flying
        may: list[type[BatcherError]] = []
        if len(flying) == len(self.lanes) and all(flown.overdue for flown in flying):
            may.append(RunHung)
            if all(flown.given_up for flown in flying):
                return may, True
        if rider.deadline <= rider.came:
            return [*may, DeadlineExceeded], True
        mine = [it for it in self.open.values() if it.asked.key == rider.asked.key]
        room = LIMIT - rider.asked.rows
        if sum(it.waiting for it in mine if not it.settled) > room:
            may.append(QueueFull)
        return may, sum(it.waiting for it in mine if self.certain(it)) > room


def _is_refusal(end: object) -> bool:
    """Return whether a request that is being submitted has been turned away."""
    if isinstance(end, DeadlineExceeded):
        return end.stage == "submit"
    return isinstance(end, (QueueFull, RunHung, ShuttingDown))
