"""Workers with a lease: server/registry/leases.py."""

import pytest
from twisted.internet.task import Clock

from server.discovery.members import Members
from server.discovery.worker_record import WorkerRecord
from server.registry.leases import Leases, TooManyWorkers

ONE, TWO = WorkerRecord("one", "a", 1), WorkerRecord("two", "a", 2)


class Kept:
    """Leases on a clock, and why each worker has gone."""

    def __init__(self, max_workers: int = 10) -> None:
        self.clock = Clock()
        self.gone: list[tuple[str, str]] = []
        self.members = Members("leases", self.clock.seconds)
        self.leases = Leases(
            self.members,
            self.clock,
            on_gone=lambda *it: self.gone.append(it),
            max_workers=max_workers,
        )

    @property
    def ids(self) -> list[str]:
        """The ids of the workers."""
        return list(self.members.workers)


def test_a_worker_is_gone_when_its_lease_has_ended() -> None:
    """Unless it is renewed in time, with any lease; one timer serves all."""
    kept = Kept()
    kept.leases.put(ONE, 8)
    kept.leases.put(TWO, 16)
    assert len(kept.clock.getDelayedCalls()) == 1
    kept.clock.advance(4)
    kept.leases.put(ONE, 8)
    kept.clock.advance(4)
    assert kept.ids == ["one", "two"]
    kept.clock.advance(4)
    assert kept.ids == ["two"]
    kept.leases.put(TWO, 1)
    kept.clock.advance(1)
    assert kept.ids == []
    assert kept.gone == [("one", "its lease has ended"), ("two", "its lease has ended")]
    assert kept.leases.ended == 2
    assert not kept.clock.getDelayedCalls()


def test_a_worker_may_withdraw_and_register_again() -> None:
    """An unknown id is no error."""
    kept = Kept()
    kept.leases.put(ONE, 8)
    for _ in range(2):
        kept.leases.remove("one")
    assert (kept.ids, kept.gone) == ([], [("one", "it has withdrawn")])
    kept.clock.advance(4)
    kept.leases.put(ONE, 8)
    kept.clock.advance(4)
    assert kept.ids == ["one"]
    kept.leases.stop()
    assert not kept.clock.getDelayedCalls()


def test_leases_that_end_one_after_the_other_are_found_together() -> None:
    """At most every eighth of a second."""
    kept = Kept()
    for number in range(9):
        kept.leases.put(WorkerRecord(f"w{number}", "a", 1 + number), 1 + number / 64)
    kept.clock.advance(1)
    assert len(kept.ids) == 8
    kept.clock.advance(7 / 64)
    assert len(kept.ids) == 8
    kept.clock.advance(1 / 64)
    assert kept.ids == []


def test_the_workers_are_limited() -> None:
    """Those that are registered may renew their lease."""
    kept = Kept(max_workers=1)
    kept.leases.put(ONE, 8)
    with pytest.raises(TooManyWorkers, match="1 workers are registered, which is the limit"):
        kept.leases.put(TWO, 8)
    kept.leases.put(ONE, 8)
    kept.leases.remove("one")
    kept.leases.put(TWO, 8)
    assert kept.ids == ["two"]
