"""The messages of the batcher's errors: batcher/errors.py."""

import copy

import pytest

from batcher.errors import (
    BatcherError,
    DeadlineExceeded,
    OutOfMemory,
    QueueFull,
    ResultCountMismatch,
    RunFailed,
    ShuttingDown,
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (QueueFull(3, 6, 8), "the queue is full: 3 more rows exceed the limit of 8; 6 are waiting"),
        (QueueFull(1, 8, 8), "the queue is full: 1 more row exceeds the limit of 8; 8 are waiting"),
        (QueueFull(9, 0, 8), "9 rows exceed the limit of the queue, 8 rows"),
        (
            DeadlineExceeded(0.5, "submit"),
            "the deadline passed 0.500 s ago (found before queuing)",
        ),
        (
            DeadlineExceeded(1.5, "queue"),
            "the deadline passed 1.500 s ago (found while waiting)",
        ),
        (
            DeadlineExceeded(2.0, "answer"),
            "the deadline passed 2.000 s ago (found after the run)",
        ),
        (ShuttingDown(), "the batcher is shutting down"),
        (ResultCountMismatch(4, 3), "the model returned 3 results where 4 were expected"),
        (RunFailed(KeyError("x")), "the run failed: KeyError: 'x'"),
        (OutOfMemory(64), "a run of 64 rows did not fit into memory"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_message_holds_the_numbers_and_survives_a_copy(error: BatcherError, message: str) -> None:
    """Each is a BatcherError, and can be copied as threads and logs may do."""
    assert isinstance(error, BatcherError)
    assert str(error) == message
    assert str(copy.copy(error)) == message


def test_a_failed_run_names_its_cause() -> None:
    """As an attribute and for tracebacks."""
    cause = ValueError("bad image")
    error = RunFailed(cause)
    assert error.cause is cause
    assert error.__cause__ is cause
