"""A repository and the models in memory: server/repository/reconciler.py."""

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from twisted.internet.defer import ensureDeferred

from model.errors import ModelError
from model.execution.warmup import WARMUP_WEIGHT
from model.repository.model_places import RepositoryUnavailable
from server.models import ModelNotReady, UnknownModel
from server.repository.reconciler import NOTICE_SECONDS, POLL_SECONDS
from tests.fakes.reconciler import ReconcilerHarness, latest, listed
from tests.fakes.server import Log
from tests.fakes.threads import kinds, outcomes

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store run times in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ReconcilerHarness:
    """Return a server of version 1 of pets, not started."""
    harness = ReconcilerHarness(monkeypatch)
    harness.repository.put("pets", 1, "a")
    return harness


def put_and_poll(
    harness: ReconcilerHarness, version: int = 2, stamp: str = "b", *, size: int = 0
) -> None:
    """Write a version of pets, and do what follows."""
    harness.repository.put("pets", version, stamp, size=size)
    harness.poll()


# --- start


def test_a_start_serves_what_the_repository_asks_for(harness: ReconcilerHarness) -> None:
    """One load after the other, and it ends when all are loaded; a request is answered."""
    harness.repository.put("cars", 3, "c")
    harness.repository.put("cars", 4, "d", complete=False)
    with harness.stopping():
        assert harness.begin() == []
        with pytest.raises(ModelNotReady):
            harness.ask()
        harness.turn()
        assert (harness.served("cars"), harness.served("pets")) == ("3", "1")
        assert harness.repository.loads == ["c", "a"]
        answer = outcomes(harness.ask())
        harness.turn()
        assert kinds(answer) == [list]
        with pytest.raises(UnknownModel):
            harness.ask("boats")


def test_a_start_waits_for_a_model_that_can_be_served(harness: ReconcilerHarness, log: Log) -> None:
    """The reason is the progress of the start, once."""
    harness.repository.load_errors["a"] = ModelError("no graph")
    with harness.stopping():
        started = harness.begin()
        harness.turn()
        harness.poll()
        assert (started, harness.repository.loads) == ([], ["a"])
        assert harness.lines.count("no model is ready yet: no graph") == 1
        with pytest.raises(ModelNotReady, match="pets is not ready: no graph"):
            harness.ask()
        put_and_poll(harness)
        assert (started, harness.served()) == ([None], "2")
    assert log.flush_errors() == ["pets/1 is not served: no graph"]


def test_a_model_that_an_option_names_must_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other one can take its place: the error of its load is that of the start."""
    harness = ReconcilerHarness(monkeypatch, changes=False)
    harness.repository.put("model", 1, "a")
    harness.repository.load_errors["a"] = ModelError("no graph")
    with harness.stopping():
        started = harness.begin()
        harness.turn()
        assert kinds(started) == [ModelError]
        assert str(started[0]) == "no graph"


# --- swaps


def test_a_new_version_takes_the_requests_without_a_failed_one(harness: ReconcilerHarness) -> None:
    """Accepted requests are answered by the old one, which is closed after its last run."""
    with harness.stopping():
        harness.start()
        harness.repository.put("pets", 2, "b")
        answers = []
        harness.clock.advance(POLL_SECONDS)
        for _ in range(100):
            answers.append(outcomes(harness.ask()))
            if not harness.threads.step() and harness.served() == "2":
                break
            harness.calls.drain()
            if harness.decoders.queue:
                harness.decoders.step()
        harness.turn()
        assert {*map(str, map(kinds, answers))} == {str([list])}
        assert (harness.served(), harness.closed()) == ("2", {"a": 1, "b": 0})
        assert harness.models.routes == [
            ("pets", ["1"]), ("pets", ["1"]), ("pets", ["1", "2"]), ("pets", ["2"])
        ]  # fmt: skip
        with pytest.raises(UnknownModel, match="no version '1' of pets; there are: 2"):
            harness.ask(version="1")


def test_an_old_version_is_closed_when_its_last_request_is_answered(
    harness: ReconcilerHarness,
) -> None:
    """Also one whose image was not decoded when the requests went to the new version."""
    with harness.stopping():
        harness.start()
        old = outcomes(harness.ask())
        retired = harness.models.find("pets")
        harness.repository.put("pets", 2, "b")
        harness.clock.advance(POLL_SECONDS)
        while harness.served() == "1":
            harness.calls.drain()
            # The first job is the old request's, which is not decoded yet.
            if len(harness.decoders.queue) > 1:
                harness.decoders.queue.rotate(-1)
                harness.decoders.step()
                harness.decoders.queue.rotate(1)
            harness.threads.step()
        assert retired.retired
        assert (old, harness.closed()["a"]) == ([], 0)
        harness.turn()
        assert (kinds(old), harness.closed()) == ([list], {"a": 1, "b": 0})


@pytest.mark.parametrize("error", [ModelError("no graph"), ValueError("bad op\nat line 2")])
def test_a_version_that_cannot_be_loaded_leaves_the_old_one(
    error: Exception, harness: ReconcilerHarness, log: Log
) -> None:
    """The reason is kept; it is tried again with other files or another serving.toml only."""
    harness.repository.load_errors["b"] = error
    with harness.stopping():
        harness.start()
        put_and_poll(harness)
        harness.poll()
        assert (harness.served(), harness.repository.loads) == ("1", ["a", "b"])
        reason = "no graph" if isinstance(error, ModelError) else "the start failed: bad op"
        assert harness.reasons() == {"b": reason}
        harness.repository.write("pets", latest())
        harness.poll()
        assert harness.repository.loads == ["a", "b", "b"]
        put_and_poll(harness, stamp="c")
        assert (harness.served(), harness.reasons()) == ("2", {})
        assert harness.repository.loads == ["a", "b", "b", "c"]
    assert len(log.flush(ValueError)) == (2 if isinstance(error, ValueError) else 0)
    assert log.flush_errors() == [f"pets/2 is not served: {reason}"] * 2


def test_a_version_with_wrong_answers_takes_no_request(
    harness: ReconcilerHarness, log: Log
) -> None:
    """It was loaded, and is closed."""
    harness.wrong["b"] = ModelError("golden.jsonl: line 1: expected 1, got 2")
    with harness.stopping():
        harness.start()
        put_and_poll(harness)
        assert harness.served() == "1"
        assert all("2" not in (versions or ()) for _, versions in harness.models.routes)
        assert harness.reasons() == {"b": "golden.jsonl: line 1: expected 1, got 2"}
        assert harness.closed() == {"a": 0, "b": 1}
    assert len(log.flush_errors()) == 1


def test_a_version_that_is_too_large_is_not_loaded(harness: ReconcilerHarness, log: Log) -> None:
    """Its loader is not called, and the reason has the figures."""
    harness.available = 200_000_000
    with harness.stopping():
        harness.start()
        put_and_poll(harness, size=100_000_000)
        assert (harness.served(), harness.repository.loads) == ("1", ["a"])
        assert harness.reasons()["b"] == (
            "not enough memory: 200 MB are expected to be needed, 67 MB are kept free, "
            "200 MB are available"
        )
    assert len(log.flush_errors()) == 1


def test_many_versions_that_are_too_large_are_all_refused(
    harness: ReconcilerHarness, log: Log
) -> None:
    """One after the other, although each refusal takes no time."""
    harness.available = 0
    with harness.stopping():
        harness.start()
        for number in range(300):
            harness.repository.put(f"model-{number}", 1, f"b{number}", size=1)
        harness.poll()
        assert harness.served() == "1"
        assert len(harness.reasons()) == 300
    assert len(log.flush_errors()) == 300


def test_a_model_that_cannot_be_closed_is_not_loaded_again_and_again(
    harness: ReconcilerHarness, log: Log
) -> None:
    """Whether it fails when it is proven, or is replaced; other versions are served."""
    harness.wrong["b"] = ModelError("wrong")
    harness.repository.write("pets", latest())

    def fail(_: object) -> None:
        raise OSError("no device")

    with harness.stopping():
        harness.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.fakes.model.FakeRunner.close", fail)
            put_and_poll(harness)
            assert (harness.repository.loads, harness.served()) == (["a", "b"], "1")
            put_and_poll(harness, 3, "c")
            assert (harness.repository.loads, harness.served()) == (["a", "b", "c"], "3")
        harness.repository.opened[:] = harness.repository.opened[2:]
    assert len(log.flush(OSError)) == 2
    log.flush_errors()


def test_new_files_of_a_version_replace_the_old_ones(harness: ReconcilerHarness) -> None:
    """Beside them first; at no time is there no route, and every label stays."""
    harness.repository.put("pets", 2, "b", complete=False)
    harness.repository.write("pets", latest(stable=1))
    with harness.stopping():
        harness.start()
        assert harness.served(label="stable") == "1"
        # A label that waits for version 2 keeps version 1.
        harness.repository.write("pets", latest(stable=2))
        put_and_poll(harness, 1, "A")
        assert (harness.served(), harness.served(label="stable")) == ("1", "1")
        assert harness.closed() == {"a": 1, "A": 0}
        assert ("pets", None) not in harness.models.routes
        answer = outcomes(harness.ask())
        harness.turn()
        assert kinds(answer) == [list]
        assert harness.repository.runners["A"].fed


# --- changes of serving.toml


def test_a_model_is_unloaded_and_loaded_again(harness: ReconcilerHarness) -> None:
    """Requests for it are then errors that name what there is."""
    harness.repository.put("cars", 3, "c")
    with harness.stopping():
        harness.start()
        waiting = outcomes(harness.ask())
        harness.repository.write("pets", listed([], stable=1))
        harness.poll()
        assert kinds(waiting) == [list]
        with pytest.raises(UnknownModel, match="no model 'pets' is served; there are: cars"):
            harness.ask()
        assert harness.closed() == {"a": 1, "c": 0}
        harness.repository.write("pets", latest())
        harness.poll()
        assert harness.served() == "1"


def test_a_model_that_is_deleted_is_unloaded(harness: ReconcilerHarness) -> None:
    """And is known no longer."""
    harness.repository.put("cars", 3, "c")
    with harness.stopping():
        harness.start()
        del harness.repository.disk["pets"]
        harness.poll()
        with pytest.raises(UnknownModel):
            harness.ask()
        assert [it.name for it in harness.reconciler.held] == ["cars"]


def test_a_repository_that_cannot_be_read_changes_nothing(
    harness: ReconcilerHarness, log: Log
) -> None:
    """That is logged once; it is read again."""
    with harness.stopping():
        harness.start()
        harness.repository.error = RepositoryUnavailable("/models: no such folder")
        harness.poll()
        harness.poll()
        assert harness.served() == "1"
        lines = [line for line in log.lines() if "no such folder" in line]
        assert lines == ["/models: no such folder; what is served stays"]
        harness.repository.error = None
        put_and_poll(harness)
        assert harness.served() == "2"


def test_a_repository_that_is_read_once_is_read_until_it_is_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then a new version is not found, except by a change."""
    harness = ReconcilerHarness(monkeypatch, poll_seconds=inf)
    harness.repository.put("pets", 1, "a")
    harness.repository.put("pets", 2, "b", complete=False)
    with harness.stopping():
        harness.start()
        assert harness.served() == "1"
        put_and_poll(harness)
        assert harness.served() == "2"
        harness.repository.put("pets", 3, "c")
        harness.poll()
        assert harness.served() == "2"
        assert harness.clock.getDelayedCalls() == []
        ensureDeferred(harness.reconciler.change(lambda: None))
        harness.turn()
        assert harness.served() == "3"


def test_what_the_files_of_a_model_state_without_effect_is_logged_once(
    harness: ReconcilerHarness, log: Log
) -> None:
    """And again when it is something else."""
    disk = harness.repository.disk
    with harness.stopping():
        for note in ("one", "one", "two"):
            disk["pets"] = replace(disk["pets"], notes=(f"{note} is ignored",))
            if harness.reconciler.disk:
                harness.poll()
            else:
                harness.start()
        lines = [line for line in log.lines() if "is ignored" in line]
        assert lines == ["one is ignored", "two is ignored"]


def test_an_unexpected_error_of_a_read_is_logged_and_the_next_read_follows(
    harness: ReconcilerHarness, log: Log
) -> None:
    """What is served stays."""
    with harness.stopping():
        harness.start()
        harness.repository.error = ValueError("a bug")
        harness.poll()
        assert len(log.flush(ValueError)) == 1
        harness.repository.error = None
        put_and_poll(harness)
        assert harness.served() == "2"


def test_a_weight_changes_while_the_model_serves(harness: ReconcilerHarness) -> None:
    """It is not loaded again."""
    with harness.stopping():
        harness.start()
        harness.repository.write("pets", latest(weight=4.0))
        harness.poll()
        account = harness.models.find("pets").model.queues.share.account
        assert (account.weight, harness.repository.loads) == (4.0, ["a"])


def test_a_version_has_the_weight_of_a_warm_up_until_it_serves(harness: ReconcilerHarness) -> None:
    """Also while its golden requests run; then it has the account of the other versions."""
    harness.repository.write("pets", latest(2))
    with harness.stopping():
        harness.start()
        put_and_poll(harness)
        versions = [harness.models.find("pets", version=it) for it in "12"]
    assert harness.proof_weights == [WARMUP_WEIGHT] * 2
    assert len({id(it.model.queues.share.account) for it in versions}) == 1


def test_a_weight_that_changes_during_a_load_is_taken(harness: ReconcilerHarness) -> None:
    """The load goes on."""
    with harness.stopping():
        harness.begin()
        harness.repository.write("pets", latest(weight=4.0))
        change = outcomes(ensureDeferred(harness.reconciler.refresh()))
        harness.turn()
        account = harness.models.find("pets").model.queues.share.account
        assert (account.weight, harness.repository.loads, change) == (4.0, ["a"], [None])


def test_a_label_moves_when_its_version_serves(harness: ReconcilerHarness) -> None:
    """Until then it keeps the version that it had; a version with a label stays."""
    harness.repository.write("pets", latest(stable=1))
    with harness.stopping():
        harness.start()
        put_and_poll(harness)
        assert (harness.served(), harness.served(label="stable")) == ("2", "1")
        harness.repository.write("pets", latest(stable=2))
        harness.poll()
        assert (harness.served(), harness.served(label="stable")) == ("2", "2")
        assert harness.closed() == {"a": 1, "b": 0}


# --- reads


def test_the_kernel_s_notice_leads_to_a_read_soon(harness: ReconcilerHarness) -> None:
    """Further notices do not delay it, and one after the stop has no effect."""
    with harness.stopping():
        harness.start()
        harness.repository.put("pets", 2, "b")
        harness.reconciler.notice()
        harness.clock.advance(NOTICE_SECONDS / 2)
        harness.reconciler.notice()
        harness.clock.advance(NOTICE_SECONDS / 2)
        harness.turn()
        assert harness.served() == "2"
    harness.reconciler.notice()
    harness.check_ended()


def test_a_change_is_made_on_the_thread_that_reads(harness: ReconcilerHarness) -> None:
    """Its effect is known when it returns; its error is that of the call."""
    with harness.stopping():
        harness.start()
        changed = outcomes(
            ensureDeferred(
                harness.reconciler.change(
                    lambda: harness.repository.write("pets", latest(stable=1))
                )
            )
        )
        assert changed == []
        harness.turn()
        assert (changed, harness.served(label="stable")) == ([None], "1")

        def fail() -> None:
            raise PermissionError

        failed = outcomes(ensureDeferred(harness.reconciler.change(fail)))
        harness.turn()
        assert kinds(failed) == [PermissionError]
