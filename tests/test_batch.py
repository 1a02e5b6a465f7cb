"""A batch and its retries: results, halves, cuts and order: batcher/batch.py, retries.py."""

from math import inf

import pytest

from batcher.batch import Batch
from batcher.errors import ResultCountMismatch
from batcher.learning.latency import LatencyCurve
from batcher.queue import Queue
from batcher.request import Part, Request
from batcher.retries import Retries, cut, halve
from tests.fakes.executor import Rows, rows_of

StrBatch = Batch[str, Rows[str]]


def batch_of(*rows: int, first: int = 1, cap: int = 8) -> StrBatch:
    """Return a batch of whole requests with these *rows*, numbered from *first*."""
    queue: Queue[str, Rows[str]] = Queue(LatencyCurve({}), cap, 64)
    parts = []
    for number, count in enumerate(rows, first):
        request: Request[str, Rows[str]] = Request(number, f"item {number}", count, queue, 0.0)
        parts.append(Part(request.item, 0, count, request))
    return Batch(parts)


def spans(batch: StrBatch | None) -> list[tuple[int, int, int]]:
    """Return number, first row and end of each part."""
    assert batch is not None
    assert batch.rows == sum(part.rows for part in batch.parts)
    return [(part.request.number, part.start, part.stop) for part in batch.parts]


def test_results_go_to_open_requests() -> None:
    """In order; a closed request gets nothing and is not returned."""
    batch = batch_of(1, 2, 1)
    batch.parts[0].request.open = False
    requests = batch.scatter([rows_of(part) for part in batch.parts])
    assert [request.number for request in requests] == [2, 3]
    assert requests[0].result == [("item 2", 0), ("item 2", 1)]
    assert batch.parts[0].request.result is None


@pytest.mark.parametrize("got", [0, 1, 3])
def test_a_wrong_number_of_results_reaches_no_request(got: int) -> None:
    """The error has both numbers, and no request can get the result of another."""
    batch = batch_of(1, 1)
    with pytest.raises(ResultCountMismatch) as caught:
        batch.scatter([[]] * got)
    assert (caught.value.expected, caught.value.got) == (2, got)
    assert all(part.request.result is None for part in batch.parts)


@pytest.mark.parametrize(
    ("closed", "halves"),
    [
        ([], [[1, 2], [3]]),
        ([2], [[1], [3]]),
        ([1, 3], [[2]]),  # may be innocent: the bad one may be closed
        ([1, 2, 3], []),
    ],
)
def test_a_failed_batch_is_halved_by_pieces(closed: list[int], halves: list[list[int]]) -> None:
    """Without closed requests."""
    batch = batch_of(4, 1, 1)
    for part in batch.parts:
        part.request.open = part.request.number not in closed
    found = [[part.request.number for part in half.parts] for half in halve(batch)]
    assert found == halves


@pytest.mark.parametrize(
    ("rows", "first", "rest"),
    [
        (1, [(1, 0, 1)], [(1, 1, 3), (2, 0, 2)]),
        (3, [(1, 0, 3)], [(2, 0, 2)]),
        (4, [(1, 0, 3), (2, 0, 1)], [(2, 1, 2)]),
    ],
)
def test_a_batch_is_cut_by_rows(
    rows: int, first: list[tuple[int, int, int]], rest: list[tuple[int, int, int]]
) -> None:
    """Inside a request if need be."""
    head, tail = cut(batch_of(3, 2), rows)
    assert spans(head) == first
    assert spans(tail) == rest


def test_the_oldest_batch_is_run_again_first_and_within_the_cap() -> None:
    """In any order of pushes; the rest of a batch over the cap is still the oldest."""
    retries: Retries[str, Rows[str]] = Retries()
    retries.push(batch_of(1, 1, first=5))
    retries.push(batch_of(5, first=2, cap=3))
    assert retries.rows == 7
    assert spans(retries.pop()) == [(2, 0, 3)]
    assert spans(retries.pop()) == [(2, 3, 5)]
    assert spans(retries.pop()) == [(5, 0, 1), (6, 0, 1)]
    assert not retries
    assert retries.pop() is None


def test_closed_requests_are_not_run_again() -> None:
    """They are not counted, have no deadline, and are not popped."""
    retries: Retries[str, Rows[str]] = Retries()
    left, stays = batch_of(2), batch_of(1, 1, first=2)
    left.parts[0].request.deadline = 4.0
    stays.parts[0].request.deadline = 8.0
    retries.push(left)
    retries.push(stays)
    assert retries.deadline() == 4.0
    left.parts[0].request.open = False
    assert (retries.rows, retries.deadline()) == (2, 8.0)
    stays.parts[0].request.open = False
    assert retries.deadline() == inf
    assert spans(retries.pop()) == [(3, 0, 1)]
