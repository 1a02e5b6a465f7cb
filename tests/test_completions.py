"""Requests that have ended: batcher/completions.py."""

from collections.abc import Sequence
from dataclasses import asdict

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from batcher.completions import Completions
from batcher.errors import BatcherError, DeadlineExceeded, RunFailed, ShuttingDown
from batcher.learning.latency import LatencyCurve
from batcher.queue import Queue
from batcher.request import Part, Request
from batcher.stats import Recorder, Totals

StrRequest = Request[str, str]
QUEUE: Queue[str, str] = Queue(LatencyCurve({}), 8, 64)


def joined(parts: Sequence[str]) -> str:
    """Return *parts* joined with a plus; raises ValueError for a bad one."""
    if "bad" in parts:
        raise ValueError("no such part")
    return "+".join(parts)


class Outcomes:
    """Completions, and the results and errors of their Deferreds in order."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.completions: Completions[str, str] = Completions(joined, self.recorder)
        self.fired: list[object] = []

    def request(
        self, number: int, *parts: str, rows: int = 1, error: BatcherError | None = None
    ) -> StrRequest:
        """Return a request with *rows* rows a part that has its results, or *error*."""
        request: StrRequest = Request(number, "item", rows * max(1, len(parts)), QUEUE, 0.0)
        request.error = error
        for start, part in enumerate(parts):
            request.add(Part("item", rows * start, rows * (start + 1), request), part)
        request.answer = Deferred()
        request.answer.addCallbacks(self.fired.append, self._failed)
        return request

    def _failed(self, failure: Failure) -> None:
        self.fired.append(failure.value)


def test_deferreds_fire_in_the_order_in_which_requests_ended() -> None:
    """Not before the delivery, and each once."""
    outcomes = Outcomes()
    for number, result in ((2, "b"), (1, "a"), (3, "c")):
        outcomes.completions.put(outcomes.request(number, result))
    assert outcomes.fired == []
    assert outcomes.completions.deliver()
    assert outcomes.fired == ["b", "a", "c"]
    assert outcomes.completions.deliver()
    assert outcomes.fired == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("parts", "error", "counted"),
    [
        (("a",), None, {"answered": 2}),
        (("a", "b"), None, {"answered": 4}),
        ((), ShuttingDown(), {"failed": 2}),
        (("a",), RunFailed(ValueError()), {"failed": 2}),
        ((), DeadlineExceeded(1.0, "queue"), {"expired": 2}),
        (("a", "bad"), None, {"failed": 4}),
    ],
)
def test_the_outcome_of_each_row_is_counted(
    parts: tuple[str, ...], error: BatcherError | None, counted: dict[str, int]
) -> None:
    """Two rows a part; a request with an error is not answered, even if it has a result."""
    outcomes = Outcomes()
    outcomes.completions.put(outcomes.request(1, *parts, rows=2, error=error))
    outcomes.completions.deliver()
    totals = asdict(outcomes.recorder.totals)
    assert {name: rows for name, rows in totals.items() if rows and name in counted} == counted
    assert sum(totals[name] for name in ("answered", "failed", "expired", "refused")) == sum(
        counted.values()
    )
    assert len(outcomes.fired) == 1
    if error is not None:
        assert outcomes.fired == [error]


def test_parts_that_cannot_be_joined_fail_their_request_alone() -> None:
    """With the exception of the join."""
    outcomes = Outcomes()
    outcomes.completions.put(outcomes.request(1, "a", "bad"))
    outcomes.completions.put(outcomes.request(2, "a", "b"))
    outcomes.completions.deliver()
    failed, answered = outcomes.fired
    assert isinstance(failed, RunFailed)
    assert str(failed) == "the run failed: ValueError: no such part"
    assert answered == "a+b"


def test_a_request_that_ends_during_a_delivery_is_delivered_after_the_others() -> None:
    """By the outermost delivery only: an inner one does nothing and returns False."""
    outcomes = Outcomes()
    first, second, third = (outcomes.request(number, name) for number, name in enumerate("abc"))
    inner: list[bool] = []

    def end_another(_: object) -> None:
        outcomes.completions.put(third)
        inner.append(outcomes.completions.deliver())

    assert first.answer is not None
    first.answer.addCallback(end_another)
    outcomes.completions.put(first)
    outcomes.completions.put(second)
    assert outcomes.completions.deliver()
    assert inner == [False]
    assert outcomes.fired == ["a", "b", "c"]


def test_a_request_cancelled_during_a_delivery_is_neither_fired_nor_counted() -> None:
    """The callback that cancels it has fired and counted it."""
    outcomes = Outcomes()
    first, second = outcomes.request(1, "a"), outcomes.request(2, "b")

    def cancel(_: object) -> None:
        answer, second.answer = second.answer, None
        assert answer is not None
        answer.errback(CancelledError())

    assert first.answer is not None
    first.answer.addCallback(cancel)
    outcomes.completions.put(first)
    outcomes.completions.put(second)
    assert outcomes.completions.deliver()
    assert [type(each) for each in outcomes.fired] == [str, CancelledError]
    assert outcomes.recorder.totals == Totals(answered=1)


def test_a_callback_may_cancel_its_own_deferred() -> None:
    """It has fired already: nothing happens."""
    outcomes = Outcomes()
    request = outcomes.request(1, "a")
    answer = request.answer
    assert answer is not None
    answer.addCallback(lambda _: answer.cancel())
    outcomes.completions.put(request)
    assert outcomes.completions.deliver()
    assert outcomes.fired == ["a"]
    assert request.answer is None
