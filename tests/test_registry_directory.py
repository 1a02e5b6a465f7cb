"""Which worker takes the next request: server/registry/directory.py and choice.py."""

import tracemalloc
from collections import Counter
from itertools import combinations
from random import Random

import pytest
from twisted.internet.task import Clock

from server.discovery.members import Members
from server.discovery.worker_record import ModelLoad, WorkerRecord
from server.registry.choice import two_of
from server.registry.directory import MANY_WORKERS, Directory, NoSuchModel, NoWorker
from tests.fakes.registry import worker


class Registry:
    """A directory of one source, or of several."""

    def __init__(self, *records: WorkerRecord) -> None:
        self.clock = Clock()
        self.directory = Directory(self.clock.seconds, Random(1).random)  # noqa: S311 - no secret
        self.members = self.source("leases", *records)

    def source(self, name: str, *records: WorkerRecord) -> Members:
        """Add a source with *records*."""
        members = Members(name, self.clock.seconds)
        members.is_current()
        for record in records:
            members.put(record)
        self.directory.add(members)
        return members

    def shares(self, count: int, model: str | None = None, *, every: float = 0) -> list[int]:
        """Return how often each worker is chosen in *count* choices, *every* so many seconds."""
        chosen: Counter[str] = Counter()
        for _ in range(count):
            chosen[self.directory.choose(model).id] += 1
            self.clock.advance(every)
        return [chosen[it] for it in sorted(self.members.workers)]


def test_each_pair_is_as_likely() -> None:
    """For each pair of random numbers in a grid."""
    grid = [(2 * it + 1) / 24 for it in range(12)]
    pairs: Counter[tuple[int, int]] = Counter()
    for first in grid:
        for second in grid:
            numbers = iter((first, second))
            one, other = sorted(two_of(4, lambda numbers=numbers: next(numbers)))  # type: ignore[misc]  # mypy infers no lambda with a default
            pairs[one, other] += 1
    assert pairs == dict.fromkeys(combinations(range(4), 2), 24)


@pytest.mark.parametrize("every", [0, 1], ids=["a burst", "one a second"])
@pytest.mark.parametrize(
    "records",
    [
        [worker(it, m=0.0) for it in range(8)],
        [worker(it, m=1.0 + it / 100) for it in range(8)],
        [WorkerRecord(f"w-{it}", "a", 8000 + it, {"m": ModelLoad()}) for it in range(8)],
        [WorkerRecord(f"w-{it}", "a", 8000 + it) for it in range(8)],
        [WorkerRecord(f"w-{it}", "a", 8000 + it) for it in range(4)]
        + [worker(it, m=0.0) for it in range(4, 8)],
        [WorkerRecord(f"w-{it}", "a", 8000 + it, {"m": ModelLoad()}) for it in range(4)]
        + [worker(it, m=9.0) for it in range(4, 8)],
    ],
    ids=[
        "equal waits",
        "nearly equal waits",
        "no waits",
        "not known",
        "mixed",
        "some with no waits",
    ],
)
def test_equal_workers_get_equal_shares(records: list[WorkerRecord], every: float) -> None:
    """Also if no wait is known, or if it is known of a part of them."""
    shares = Registry(*records).shares(800, "m", every=every)
    assert all(85 <= it <= 115 for it in shares), shares


def test_the_shorter_wait_is_chosen_until_the_choices_have_made_it_as_long() -> None:
    """Of two workers; a new report counts alone."""
    registry = Registry(worker(0, m=1.0), worker(1, m=2.0))
    chosen = [registry.directory.choose("m").id for _ in range(4)]
    assert chosen == ["w-0"] * 4
    assert registry.shares(2, "m") == [1, 1]
    registry.members.put(worker(0, m=9.0))
    assert registry.shares(8, "m") == [0, 8]


def test_what_was_handed_out_is_worked_off() -> None:
    """One second in a second: then the reports alone count again."""
    registry = Registry(worker(0, m=1.0), worker(1, m=2.0))
    assert registry.shares(4, "m", every=0.25) == [4, 0]
    assert registry.shares(400, "m", every=0.25) == [400, 0]


def test_a_worker_is_chosen_by_the_wait_of_the_model() -> None:
    """Without a model by the mean of all, and one without any model is not chosen."""
    registry = Registry(worker(0, a=1.0, b=9.0), worker(1, a=3.0, b=3.0), worker(2))
    assert registry.directory.choose("a").id == "w-0"
    assert registry.directory.choose("b").id == "w-1"
    assert registry.directory.choose(None).id == "w-1"
    assert registry.shares(100)[2] == 0


def test_only_workers_with_the_model_are_chosen() -> None:
    """A worker whose models are not known may have it; one that loads it later has it, too."""
    registry = Registry(worker(0, a=0.0), worker(1, b=0.0))
    assert registry.shares(10, "b") == [0, 10]
    with pytest.raises(NoSuchModel, match="no worker has the model 'c'; there are: a, b"):
        registry.directory.choose("c")
    registry.members.put(worker(0, a=0.0, c=0.0))
    assert registry.shares(10, "c") == [10, 0]
    registry.source("srv://a", WorkerRecord("d", "h", 1))
    assert registry.directory.choose("e").id == "d"


@pytest.mark.parametrize("model", [None, "m"])
def test_without_a_worker_a_request_is_refused(model: str | None) -> None:
    """For a while: the error advises to retry."""
    registry = Registry()
    with pytest.raises(NoWorker) as error:
        registry.directory.choose(model)
    assert error.value.retry_after == 1.0
    registry.members.put(worker(1, m=0.0))
    assert registry.directory.choose(model).id == "w-1"
    registry.members.remove("w-1")
    with pytest.raises(NoWorker):
        registry.directory.choose(model)


def test_a_model_that_a_source_which_is_away_may_have_is_refused_for_a_while() -> None:
    """When all sources are up to date, it is not found."""
    registry = Registry(worker(0, cats=0.0))
    source = registry.source("zk://a")
    for reason in ("not read yet", "no answer"):
        source.is_away(reason)
        with pytest.raises(NoWorker, match="no known worker has the model 'flowers'; away: zk://a"):
            registry.directory.choose("flowers")
        assert registry.directory.choose("cats").id == "w-0"
    source.is_current()
    with pytest.raises(NoSuchModel):
        registry.directory.choose("flowers")


def test_a_worker_of_two_sources_counts_once() -> None:
    """By its id or its address; the record with loads is preferred, then the later one."""
    registry = Registry(worker(0, m=1.0), worker(1, m=1.0))
    registry.source("srv://a", WorkerRecord("b", "127.0.0.1", 8000), WorkerRecord("w-1", "h", 1))
    registry.clock.advance(1)
    later = registry.source("zk://a", worker(0, m=2.0))
    assert registry.directory.workers() == [worker(0, m=2.0), worker(1, m=1.0)]
    later.remove("w-0")
    assert sorted(it.port for it in registry.directory.workers()) == [8000, 8001]


def test_a_worker_that_starts_again_replaces_its_former_entry() -> None:
    """At once, although the lease of the former one has not ended."""
    registry = Registry(worker(0, m=1.0))
    registry.clock.advance(1)
    registry.members.put(WorkerRecord("w-0b", "127.0.0.1", 8000, {"m": ModelLoad(3.0)}))
    assert [it.id for it in registry.directory.workers()] == ["w-0b"]


def test_the_workers_of_a_source_that_is_away_stay() -> None:
    """And are chosen."""
    registry = Registry(worker(0, m=1.0))
    registry.members.is_away("no answer")
    assert registry.directory.choose("m").id == "w-0"


@pytest.mark.parametrize("name", ["zk://a", "leases"], ids=["added later", "added first"])
def test_the_record_of_a_source_that_is_up_to_date_is_preferred(name: str) -> None:
    """While another source is away, its record of the same worker does not change."""
    registry = Registry()
    sources = {"leases": registry.members, "zk://a": registry.source("zk://a")}
    lost = sources.pop(name)
    (live,) = sources.values()
    live.put(worker(0, m=0.1))
    registry.clock.advance(1)
    lost.put(worker(0, m=0.2))
    assert registry.directory.workers() == [worker(0, m=0.2)]
    lost.is_away("no answer")
    live.put(worker(0, m=9.0))
    assert registry.directory.workers() == [worker(0, m=9.0)]
    lost.is_current()
    registry.clock.advance(1)
    lost.put(worker(0, m=0.3))
    assert registry.directory.workers() == [worker(0, m=0.3)]


def test_a_choice_looks_at_two_workers_of_a_thousand() -> None:
    """Also for a model that only workers with unknown models may have; they are merged once."""
    reads = 0

    class Counting(Members):
        @property
        def workers(self) -> dict[str, WorkerRecord]:
            nonlocal reads
            reads += 1
            return self._workers

    registry = Registry()
    members = Counting("leases", registry.clock.seconds)
    registry.directory.add(members)
    for number in range(1000):
        members.put(
            worker(number, m=0.0) if number % 2 else WorkerRecord(f"u-{number}", "h", number + 1)
        )
    registry.directory.choose("m")
    registry.directory.choose("made up")
    reads = 0
    for number in range(1000):
        registry.directory.choose("m")
        registry.directory.choose(f"made up {number}")
    assert reads < 20_000


def test_many_workers_are_not_merged_again_at_each_change() -> None:
    """A new one is chosen a moment later; one that is removed is not chosen any more."""
    registry = Registry(*(worker(number, m=1.0) for number in range(MANY_WORKERS)))
    assert registry.directory.choose("m")
    merged = registry.directory.merged()
    idle = worker(MANY_WORKERS, m=0.0, n=0.0)
    registry.members.put(idle)
    assert registry.directory.merged() is merged
    assert idle not in registry.directory.workers()
    assert registry.directory.choose("n") is idle
    assert idle in registry.directory.merged()
    for number in range(MANY_WORKERS - 1):
        registry.members.remove(f"w-{number}")
    left = registry.directory.workers()
    assert [it.port for it in left] == [8000 + MANY_WORKERS - 1, 8000 + MANY_WORKERS]
    assert registry.directory.choose("m") is idle
    late = WorkerRecord("late", "127.0.0.1", 1, {"m": ModelLoad(0.0, 0.25)})
    registry.members.put(late)
    registry.clock.advance(1)
    assert "late" in {registry.directory.choose("m").id for _ in range(20)}


def test_names_that_no_worker_lists_use_no_memory() -> None:
    """A worker with unknown models takes requests for any name that clients make up."""
    registry = Registry(WorkerRecord("a", "h", 1), worker(2, m=0.0))
    tracemalloc.start()
    try:
        for number in range(3000):
            assert registry.directory.choose(f"made up {number}").id == "a"
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 100_000
    assert registry.directory.choose("m").id
