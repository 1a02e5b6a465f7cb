"""A repository and the models in memory: server/repository/reconciler.py."""

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from twisted.internet.defer import ensureDeferred

from model.errors import ModelError
from model.execution.warmup import WARMUP_WEIGHT
from model.repository.model_places import RepositoryUnavailable
from model.repository.serving_toml import ServingFacts
from model.repository.snapshot import ModelOnDisk
from server.metrics.model_metrics import versions_in_memory
from server.models import ModelNotReady, UnknownModel
from server.repository.polling import NOTICE_SECONDS, POLL_SECONDS
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


def test_each_load_that_ends_is_counted_by_its_outcome(
    harness: ReconcilerHarness, log: Log
) -> None:
    """A version that was stopped while it was loaded has no outcome."""
    harness.repository.load_errors["b"] = ModelError("no graph")
    with harness.stopping():
        harness.start()
        put_and_poll(harness)
        put_and_poll(harness, version=3, stamp="c")
        assert harness.reconciler.loads == {("pets", "loaded"): 2, ("pets", "failed"): 1}
        harness.repository.put("pets", 4, "d")
        harness.clock.advance(POLL_SECONDS)
    assert harness.reconciler.loads.total() == 3
    assert log.flush_errors() == ["pets/2 is not served: no graph"]


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


def step_without_first_decoding(harness: ReconcilerHarness) -> None:
    """Let all threads work, but leave the first image that waits to be decoded."""
    harness.calls.drain()
    if len(harness.decoders.queue) > 1:
        harness.decoders.queue.rotate(-1)
        harness.decoders.step()
        harness.decoders.queue.rotate(1)
    harness.threads.step()


def test_while_files_are_replaced_the_metrics_have_their_version_once(
    harness: ReconcilerHarness,
) -> None:
    """The files that serve, although the old ones have a request to answer."""
    with harness.stopping():
        harness.start()
        old = harness.models.find("pets")
        harness.ask()
        harness.repository.put("pets", 1, "b")
        harness.clock.advance(POLL_SECONDS)
        while harness.models.find("pets") is old:
            assert versions_in_memory(harness.reconciler) == [old]
            step_without_first_decoding(harness)
        assert len(harness.reconciler.hosts) == 2
        assert versions_in_memory(harness.reconciler) == [harness.models.find("pets")]


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
            step_without_first_decoding(harness)
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


@pytest.mark.full
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


# --- checks


def test_a_version_is_loaded_when_its_hashes_are_true(harness: ReconcilerHarness) -> None:
    """Those of versions that are not wanted are not computed; the start waits for it."""
    harness.repository.put("pets", 2, "b", checked=False)
    harness.repository.put("pets", 1, "a", checked=False)
    with harness.stopping():
        harness.start()
        assert (harness.repository.checks, harness.repository.loads) == (["b"], ["b"])
        harness.repository.write("pets", latest(stable=1))
        harness.poll()
        assert (harness.repository.checks, harness.served(label="stable")) == (["b", "a"], "1")


def test_each_version_is_checked_once(harness: ReconcilerHarness) -> None:
    """One after the other, also if the disk is read meanwhile."""
    harness.repository.put("pets", 1, "a", checked=False)
    harness.repository.put("cars", 3, "c", checked=False)
    with harness.stopping():
        harness.begin()
        harness.threads.step()
        harness.calls.drain()
        harness.threads.step()
        harness.threads.hung = {"hashing"}
        for _ in range(3):
            harness.turn()
            harness.clock.advance(POLL_SECONDS)
        assert harness.repository.checks == ["c"]
        harness.threads.hung = set()
        harness.turn()
        assert harness.repository.checks == ["c", "a"]


def test_the_start_waits_for_the_hashes_of_every_model(harness: ReconcilerHarness) -> None:
    """Requests for the model are refused as not ready, with the reason; others are loaded."""
    harness.repository.put("cars", 3, "c", checked=False)
    harness.threads.hung = {"hashing"}
    with harness.stopping():
        started = harness.begin()
        harness.turn()
        assert (started, harness.served()) == ([], "1")
        with pytest.raises(ModelNotReady, match="cars is not ready: its files are being compared"):
            harness.ask("cars")
        harness.threads.hung = set()
        harness.turn()
        assert (started, harness.served("cars")) == ([None], "3")


def test_edits_and_reads_do_not_wait_for_hashes(harness: ReconcilerHarness) -> None:
    """A label moves while the files of a new version are compared with its manifest."""
    harness.repository.put("pets", 2, "b")
    harness.repository.write("pets", latest(stable=1))
    harness.threads.hung = {"hashing"}
    with harness.stopping():
        harness.start()
        harness.repository.put("pets", 3, "c", checked=False)
        harness.poll()
        changed = outcomes(
            ensureDeferred(
                harness.reconciler.change(
                    lambda: harness.repository.write("pets", latest(stable=2))
                )
            )
        )
        harness.turn()
        assert (changed, harness.served(label="stable"), harness.served()) == ([None], "2", "2")
        assert harness.repository.checks == []
        harness.threads.hung = set()
        harness.turn()
        assert (harness.repository.checks, harness.served()) == (["c"], "3")


def test_a_stop_does_not_wait_for_hashes(harness: ReconcilerHarness, log: Log) -> None:
    """What they show is not read any more, and that is no error."""
    harness.threads.hung = {"hashing"}
    harness.start()
    harness.repository.put("pets", 2, "b", checked=False)
    harness.poll()
    stopped = harness.stop()
    harness.turn()
    assert stopped == [None]
    harness.threads.hung = set()
    harness.turn()
    harness.check_ended()
    assert log.errors() == []


def test_a_check_that_fails_unexpectedly_is_tried_again(
    harness: ReconcilerHarness, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the next read."""
    harness.repository.put("pets", 2, "b", checked=False)
    with harness.stopping():
        with monkeypatch.context() as patch:
            patch.setattr(harness.repository, "check", None)
            harness.begin()
            harness.turn()
        assert len(log.flush(TypeError)) == 1
        harness.poll()
        assert harness.served() == "2"


def test_no_hashes_are_computed_while_the_repository_cannot_be_read(
    harness: ReconcilerHarness,
) -> None:
    """Their result would not be known."""
    harness.threads.hung = {"hashing"}
    with harness.stopping():
        harness.start()
        harness.repository.put("pets", 2, "b", checked=False)
        harness.poll()
        harness.repository.error = RepositoryUnavailable("/srv/models: no such folder")
        harness.threads.hung = set()
        harness.poll()
        harness.poll()
        assert (harness.repository.checks, harness.served()) == (["b"], "1")
        harness.repository.error = None
        harness.poll()
        assert (harness.repository.checks, harness.served()) == (["b"], "2")


# --- loads that hang


@pytest.mark.parametrize("changes", [True, False])
def test_a_load_that_takes_long_states_for_how_long(
    monkeypatch: pytest.MonkeyPatch, log: Log, *, changes: bool
) -> None:
    """Once in the log, and in the refusals of a repository that is read again and again."""
    harness = ReconcilerHarness(monkeypatch, changes=changes)
    harness.repository.put("pets", 1, "a")
    harness.threads.hung = {"loading"}
    with harness.stopping():
        harness.begin()
        for seconds, state in (
            (40, "loading"),
            (35, "loading for 75 s"),
            (45, "loading for 120 s"),
        ):
            harness.turn()
            harness.clock.advance(seconds)
            harness.turn()
            if changes:
                with pytest.raises(ModelNotReady, match=f"pets is not ready: {state}$"):
                    harness.models.find("pets")
        harness.threads.hung = set()
        harness.turn()
        assert harness.served() == "1"
    lines = [line for line in log.lines() if "loading for" in line]
    assert lines == ["pets/1: loading for 75 s; other loads wait for it"]


def test_a_first_run_that_takes_long_states_for_how_long(
    harness: ReconcilerHarness, log: Log
) -> None:
    """It is a part of the load."""
    harness.threads.hung = {"model-0"}
    with harness.stopping():
        harness.begin()
        harness.turn()
        harness.clock.advance(61)
        harness.turn()
        with pytest.raises(ModelNotReady, match="pets is not ready: loading for 61 s"):
            harness.ask()
        harness.threads.hung = set()
        harness.turn()
    assert [line for line in log.lines() if "pets/1: loading for 61 s" in line]


# --- what is logged and shown


def test_the_path_of_the_repository_is_not_shown(harness: ReconcilerHarness, log: Log) -> None:
    """Not in a reason, not in a refusal and not in the error of an edit."""
    harness.repository.load_errors["a"] = ModelError("/srv/models/pets/1: not a model")
    with harness.stopping():
        harness.begin()
        harness.turn()
        assert harness.reasons() == {"a": "pets/1: not a model"}

        def fail() -> None:
            raise ModelError("/srv/models/pets/serving.toml: not TOML")

        changed = outcomes(ensureDeferred(harness.reconciler.change(fail)))
        harness.repository.error = RepositoryUnavailable("/srv/models/: no such folder")
        harness.turn()
        harness.poll()
        assert str(changed[0]) == "pets/serving.toml: not TOML"
        assert not any("/srv" in line for line in harness.lines)
    assert log.flush_errors() == ["pets/1 is not served: pets/1: not a model"]


def test_new_files_that_fail_are_logged_as_such(harness: ReconcilerHarness, log: Log) -> None:
    """The version is served as before."""
    harness.repository.load_errors["A"] = ModelError("no graph")
    with harness.stopping():
        harness.start()
        put_and_poll(harness, 1, "A")
        assert harness.served() == "1"
    assert log.flush_errors() == [
        "the new files of pets/1 failed, the old ones are served: no graph"
    ]


def test_a_repository_that_can_be_read_again_is_logged(
    harness: ReconcilerHarness, log: Log
) -> None:
    """Once."""
    with harness.stopping():
        harness.start()
        harness.repository.error = RepositoryUnavailable("/srv/models: no such folder")
        harness.poll()
        harness.repository.error = None
        harness.poll()
        harness.poll()
    lines = [line for line in log.lines() if "is read again" in line]
    assert lines == ["the repository is read again; before: /srv/models: no such folder"]


def test_the_start_states_what_is_wrong_with_a_folder(harness: ReconcilerHarness) -> None:
    """If no version has failed."""
    harness.repository.disk["pets"] = ModelOnDisk(
        "pets", (), ServingFacts(), "", "no version folder"
    )
    with harness.stopping():
        harness.begin()
        harness.turn()
        assert harness.lines[-1] == "no model is ready yet: no version folder"


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
