"""
The errors with which a request ends instead of a result.

One class for each error that a caller can act upon; the attributes hold the numbers, and the
message states them.  Knows no HTTP: each class has a kind (error_kind.py), and only the server maps
kinds to status codes.
"""

from typing import Literal

from batcher.error_kind import ErrorKind, RequestError

#: Where the batcher found that a deadline had passed.
Stage = Literal["submit", "queue", "answer"]

_FOUND: dict[Stage, str] = {
    "submit": "before queuing",
    "queue": "while waiting",
    "answer": "after the run",
}


#: Why a request is refused: it is expected to be late, too many rows wait in its queue, the batcher
#: or its share is closed, all lanes hang, or the wait for a decode thread is too long.
RefusalCause = Literal["late", "full", "closed", "hung", "decode"]


class BatcherError(RequestError):
    """Base of every error of the batcher that a request may end with."""


class RefusalError(BatcherError):
    """Base of the errors with which a request is refused."""

    cause: RefusalCause


class QueueFull(RefusalError):
    """
    Refused: *rows* new and *waiting* rows together exceed the queue's *limit*.

    A retry can succeed later, unless *rows* alone exceeds *limit*.
    """

    cause = "full"
    kind = ErrorKind.OVERLOADED
    retry_after = 0.0

    def __init__(self, rows: int, waiting: int, limit: int) -> None:
        super().__init__(rows, waiting, limit)
        self.rows = rows
        self.waiting = waiting
        self.limit = limit

    def __str__(self) -> str:
        if self.rows > self.limit:
            return f"{self.rows} rows exceed the limit of the queue, {self.limit} rows"
        more = "1 more row exceeds" if self.rows == 1 else f"{self.rows} more rows exceed"
        return f"the queue is full: {more} the limit of {self.limit}; {self.waiting} are waiting"


class DeadlineExceeded(BatcherError):
    """
    The deadline passed *late* seconds ago, or can no longer be met.

    In the second case *late* is negative: the request was dropped ``-late`` seconds before the
    deadline.

    *stage* is where the batcher found this: at ``submit``, in the ``queue`` (the request never
    ran), or at the ``answer`` (it ran, and its result was dropped).
    """

    kind = ErrorKind.DEADLINE_EXCEEDED

    def __init__(self, late: float, stage: Stage) -> None:
        super().__init__(late, stage)
        self.late = late
        self.stage: Stage = stage

    def __str__(self) -> str:
        if self.late < 0.0:
            return (
                f"dropped {-self.late:.4f} s before its deadline: its run would have ended too late"
            )
        return f"the deadline passed {self.late:.3f} s ago (found {_FOUND[self.stage]})"


class Overloaded(RefusalError):
    """
    A request was refused before it caused any work: its answer would be too late.

    The answer is expected after *wait* seconds, margin included; *allowed* seconds remain until the
    deadline.
    """

    cause = "late"
    kind = ErrorKind.OVERLOADED

    def __init__(self, wait: float, allowed: float) -> None:
        super().__init__(wait, allowed)
        self.wait = wait
        self.allowed = allowed
        #: Seconds after which the request can be admitted, if no other request arrives.
        self.retry_after = max(0.0, wait - allowed)

    def __str__(self) -> str:
        return (
            f"too busy: an answer is expected in {self.wait:.4f} s, "
            f"and {max(0.0, self.allowed):.4f} s are allowed"
        )


class RunHung(RefusalError):
    """
    A run has not ended within *limit* seconds.

    Its requests fail with this error.  While the runs of all lanes hang, all waiting and
    new requests fail with it, too.
    """

    cause = "hung"
    kind = ErrorKind.UNAVAILABLE
    retry_after = 0.0

    def __init__(self, limit: float) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"a run of the model has not ended within {self.limit:.3g} s"


class ShuttingDown(RefusalError):
    """Refused by a draining or stopped batcher, or ended by an abort; another server may accept."""

    cause = "closed"
    kind = ErrorKind.UNAVAILABLE
    retry_after = 0.0

    def __str__(self) -> str:
        return "the batcher is shutting down"


class ResultCountMismatch(BatcherError):
    """The model returned *got* results for *expected* pieces: an error of the model."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(expected, got)
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        return f"the model returned {self.got} results where {self.expected} were expected"


class RunFailed(BatcherError):
    """
    A request has no result; *cause* is the error of the model, of `join` or of the policy.

    A batch whose run fails is run again in halves, so that only the request at fault gets this.
    The kind is INVALID if that of *cause* is: then the model refuses the values of the request.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause
        self.__cause__ = cause
        if isinstance(cause, RequestError) and cause.kind is ErrorKind.INVALID:
            self.kind = ErrorKind.INVALID

    def __str__(self) -> str:
        if self.kind is ErrorKind.INVALID:
            return f"the model does not take these values: {self.cause}"
        return f"the run failed: {type(self.cause).__name__}: {self.cause}"


class OutOfMemory(BatcherError):
    """
    A run of *rows* rows did not fit into memory.

    An executor fails the Deferred of the run with this error; the batcher then runs smaller
    batches.  A request gets this error only as the cause of a `RunFailed`, when one row alone did
    not fit.
    """

    def __init__(self, rows: int) -> None:
        super().__init__(rows)
        self.rows = rows

    def __str__(self) -> str:
        return f"a run of {self.rows} rows did not fit into memory"
