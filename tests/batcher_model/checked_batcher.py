"""
A batcher on a clock, its lanes, and checks of every launch and every answer.

`CheckedBatcher` performs the steps of a test and knows what must become of each request.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError
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
from batcher.learning.latency import LatencyCurve
from batcher.policy import LotPolicy
from batcher.queue import Queue
from batcher.share import Share
from model.execution.recorder import Recorder
from tests.batcher_model.lane import CheckedLane
from tests.batcher_model.requests import (
    Cancellation,
    ModelRequest,
    ModelRun,
    Submission,
    expected_end_of,
    is_part_of,
    is_refusal,
    oldest_of,
    same,
)
from tests.batcher_model.settings import (
    FIXED,
    KEYS,
    LIMIT,
    MIN_HUNG_RUN_RATIO,
    RUN_TIMEOUT,
    Fault,
    Setup,
)
from tests.batcher_model.shares import Fairness, LaunchedPart, QueueLevel, Ready
from tests.fakes.executor import ManualRun, Rows, join_rows, rows_of

if TYPE_CHECKING:
    from batcher.executor import Piece


class CheckedBatcher:
    """The batcher, its requests, and what must become of them."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.clock = Clock()
        self.recorder = Recorder()
        self.lanes = [CheckedLane(self) for _ in range(setup.lanes)]
        self.batcher: Batcher[int, Rows[int]] = Batcher(
            self.clock,
            self.lanes,
            FIXED if setup.fixed else LotPolicy(),
            join=join_rows,
            observer=self.recorder,
            run_timeout=RUN_TIMEOUT,
        )
        self.caps = dict(zip(KEYS, setup.caps, strict=True))  #: as they must be now
        shares = {keys: Share(keys) for keys in setup.shares}
        #: The share of each queue, as its keys; without several shares, queues have none.
        self.share_of = {key: keys for keys in setup.shares for key in keys}
        self.shares = shares if len(shares) > 1 else {}
        self.queues: dict[str, Queue[int, Rows[int]]] = {}
        for key, cap in self.caps.items():
            share, latency = self.shares.get(self.share_of[key]), LatencyCurve(dict(setup.known))
            self.queues[key] = Queue(latency, cap, LIMIT, key, share)
        #: What the Deferreds of each closed share have fired with.
        self.closes: dict[str, list[None]] = {}
        if setup.returns:
            for queue in self.queues.values():
                for _ in range(3):
                    queue.returns.answered([(0, 1)], 0.0)
                    queue.returns.observe(0, 0.25)
        self.requests: list[ModelRequest] = []
        self.open: dict[int, ModelRequest] = {}  #: without an outcome
        self.totals: Counter[str] = Counter()
        self.launched_runs: list[ModelRun] = []
        #: The sources that were answered last and have not sent a request since.
        self.missing: dict[str, set[int | None]] = {key: set() for key in KEYS}
        self.since = dict.fromkeys(KEYS, 0.0)  #: time of these answers
        self.closed = self.aborted = False
        self.drains = 0
        self.drained: list[None] = []
        self.wrong: list[AssertionError] = []
        self._fairness = {keys: Fairness(keys) for keys in setup.shares}
        self._submitting: ModelRequest | None = None  #: the request being submitted

    @contextmanager
    def collecting_failures(self) -> Iterator[None]:
        """Keep an AssertionError of a callback, which Twisted would swallow."""
        try:
            yield
        except AssertionError as error:
            self.wrong.append(error)

    # The steps of a test.

    def submit(self, asked: Submission) -> None:
        """Submit a request; a refusal needs a valid reason."""
        request = ModelRequest(len(self.requests), asked, self.clock.seconds())
        request.reasons, must = self._refusals(request)
        request.was_awaited = asked.source in self.missing[asked.key]
        self.requests.append(request)
        self.open[request.number] = request
        self.missing[asked.key] -= {asked.source}
        outer, self._submitting = self._submitting, request
        request.answer = self.batcher.submit(
            request.number,
            asked.rows,
            self.queues[asked.key],
            deadline=request.deadline,
            priority=asked.priority,
            source=asked.source,
            trace=request.trace,
        )
        request.answer.addBoth(self._ended, request)
        self._submitting = outer
        with self.collecting_failures():
            assert request.refused or not must, "accepted"

    def cancel(self, which: int) -> None:
        """Cancel one of the open requests."""
        if self.open:
            request = list(self.open.values())[which % len(self.open)]
            if request.answer is not None:  # None while it is being submitted
                request.expected_end = CancelledError()
                request.answer.cancel()

    def drain(self) -> None:
        """Drain; may be called again."""
        self.closed = True
        self.drains += 1
        self.batcher.drain().addCallback(self.drained.append)

    def close_share(self, which: int) -> None:
        """Close one of the shares, if there are several and it is not closed."""
        keys = self.setup.shares[which % len(self.setup.shares)]
        if self.shares and keys not in self.closes:
            fired = self.closes[keys] = []
            self.batcher.drain(self.shares[keys]).addCallback(fired.append)

    def is_closed(self, key: str) -> bool:
        """Return whether requests of the queue *key* are refused."""
        return self.closed or self.share_of[key] in self.closes

    def is_busy(self, key: str) -> bool:
        """Return whether a row of the share of the queue *key* waits or runs."""
        running = [self.key_of(it) for it in self.in_flight]
        waiting = [it.asked.key for it in self.open.values()]
        return any(each in self.share_of[key] for each in (*running, *waiting))

    def abort(self) -> None:
        """Abort."""
        self.closed = self.aborted = True
        self.batcher.abort()

    def end(self, lane: CheckedLane, fault: Fault) -> None:
        """End the run on *lane*, with *fault*."""
        run, now = lane.current, self.clock.seconds()
        requests = [self.requests[piece.item] for piece in run.given]
        key = requests[0].asked.key
        error: Exception | None = None
        results = [rows_of(piece) for piece in run.given]
        if fault == "leaving":
            error = ShuttingDown()
        elif fault == "memory" or (fault == "none" and run.rows > self.setup.fits):
            error = OutOfMemory(run.rows)
            if run.rows > 1:
                self.caps[key] = min(self.caps[key], (run.rows + 1) // 2)
        elif fault == "none" and any(request.asked.poison for request in requests):
            error = ValueError("poison")
        elif fault != "none":
            results = results[1:] if fault == "too few" else [*results, []]
        expected_end = expected_end_of(run, error, len(results))
        open_before = [request for request in requests if not request.settled]
        for piece, request in zip(run.given, requests, strict=True):
            if error is None and expected_end is None:
                request.succeeds(piece.start, piece.stop, now)
            else:
                request.fails(piece.start, piece.stop, expected_end)
        if error is not None:
            run.fail(error)
            return
        if expected_end is None:
            self.since[key] = now
            self.missing[key] = {it.asked.source for it in open_before if it.expected_end} - {None}
        run.finish(results)

    # Time.

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass; every timer fires on time."""
        until = self.clock.seconds() + seconds
        for _ in range(100):
            times = [call.getTime() for call in self.clock.getDelayedCalls()]
            if not times or min(times) > until:
                break
            self.set_clock(max(self.clock.seconds(), *times))
            self._fire()
        else:
            raise AssertionError("the timer fires without end")
        self.set_clock(until)
        self._fire()

    def _fire(self) -> None:
        self.clock.advance(0)
        if not self.aborted:
            for it in self.in_flight:
                it.given_up = it.given_up or it.hangs_at <= self.clock.seconds()

    def set_clock(self, time: float) -> None:
        """Set the clock to *time*; no timer fires."""
        self.clock.rightNow = time
        for it in self.in_flight:
            it.overdue = it.overdue or it.hangs_at <= time

    # What must hold.

    @property
    def in_flight(self) -> list[ModelRun]:
        """The runs under way."""
        return [lane.launched_runs[-1] for lane in self.lanes if lane.busy]

    @property
    def is_stuck(self) -> bool:
        """Whether every lane has a run that is past its limit."""
        return all(it.overdue for it in self.in_flight) and all(it.busy for it in self.lanes)

    def key_of(self, it: ModelRun) -> str:
        """Return the key of the queue of a run."""
        return self.requests[it.run.given[0].item].asked.key

    def waiting(self, asked: Submission) -> int:
        """Return how many rows of the queue and the priority of *asked* wait."""
        line = asked.key, asked.priority
        mine = (it for it in self.open.values() if (it.asked.key, it.asked.priority) == line)
        return sum(request.waiting for request in mine)

    def must_be_served(self, request: ModelRequest) -> bool:
        """
        Return whether *request* must still be served.

        A late request, one that would be late, or one that depends on a run that hangs, may fail.
        """
        if request.settled or request.hopeless or request.deadline <= self.clock.seconds():
            return False
        if self.is_stuck:
            return False
        return not any(it.overdue and is_part_of(request, it) for it in self.in_flight)

    def may_wait(self, key: str) -> bool:
        """Return whether the policy may wait before it launches the queue *key*."""
        mine = [it for it in self.open.values() if it.asked.key == key and self.must_be_served(it)]
        closed = self.is_closed(key)
        if closed or not self.setup.fixed:
            return bool(self.missing[key]) and not closed
        rows = sum(request.waiting for request in mine)
        if not 0 < rows < min(FIXED.max_batch_size, self.caps[key]):
            return False
        return self.clock.seconds() < oldest_of(mine) + FIXED.max_queue_delay

    def too_late(self, request: ModelRequest) -> bool:
        """Return whether the run of *request* may end too late, by l(b)."""
        latency, cap = self.queues[request.asked.key].latency, self.caps[request.asked.key]
        needed = latency.margin * latency.predict(cap)
        return not self.setup.fixed and request.deadline < self.clock.seconds() + needed

    # Checks of a launch.

    def launched(self, run: ManualRun[int]) -> ModelRun:
        """Check a batch that is launched."""
        queue = self.queues[self.requests[run.given[0].item].asked.key]
        limit = max(RUN_TIMEOUT, MIN_HUNG_RUN_RATIO * queue.latency.predict(run.rows))
        it = ModelRun(run, self.clock.seconds() + limit)
        self.launched_runs.append(it)
        with self.collecting_failures():
            self._check_batch(run, queue.name)
        return it

    def _check_batch(self, run: ManualRun[int], key: str) -> None:
        """Raise AssertionError if this batch must not be launched."""
        requests = [self.requests[piece.item] for piece in run.given]
        assert {request.asked.key for request in requests} == {key}, "queues share a run"
        assert run.rows <= self.caps[key], "more rows than a batch may have"
        for request in self.open.values():
            request.hopeless = request.hopeless or self.too_late(request)
        pairs = list(zip(run.given, requests, strict=True))
        fresh = {piece.stop > request.launched for piece, request in pairs}
        assert len(fresh) == 1, "a retry shares a batch with new rows"
        if fresh == {True}:
            self._check_turn(key, pairs)
        for piece, request in pairs:
            request.launch(piece.start, piece.stop, self.clock.seconds())

    def _check_turn(self, key: str, pairs: "Sequence[tuple[Piece[int], ModelRequest]]") -> None:
        """Raise AssertionError if it was the turn of other requests."""
        waiting: dict[QueueLevel, int] = {}
        share = self.share_of[key]
        for request in self.open.values():
            if request.waiting and request.asked.key in share:
                waiting.setdefault((request.asked.key, request.asked.priority), request.number)
        may_wait = {each: self.may_wait(each) for each in KEYS}
        ready: dict[QueueLevel, Ready] = {}
        gone = {request.number: piece.stop for piece, request in pairs}
        lines: dict[QueueLevel, list[ModelRequest]] = {}
        for request in filter(self.must_be_served, self.open.values()):
            assert request.retrying == 0, "retries are launched first"
            if request.asked.key not in share:
                continue
            line = request.asked.key, request.asked.priority
            lines.setdefault(line, []).append(request)
            if request.waiting and not may_wait[request.asked.key]:
                ready.setdefault(line, Ready(request.number)).rows += request.waiting
        for _, request in pairs:
            for older in lines.get((key, request.asked.priority), []):
                assert (
                    older.number >= request.number
                    or gone.get(older.number, older.launched) == older.asked.rows
                ), "overtaken within a priority"
        pieces = [LaunchedPart(it.number, it.asked.priority, piece.rows) for piece, it in pairs]
        self._fairness[share].launch(key, pieces, ready, waiting, max(self.setup.caps))

    # Checks of an outcome.

    def _ended(self, outcome: Rows[int] | Failure, request: ModelRequest) -> None:
        """Check the end of *request*; then perform what its owner does next."""
        with self.collecting_failures():
            end = outcome.value if isinstance(outcome, Failure) else outcome
            request.outcomes.append(end)
            del self.open[request.number]
            self._check_end(request, end)
        self.totals[request.total] += request.asked.rows
        match request.asked.then:
            case Submission() as more:
                self.submit(more)
            case Cancellation(which):
                self.cancel(which)
            case None:
                pass

    def _check_end(self, request: ModelRequest, end: object) -> None:
        """Raise AssertionError if *request* must not end with *end*."""
        if request.expected_end is not None:
            assert same(end, request.expected_end), f"{end!r} instead of {request.expected_end!r}"
            return
        now = self.clock.seconds()
        match end:
            case _ if self._submitting is request and is_refusal(end):
                assert type(end) in request.reasons, f"refused without reason: {end!r}"
                if isinstance(end, QueueFull):
                    assert (end.rows, end.limit) == (request.asked.rows, LIMIT)
                    assert end.rows + end.waiting > end.limit
                request.refused = True
                if request.was_awaited:
                    self.missing[request.asked.key].add(request.asked.source)
            case DeadlineExceeded(stage="queue", late=late):
                assert late == now - request.deadline
                assert request.waiting or request.retrying
                assert late >= 0.0 or request.hopeless or self.too_late(request), "not late"
                assert late >= 0.0 or request.waiting
            case RunHung():
                hangs = any(it.overdue and is_part_of(request, it) for it in self.in_flight)
                assert hangs or self.is_stuck, "nothing hangs"
            case ShuttingDown():
                assert self.aborted, "no abort"
            case _:
                raise AssertionError(f"no reason for {end!r}")

    def _refusals(self, request: ModelRequest) -> tuple[list[type[BatcherError]], bool]:
        """Return the valid reasons to refuse *request*, and whether it must be refused."""
        if self.is_closed(request.asked.key):
            return [ShuttingDown], True
        may: list[type[BatcherError]] = []
        if self.is_stuck:
            may.append(RunHung)
            if all(it.given_up for it in self.in_flight):
                return may, True
        if request.deadline <= request.arrived:
            return [*may, DeadlineExceeded], True
        mine = [it for it in self.open.values() if it.asked.key == request.asked.key]
        room = LIMIT - request.asked.rows
        if sum(it.waiting for it in mine if not it.settled) > room:
            may.append(QueueFull)
        return may, sum(it.waiting for it in mine if self.must_be_served(it)) > room
