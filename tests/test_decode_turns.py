"""The turns of several models in the decode pool: model/execution/decode_pool.py."""

import pytest

from batcher.share import Account, Share
from model.execution.decode_pool import DecodePool
from tests.fakes.decode_pool import SteppedPool
from tests.fakes.threads import Calls, ManualThreads


def begun(jobs: list[tuple[Share, float]], *, steps: int) -> list[str]:
    """
    Return the names of the shares of the first *steps* jobs, in the order in which they begin.

    Each of *jobs* is a share and the seconds that the job takes; all are queued at the same time.
    """
    now = 0.0
    names: list[str] = []
    threads, calls = ManualThreads(), Calls()
    pool = DecodePool(calls, 1, pool=threads, clock=lambda: now)
    pool.start()

    def spend(share: Share, seconds: float) -> None:
        nonlocal now
        names.append(share.name)
        now += seconds

    for share, seconds in jobs:
        pool.run(spend, share, seconds, share=share)
    for _ in range(steps):
        threads.step()
        calls.step()
    return names


@pytest.mark.parametrize(
    ("weights", "seconds", "order"),
    [
        ((1.0, 1.0), (1.0, 1.0), "abababab"),
        ((1.0, 1.0), (4.0, 1.0), "abbbbabb"),
        ((2.0, 1.0), (1.0, 1.0), "ababaaba"),
        ((1.0, 4.0), (1.0, 1.0), "abbbbabb"),
    ],
)
def test_models_take_turns_by_the_time_of_their_jobs(
    weights: tuple[float, float], seconds: tuple[float, float], order: str
) -> None:
    """In proportion to their weights, although all jobs of the first were queued before."""
    shares = [Share(name, Account(weight)) for name, weight in zip("ab", weights, strict=True)]
    jobs = [job for each in zip(shares, seconds, strict=True) for job in [each] * 8]
    assert "".join(begun(jobs, steps=8)) == order


def test_the_versions_of_a_model_take_its_turns_one_after_another() -> None:
    """Together they have the time of the other model, and no version waits behind the flood."""
    model = Account()
    one, two, other = Share("1", model), Share("2", model), Share("o")
    jobs = [(one, 1.0)] * 8 + [(two, 1.0)] * 4 + [(other, 1.0)] * 8
    assert "".join(begun(jobs, steps=12)) == "1o2o1o2o1o2o"


def test_a_model_saves_up_no_turns_while_it_has_no_jobs() -> None:
    """After a pause it is at most one job ahead of the other."""
    busy, pausing = Share("busy"), Share("pausing")
    stepped = SteppedPool()
    names: list[str] = []

    def queue(share: Share, count: int) -> None:
        for _ in range(count):
            stepped.pool.run(names.append, share.name, share=share)

    queue(pausing, 1)
    queue(busy, 16)
    for _ in range(9):
        stepped.finish()
    queue(pausing, 8)
    for _ in range(6):
        stepped.finish()
    assert "".join(name[0] for name in names) == "p" + "b" * 8 + "pbpbpb"


@pytest.mark.parametrize("dropped", [False, True])
def test_a_model_does_not_pay_for_the_jobs_that_others_run_beside_its_own(dropped: bool) -> None:
    """Its next job begins at once after a long one, also if idle lines were dropped meanwhile."""
    now = 0.0
    names: list[str] = []
    threads, calls = ManualThreads(), Calls()
    pool = DecodePool(calls, 2, pool=threads, clock=lambda: now)
    pool.start()
    long, busy = Share("long"), Share("busy")

    def spend() -> None:
        nonlocal now
        names.append("b")
        now += 1.0

    def meanwhile() -> None:
        names.append("l")
        for _ in range(4):
            threads.step()  # on the other thread
        if dropped:
            pool.run(str, share=Share("third"))

    pool.run(meanwhile, share=long)
    for _ in range(8):
        pool.run(spend, share=busy)
    threads.step()
    pool.run(names.append, "l", share=long)
    for _ in range(5):
        threads.step()
    assert "l" in names[5:7]


@pytest.mark.parametrize("returning", [False, True])
def test_a_model_that_is_new_takes_turns_from_its_first_job(returning: bool) -> None:
    """However long the jobs of the others took before, and if its idle line was dropped."""
    old, new = Share("old"), Share("new")
    stepped = SteppedPool()
    names: list[str] = []

    def queue(share: Share, count: int) -> None:
        for _ in range(count):
            stepped.pool.run(names.append, share.name, share=share)

    if returning:
        queue(new, 1)
    queue(old, 20)
    for _ in range(20 + returning):
        stepped.finish()
    stepped.pool.run(str, share=Share("third"))
    stepped.finish()
    names.clear()
    queue(old, 8)
    queue(new, 8)
    for _ in range(8):
        stepped.finish()
    assert sorted(names) == ["new"] * 4 + ["old"] * 4


def test_jobs_of_other_models_count_as_far_as_their_turns_allow() -> None:
    """For the wait of the next job: a flood of another model does not add all its jobs."""
    stepped = SteppedPool()
    flood, calm, heavy = Share("flood"), Share("calm"), Share("heavy", Account(3.0))
    for _ in range(100):
        stepped.pool.run(str, share=flood)
    assert [stepped.pool.pending_before(each) for each in (flood, calm, heavy)] == [100, 1, 1]
    assert [stepped.pool.pending_of(each) for each in (flood, calm)] == [100, 0]
    stepped.pool.run(str, share=calm)
    assert stepped.pool.pending_before(calm) == 1 + 2
    stepped.threads.step()
    assert stepped.pool.pending_before(calm) == 1 + 1 + 2
    assert stepped.pool.pending == 101
    version = Share("version", flood.account)  # of the model that is flooded
    assert stepped.pool.pending_before(version) == 1 + 1 + 1
    for _ in range(2):
        stepped.pool.run(str, share=version)
    assert stepped.pool.pending_before(version) == 2 + 3 + 1 + 1
    assert stepped.pool.pending_before(calm) == 1 + 1 + 2
