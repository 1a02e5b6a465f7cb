"""Equal errors in the log: server/process/error_bursts.py."""

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.python.failure import Failure

from batcher.errors import RunFailed
from server.process.error_bursts import (
    FIRST_INTERVAL_SECONDS,
    INTERVAL_SECONDS,
    MAX_KINDS,
    ErrorBursts,
)


class Bursts:
    """The counter of equal errors, its clock, and the lines that it lets through."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[LogEvent] = []
        self.counter = ErrorBursts(self.events.append, self.clock.seconds)  # type: ignore[arg-type]
        self._log = Logger("tests", observer=self.counter)

    def fail(self, error: BaseException, model: str = "pets", request_id: str = "7") -> None:
        """Log a failed request."""
        try:
            raise error
        except type(error):
            self._log.failure("it failed", model=model, request_id=request_id)

    def take(self) -> list[str]:
        """Report what is due; remove and return all lines."""
        self.counter.report()
        lines = [formatEvent(event) for event in self.events]
        self.events.clear()
        return lines


def test_an_error_is_logged_once_and_then_counted() -> None:
    """With the last request; after a quiet interval it is new again."""
    bursts = Bursts()
    for number in range(1000):
        bursts.fail(ValueError(f"row {number}"), request_id=str(number))
    assert [("log_failure" in event) for event in bursts.events] == [True]
    assert bursts.take() == ["it failed"]
    bursts.clock.advance(FIRST_INTERVAL_SECONDS)
    repeated = "repeated {} times in {} s: ValueError: row 0; last in request {}"
    assert bursts.take() == [repeated.format(999, 10, 999)]
    bursts.fail(ValueError("row"), request_id="8")
    bursts.clock.advance(INTERVAL_SECONDS / 2)
    assert bursts.take() == []
    bursts.clock.advance(INTERVAL_SECONDS / 2)
    assert bursts.take() == [repeated.format(1, 60, 8)]
    bursts.clock.advance(INTERVAL_SECONDS)
    assert bursts.take() == []
    bursts.fail(ValueError("row"))
    assert bursts.take() == ["it failed"]


def test_the_line_that_counts_names_the_model() -> None:
    """For the filters of a log collector."""
    bursts = Bursts()
    for _ in range(2):
        bursts.fail(ValueError("row"))
    bursts.events.clear()
    bursts.counter.report(all_of_them=True)
    (event,) = bursts.events
    assert (event["model"], event["count"], event["request_id"]) == ("pets", 1, "7")


@pytest.mark.parametrize(
    "other",
    [
        lambda it: it.fail(KeyError("row")),
        lambda it: it.fail(ValueError("row"), model="cars"),
        lambda it: it.fail(RunFailed(ValueError("row"))),
        lambda it: it._log.failure("it failed", Failure(ValueError("row")), model="pets"),
        lambda it: it._log.failure("that failed", Failure(ValueError("row")), model="pets"),
    ],
    ids=["class", "model", "cause", "place", "message"],
)
def test_errors_that_differ_are_logged_each(other: object) -> None:
    """By class, model, cause, place or message."""
    assert callable(other)
    bursts = Bursts()
    bursts.fail(ValueError("row"))
    other(bursts)
    assert len(bursts.events) == 2
    assert all("log_failure" in event for event in bursts.events)


def test_an_error_that_a_run_failed_with_has_the_place_of_its_cause() -> None:
    """Errors of the batcher are made at one place for all errors of all models."""
    bursts = Bursts()
    for text in ("x", "", "y", ""):
        try:
            if text:
                int(text)
            [1].remove(2)
        except ValueError as error:
            bursts.fail(RunFailed(error))
    assert len(bursts.events) == 2


def test_the_number_of_kinds_is_bounded() -> None:
    """Any further ones are counted together; others pass."""
    bursts = Bursts()
    for number in range(MAX_KINDS + 9):
        bursts.fail(ValueError("row"), model=f"m{number}")
    bursts._log.warn("beware")
    assert bursts.take() == ["it failed"] * MAX_KINDS + ["beware"]
    bursts.clock.advance(FIRST_INTERVAL_SECONDS)
    assert bursts.take() == ["repeated 9 times in 10 s: errors of other kinds; last in request 7"]
    bursts.fail(ValueError("row"), model="m1")
    assert bursts.take() == ["it failed"]
