"""When the record of a worker is written and removed: server/discovery/announcer.py."""

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from server.discovery.announcer import (
    MAX_CALL_SECONDS,
    MAX_UNREADY_SECONDS,
    MAX_WITHDRAW_SECONDS,
    Announcement,
    Announcer,
    has_changed,
)
from server.discovery.backoff import MAX_RETRY_SECONDS, Backoff
from server.discovery.engine import EngineError
from server.discovery.worker_record import ModelLoad, WorkerRecord
from tests.fakes.registrar import FakeRegistrar
from tests.fakes.server import Log
from tests.fakes.threads import outcomes

pytestmark = pytest.mark.usefixtures("log")

RECORD = WorkerRecord("a-1", "10.0.0.1", 8000, {"m": ModelLoad(0.010, 0.002, ("1",))})
REGISTERED = "registered with zk://z:2181 as 10.0.0.1:8000"
LOST = (
    "not registered with zk://z:2181: connection refused; "
    "the server continues to serve and tries again"
)


class Worker:
    """A worker that is announced with a lease of 10 seconds; the test moves its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.registrar = FakeRegistrar()
        self.is_ready = True
        self.record: WorkerRecord | Exception | Deferred[WorkerRecord] = RECORD
        self.announcement = Announcement()
        self.announcer = Announcer(
            self.registrar,
            self._record,
            ready=lambda: self.is_ready,
            registry="zk://z:2181",
            lease=10.0,
            clock=self.clock,
            backoff=Backoff(lambda: 1.0),
            announcement=self.announcement,
        )

    async def _record(self) -> WorkerRecord:
        if isinstance(self.record, Exception):
            raise self.record
        if isinstance(self.record, Deferred):
            return await self.record
        return self.record

    def started(self) -> "Worker":
        """Start the announcer."""
        self.announcer.start()
        return self

    def wait(self, seconds: float) -> list[str]:
        """Let *seconds* pass, and return the calls of the registrar meanwhile."""
        before = len(self.registrar.calls)
        for _ in range(round(seconds * 8)):
            self.clock.advance(0.125)
        return self.registrar.calls[before:]

    def stop(self) -> list[object]:
        """Stop the announcer, and return the outcome."""
        return outcomes(ensureDeferred(self.announcer.stop()))

    def load(self, seconds: float) -> None:
        """Make the expected wait of the model *seconds*."""
        self.record = replace(RECORD, models={"m": ModelLoad(seconds, 0.002, ("1",))})


def test_a_worker_is_registered_once_it_is_ready(log: Log) -> None:
    """And its lease is renewed within each third of it."""
    worker = Worker()
    worker.is_ready = False
    assert worker.started().wait(60) == []
    worker.is_ready = True
    assert worker.wait(1) == ["put"]
    assert worker.registrar.record == RECORD
    assert worker.announcement == Announcement(is_registered=True)
    assert worker.wait(12) == ["put"] * 4
    assert log.lines() == [REGISTERED]


def test_the_record_is_written_again_when_the_waits_change_by_much() -> None:
    """At most once a second."""
    worker = Worker().started()
    worker.load(0.011)
    assert worker.wait(1) == []
    for step in range(1, 17):
        worker.load(0.1 * step)
        worker.wait(0.125)
    assert worker.registrar.calls == ["put"] * 3
    assert worker.registrar.record is not None
    assert worker.registrar.record.models == {"m": ModelLoad(1.6, 0.002, ("1",))}


LOAD = ModelLoad(0.010, 0.002, ("1",))
CHANGES = {
    "a little longer": ({"m": replace(LOAD, expected_wait=0.0119)}, False),
    "much longer": ({"m": replace(LOAD, expected_wait=0.0121)}, True),
    "much shorter": ({"m": replace(LOAD, expected_wait=0.0079)}, True),
    "below a millisecond": ({"m": replace(LOAD, added_wait=0.0029)}, False),
    "each request adds more": ({"m": replace(LOAD, added_wait=0.0031)}, True),
    "another version": ({"m": replace(LOAD, versions=("1", "2"))}, True),
    "another model": ({"m": LOAD, "n": LOAD}, True),
    "no model": ({}, True),
    "models that are not known": (None, True),
}


@pytest.mark.parametrize(("models", "changed"), CHANGES.values(), ids=CHANGES)
def test_a_record_has_changed(models: dict[str, ModelLoad] | None, changed: bool) -> None:
    """By more than a fifth and a millisecond, in both directions, or in its models."""
    new = replace(RECORD, models=models)
    assert has_changed(RECORD, new) is changed
    assert has_changed(RECORD, replace(new, port=8001))


def test_a_registry_that_does_not_answer_is_tried_again_with_longer_pauses(log: Log) -> None:
    """One line of the log when it is lost, and one when it is back, whatever the tries."""
    worker = Worker().started()
    worker.registrar.go_away()
    tries = len(worker.wait(300))
    assert 300 / MAX_RETRY_SECONDS < tries < 300 / MAX_RETRY_SECONDS + 8
    assert worker.announcement == Announcement(is_registered=False, failures=tries)
    worker.registrar.refusal = None
    worker.wait(MAX_RETRY_SECONDS)
    assert worker.registrar.record == RECORD
    worker.registrar.go_away()
    assert len(worker.wait(6)) > 2  # the pauses are short again
    assert log.lines() == [REGISTERED, LOST, REGISTERED, LOST]


def test_a_call_that_hangs_ends_and_is_tried_again(log: Log) -> None:
    """There is never a second one beside it."""
    worker = Worker()
    worker.registrar.hangs = True
    worker.started()
    assert worker.wait(MAX_CALL_SECONDS) == []
    worker.registrar.hangs = False
    assert worker.wait(1) == ["put"]
    assert worker.registrar.record == RECORD
    assert "it does not answer" in log.lines()[0]


@pytest.mark.parametrize("error", [EngineError("no address"), ValueError("a bug")])
def test_a_record_that_cannot_be_made_is_tried_again(error: Exception, log: Log) -> None:
    """Also after an error that is not expected, which is logged with its traceback."""
    worker = Worker()
    worker.record = error
    assert worker.started().wait(5) == []
    worker.record = RECORD
    assert worker.wait(MAX_RETRY_SECONDS)[0] == "put"
    assert [line for line in log.lines() if str(error) in line][1:] == []
    assert len(log.flush(ValueError)) == isinstance(error, ValueError)


def test_a_worker_that_is_no_longer_ready_is_withdrawn(log: Log) -> None:
    """Not at once; when it is ready again, it is registered again."""
    worker = Worker().started()
    worker.is_ready = False
    worker.wait(1)
    worker.is_ready = True
    assert "withdraw" not in worker.wait(1) + worker.registrar.calls
    worker.is_ready = False
    assert worker.wait(MAX_UNREADY_SECONDS + 1) == ["withdraw"]
    assert (worker.registrar.record, worker.announcement) == (None, Announcement())
    assert worker.wait(60) == []
    worker.is_ready = True
    worker.wait(1)
    assert worker.registrar.record == RECORD
    assert log.lines() == [
        REGISTERED,
        "withdrawn from zk://z:2181: the server is not ready",
        REGISTERED,
    ]


def test_a_withdrawal_that_fails_is_tried_again() -> None:
    """Until the record is removed."""
    worker = Worker().started()
    worker.is_ready = False
    worker.registrar.refusal = EngineError("connection refused")
    assert len(worker.wait(10)) > 2
    worker.registrar.refusal = None
    assert worker.wait(MAX_RETRY_SECONDS) == ["withdraw"]
    assert worker.registrar.record is None


@pytest.mark.parametrize("moment", ["a pause", "a call", "an unready worker"])
def test_a_stop_withdraws_the_record_and_closes_the_registrar(moment: str) -> None:
    """After the call under way; then no timer is left."""
    worker = Worker()
    worker.registrar.hangs = moment == "a call"
    worker.started()
    worker.is_ready = moment != "an unready worker"
    fired = worker.stop()
    if moment == "a call":
        assert (worker.registrar.calls, fired) == (["put"], [])
        worker.registrar.hangs = False
        worker.registrar.go_on()
    assert worker.registrar.calls == ["put", "withdraw", "close"]
    assert fired == [None]
    assert worker.registrar.record is None
    assert worker.clock.getDelayedCalls() == []


@pytest.mark.parametrize("is_listed", [False, True])
def test_a_stop_does_not_wait_for_a_record(is_listed: bool) -> None:
    """The lookup of the own address may take a minute; a record that is written is removed."""
    worker = Worker()
    if is_listed:
        worker.started()
    worker.record = Deferred()
    if not is_listed:
        worker.started()
    worker.wait(1)
    assert worker.stop() == [None]
    assert worker.registrar.calls == ["put", "withdraw", "close"][0 if is_listed else 2 :]
    assert worker.clock.getDelayedCalls() == []


@pytest.mark.parametrize("was_ready", [False, True])
def test_a_stop_without_a_record_only_closes(was_ready: bool) -> None:
    """A worker that was never ready, or is withdrawn, has nothing to remove."""
    worker = Worker()
    worker.is_ready = was_ready
    worker.started()
    worker.is_ready = False
    worker.wait(MAX_UNREADY_SECONDS + 1)
    before = len(worker.registrar.calls)
    assert worker.stop() == [None]
    assert worker.registrar.calls[before:] == ["close"]


@pytest.mark.parametrize("hangs", [False, True])
def test_a_stop_ends_also_if_the_registry_does_not_answer(hangs: bool, log: Log) -> None:
    """With one line that states when the record ends."""
    worker = Worker().started()
    worker.registrar.hangs = hangs
    worker.registrar.refusal = EngineError("connection refused")
    fired = worker.stop()
    if hangs:
        assert fired == []
        worker.clock.advance(MAX_WITHDRAW_SECONDS)
    assert fired == [None]
    assert worker.clock.getDelayedCalls() == []
    reason = "it does not answer" if hangs else "connection refused"
    assert log.lines()[-1] == (
        f"not withdrawn from zk://z:2181: {reason}; its lease ends within 10 s"
    )


def test_a_stop_that_is_cancelled_waits_for_nothing() -> None:
    """A second signal ends the process at once."""
    worker = Worker()
    worker.registrar.hangs = True
    worker.started()
    stopping: Deferred[None] = ensureDeferred(worker.announcer.stop())
    fired = outcomes(stopping)
    stopping.cancel()
    assert len(fired) == 1
    assert worker.registrar.calls == ["put", "close"]
    assert worker.clock.getDelayedCalls() == []
