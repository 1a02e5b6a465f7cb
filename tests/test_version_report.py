"""The states of versions, for users: server/repository/version_report.py."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import ModelError
from server.repository.polling import POLL_SECONDS
from server.repository.version_report import VersionReport, find_report, report_models
from tests.fakes.reconciler import ReconcilerHarness, latest, listed
from tests.fakes.server import Log
from tests.fakes.threads import outcomes

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store run times in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def states(harness: ReconcilerHarness, name: str = "pets") -> list[tuple[str, str, str]]:
    """Return version, state and reason of each version of a model."""
    report = find_report(harness.reconciler, name)
    assert report is not None
    return [(it.version, it.state, it.reason) for it in report.versions]


def test_each_version_has_a_state_and_its_reason(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """The newest first; one that serves states why its new files do not."""
    harness = ReconcilerHarness(monkeypatch)
    repository = harness.repository
    for version in (1, 2, 10):
        repository.put("pets", version, str(version))
    repository.put("pets", 11, "11", complete=False)
    repository.load_errors = {"10": ModelError("no graph"), "new": ModelError("no weights")}
    with harness.stopping():
        harness.start()
        assert states(harness) == [
            ("11", "incomplete", ""),
            ("10", "failed", "no graph"),
            ("2", "serving", ""),
            ("1", "not served", ""),
        ]
        repository.put("pets", 2, "new")
        harness.poll()
        assert states(harness)[2] == ("2", "serving", "its new files failed: no weights")
    assert len(log.flush_errors()) == 2


def test_a_swap_is_seen_in_the_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a load, is loaded, or is drained."""
    harness = ReconcilerHarness(monkeypatch)
    harness.repository.put("pets", 1, "a")
    harness.repository.put("pets", 2, "b")
    with harness.stopping():
        harness.start()
        answer = outcomes(harness.ask())
        harness.repository.put("pets", 3, "c")
        harness.repository.write("pets", listed([1, 3]))
        harness.clock.advance(POLL_SECONDS)
        harness.threads.step()
        harness.calls.drain()
        assert [state for _, state, _ in states(harness)] == ["loading", "serving", "waiting"]
        harness.turn()
        assert len(answer) == 1
        assert [state for _, state, _ in states(harness)] == ["serving", "not served", "serving"]
        waiting = outcomes(harness.ask(version="1"))
        harness.repository.write("pets", listed([3]))
        harness.clock.advance(POLL_SECONDS)
        harness.threads.step()
        harness.calls.drain()
        assert (states(harness)[2], waiting) == (("1", "draining", ""), [])
        harness.turn()
        assert states(harness)[2] == ("1", "not served", "")


def test_a_version_states_for_how_long_it_is_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """If that is long, by the monotonic clock; one that waits for its hashes states that."""
    harness = ReconcilerHarness(monkeypatch)
    harness.repository.put("pets", 1, "a")
    harness.repository.put("pets", 2, "b", checked=False)
    harness.threads.hung = {"loading", "hashing"}
    harness.repository.write("pets", listed([1, 2]))
    with harness.stopping():
        harness.begin()
        harness.turn()
        waits = ("2", "waiting", "its files are being compared with manifest.json")
        assert states(harness) == [waits, ("1", "loading", "")]
        harness.clock.advance(75)
        assert states(harness) == [waits, ("1", "loading", "loading for 75 s")]
        harness.threads.hung = set()
        harness.turn()
        assert states(harness) == [("2", "serving", ""), ("1", "serving", "")]


def test_a_model_is_reported_with_its_default_labels_weight_and_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A label is reported as asked, and at the version that has it."""
    harness = ReconcilerHarness(monkeypatch)
    harness.repository.put("pets", 1, "a")
    harness.repository.put("cars", 7, "b")
    harness.repository.write("pets", latest(weight=2.0, stable=1, later=9))
    with harness.stopping():
        harness.start()
        cars, pets = report_models(harness.reconciler)
        assert (cars.name, cars.default_version, cars.labels, cars.weight) == ("cars", "7", {}, 1.0)
        assert (pets.default_version, pets.weight) == ("1", 2.0)
        assert pets.problem == "the label later is for version 9, which is not served"
        assert pets.labels == {"stable": "1", "later": "9"}
        assert pets.versions == (VersionReport("1", "serving", "", ("stable",)),)
        assert find_report(harness.reconciler, "boats") is None


def test_a_model_is_reported_with_what_its_files_state_without_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As they are when they are read."""
    harness = ReconcilerHarness(monkeypatch)
    harness.repository.put("pets", 1, "a")
    disk = harness.repository.disk
    disk["pets"] = replace(disk["pets"], notes=("config.pbtxt:3: parameters is ignored",))
    with harness.stopping():
        harness.start()
        (report,) = report_models(harness.reconciler)
        assert report.notes == disk["pets"].notes


def test_a_model_that_an_option_names_has_the_name_that_it_states(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Known once it is loaded."""
    harness = ReconcilerHarness(monkeypatch, changes=False)
    harness.repository.put("pets", 1, "a")
    with harness.stopping():
        harness.start()
        (report,) = report_models(harness.reconciler)
        assert (report.name, report.default_version) == ("pets", "1")
