"""The answers that are due: batcher/completions.py."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from batcher.completions import Completions
from batcher.errors import BatcherError, DeadlineExceeded, RunFailed, ShuttingDown
from batcher.learning.latency import LatencyCurve
from batcher.queue import Queue
from batcher.request import Part, Request
from batcher.stats import Totals

StrRequest = Request[str, str]
QUEUE: Queue[str, str] = Queue(LatencyCurve({}), 8, 64)


def joined(parts: Sequence[str]) -> str:
    """Return *parts* with a plus in between; one of them may be bad."""
    if "bad" in parts:
        raise ValueError("no such part")
    return "+".join(parts)


class Counter:
    """An outbox, and what was told in which order."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.completions: Completions[str, str] = Completions(joined, self.totals)
        self.told: list[object] = []

    def request(
        self, number: int, *parts: str, rows: int = 1, error: BatcherError | None = None
    ) -> StrRequest:
        """Return a ticket of so many rows a part that has its results, or *error*."""
        request: StrRequest = Request(number, "item", rows * max(1, len(parts)), QUEUE, 0.0)
        request.error = error
        for start, part in enumerate(parts):
            request.add(Part("item", rows * start, rows * (start + 1), request), part)
        request.answer = Deferred()
        request.answer.addCallbacks(self.told.append, self._failed)
        return request

    def _failed(self, failure: Failure) -> None:
        self.told.append(failure.value)


def test_answers_are_told_in_the_order_in_which_they_ended() -> None:
    """Not before they are delivered, and each once."""
    counter = Counter()
    for number, result in ((2, "b"), (1, "a"), (3, "c")):
        counter.completions.put(counter.request(number, result))
    assert counter.told == []
    assert counter.completions.deliver()
    assert counter.told == ["b", "a", "c"]
    assert counter.completions.deliver()
    assert counter.told == ["b", "a", "c"]


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
def test_what_became_of_each_row_is_counted(
    parts: tuple[str, ...], error: BatcherError | None, counted: dict[str, int]
) -> None:
    """Two rows a part; whoever has an error is not answered, even with a result."""
    counter = Counter()
    counter.completions.put(counter.request(1, *parts, rows=2, error=error))
    counter.completions.deliver()
    assert asdict(counter.totals) == asdict(replace(Totals(), **counted))
    assert len(counter.told) == 1
    if error is not None:
        assert counter.told == [error]


def test_parts_that_cannot_be_joined_fail_their_request_alone() -> None:
    """With what the joining raised."""
    counter = Counter()
    counter.completions.put(counter.request(1, "a", "bad"))
    counter.completions.put(counter.request(2, "a", "b"))
    counter.completions.deliver()
    failed, answered = counter.told
    assert isinstance(failed, RunFailed)
    assert str(failed) == "the run failed: ValueError: no such part"
    assert answered == "a+b"


def test_what_ends_while_answers_are_told_is_told_after_them() -> None:
    """By the outermost delivery alone: one within it does nothing, and says so."""
    counter = Counter()
    first, second, third = (counter.request(number, name) for number, name in enumerate("abc"))
    inner: list[bool] = []

    def end_another(_: object) -> None:
        counter.completions.put(third)
        inner.append(counter.completions.deliver())

    assert first.answer is not None
    first.answer.addCallback(end_another)
    counter.completions.put(first)
    counter.completions.put(second)
    assert counter.completions.deliver()
    assert inner == [False]
    assert counter.told == ["a", "b", "c"]


def test_whoever_was_cancelled_meanwhile_is_neither_told_nor_counted() -> None:
    """By a callback of the same delivery: the canceller has told and counted it."""
    counter = Counter()
    first, second = counter.request(1, "a"), counter.request(2, "b")

    def cancel(_: object) -> None:
        answer, second.answer = second.answer, None
        assert answer is not None
        answer.errback(CancelledError())

    assert first.answer is not None
    first.answer.addCallback(cancel)
    counter.completions.put(first)
    counter.completions.put(second)
    assert counter.completions.deliver()
    assert [type(each) for each in counter.told] == [str, CancelledError]
    assert counter.totals == Totals(answered=1)


def test_an_answer_may_be_cancelled_by_whoever_is_told() -> None:
    """It has fired already, and that is no trouble."""
    counter = Counter()
    request = counter.request(1, "a")
    answer = request.answer
    assert answer is not None
    answer.addCallback(lambda _: answer.cancel())
    counter.completions.put(request)
    assert counter.completions.deliver()
    assert counter.told == ["a"]
    assert request.answer is None
