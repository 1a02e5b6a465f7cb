"""A repository that changes at any time, with requests, threads and a stop in any order."""

from pathlib import Path
from random import Random

import pytest

from model.errors import ModelError
from model.repository.version_policy import Stage
from server.repository.polling import POLL_SECONDS
from tests.fakes.reconciler import ReconcilerHarness, latest, listed
from tests.fakes.server import Log
from tests.fakes.threads import kinds, outcomes

NAMES = ("cars", "pets")
FACTS = (
    latest(),
    latest(2),
    latest(stable=1),
    latest(new=3),
    listed([1, 2]),
    listed([3]),
    listed([1], stable=2),
)
SECONDS = (1 / 64, 1 / 8, POLL_SECONDS)


class History:
    """One history, chosen by *random*, and the requests that were accepted in it."""

    def __init__(self, harness: ReconcilerHarness, random: Random) -> None:
        self.harness = harness
        self.answers: list[list[object]] = []
        self._random = random
        self._writes = 0

    def step(self) -> None:
        """Let something happen."""
        steps = (self.write, self.edit, self.wait, self.ask, self.work)
        self._random.choices(steps, (5, 3, 10, 30, 10))[0]()

    def write(self) -> None:
        """Write a version, which may be incomplete or broken, or delete a model."""
        repository, stamp = self.harness.repository, f"b{self._writes}"
        self._writes += 1
        name, number = self._random.choice(NAMES), self._random.randrange(4)
        complete, checked = self._random.random() < 0.9, self._random.random() < 0.5
        repository.put(name, number, stamp, complete=complete, checked=checked or not complete)
        kind = self._random.randrange(8)
        if kind == 0:
            repository.load_errors[stamp] = ModelError("no graph")
        elif kind == 1:
            self.harness.wrong[stamp] = ModelError("wrong")
        elif kind == 2:
            del repository.disk[name]

    def edit(self) -> None:
        """Write a serving.toml."""
        if names := sorted(self.harness.repository.disk):
            facts = self._random.choice(FACTS)
            self.harness.repository.write(self._random.choice(names), facts)

    def wait(self) -> None:
        """Let time pass."""
        self.harness.clock.advance(self._random.choice(SECONDS))

    def ask(self) -> None:
        """Send a request to a model that takes requests."""
        for name in self.harness.models.names:
            assert not self.harness.models.find(name).retired
            self.answers.append(outcomes(self.harness.ask(name)))

    def work(self) -> None:
        """Let the threads work for a while, in any order."""
        harness, random = self.harness, self._random
        for _ in range(random.randrange(150)):
            harness.threads.step()
            if random.random() < 0.8:
                harness.calls.drain()
            if harness.decoders.queue and random.random() < 0.7:
                harness.decoders.step()


@pytest.mark.parametrize("seed", range(20))
def test_every_accepted_request_is_answered_and_nothing_is_left(
    seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Log
) -> None:
    """By a version that is closed after its last run; the stop may come at any time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    random = Random(seed)  # noqa: S311 - chooses a history
    harness = ReconcilerHarness(monkeypatch)
    harness.repository.put("pets", 1, "a")
    history = History(harness, random)
    harness.begin()
    for _ in range(random.randrange(400)):
        history.step()
    stopped = harness.stop()
    harness.turn()
    while not stopped:
        harness.clock.advance(1 / 8)
        harness.turn()
    harness.check_ended()
    assert {*map(str, map(kinds, history.answers))} <= {str([list])}
    for line in log.flush_errors():
        assert "is not served: " in line or "failed, the old ones are served: " in line


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("steps", range(0, 60, 3))
def test_a_stop_at_any_time_leaves_nothing_running(
    steps: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """During the start, a load, a proof, a drain or an unload: each model is closed once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    harness = ReconcilerHarness(monkeypatch)
    harness.repository.put("pets", 1, "a")
    stages = set()
    harness.begin()
    answers = []
    for step in range(steps):
        if step == 25:
            harness.turn()
            harness.repository.put("pets", 2, "b")
            harness.clock.advance(POLL_SECONDS)
        if harness.models.names:
            answers.append(outcomes(harness.ask()))
        if harness.decoders.queue:
            harness.decoders.step()
        harness.threads.step()
        if step % 2:
            harness.calls.drain()
        stages |= {it.stage for it in harness.reconciler.held.values()}
    stopped = harness.stop()
    harness.turn()
    assert stopped == [None]
    assert {*map(str, map(kinds, answers))} <= {str([list])}
    harness.check_ended()
    if steps > 50:
        assert {Stage.LOADING, Stage.SERVING} <= stages
