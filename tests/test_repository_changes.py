"""What a change writes to serving.toml: server/repository/changes.py, version_report.py."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, ensureDeferred

from model.errors import ModelError
from model.repository.model_places import BasePath, FolderOfModels, ModelConfigFile, ModelPlaces
from model.repository.serving_toml import SERVING_TOML
from model.repository.snapshot import RepositoryReader
from server.http.error_statuses import HTTPError
from server.model_loading import load_model
from server.repository.changes import CHANGE_SECONDS, RepositoryChanges
from server.repository.repositories import FolderRepository
from server.repository.version_report import ModelReport
from server.settings.table import Settings
from tests.fakes.reconciler import FakeRepository, ReconcilerHarness
from tests.fakes.server import Log
from tests.fakes.threads import outcomes

pytestmark = pytest.mark.usefixtures("log")


class Folder(FolderRepository):
    """A folder whose versions are loaded by a `FakeRepository`; their stamps are their numbers."""

    def __init__(self, root: Path, fake: FakeRepository, seconds: Callable[[], float]) -> None:
        places = FolderOfModels(root)
        reader = RepositoryReader(places, seconds=seconds, now=lambda: 2.0**40)
        super().__init__(Settings(), places, reader=reader, load=load_model)
        self.settings_of = fake.settings_of  # type: ignore[method-assign]  # models without files
        self.loader_of = fake.loader_of  # type: ignore[method-assign]  # as above


class Changed:
    """A server of a real folder with versions 1 to 3 of pets, of which some may be broken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, text: str | None) -> None:
        self.harness = ReconcilerHarness(monkeypatch)
        self.root = root
        for version in (1, 2, 3):
            self.write(version)
        if text is not None:
            self.toml.write_text(text)
        self.repository = Folder(root, self.harness.repository, self.harness.clock.seconds)
        self.harness.reconciler.repository = self.repository
        self.broken: set[int] = set()
        monkeypatch.setattr(self.harness.reconciler, "_prove", self._prove)
        self.changes = RepositoryChanges(self.harness.reconciler, self.harness.clock)

    async def _prove(self, inference: Any, version: Any) -> None:
        if version.version in self.broken:
            raise ModelError("wrong")

    @property
    def toml(self) -> Path:
        """The serving.toml of pets."""
        return self.root / "pets" / SERVING_TOML

    def write(self, version: int) -> None:
        """Write a version."""
        folder = self.root / "pets" / str(version)
        folder.mkdir(parents=True)
        (folder / "graph.pb").write_bytes(b"x")

    def change(self, change: Coroutine[Any, Any, ModelReport]) -> ModelReport:
        """Make a change, and do what follows; return the report, or raise the error."""
        fired = outcomes(ensureDeferred(change))
        self.harness.turn()
        (result,) = fired
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, ModelReport)
        return result

    def state(self) -> str:
        """Return the versions and their states, the newest first."""
        (report,) = self.changes.reports()
        return " ".join(f"{it.version}:{it.state}" for it in report.versions)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store run times in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


S, N = "serving", "not served"
LATEST = f"3:{S} 2:{N} 1:{N}"


@pytest.mark.parametrize(
    ("text", "broken", "kind", "version", "written", "state"),
    [
        # load
        (None, [], "load", None, "\n", LATEST),
        ("versions = []\n", [], "load", None, "\n", LATEST),
        ("versions = [1] # c\n", [], "load", None, "versions = [1] # c\n", f"3:{N} 2:{N} 1:{S}"),
        (None, [], "load", "3", "\n", LATEST),
        (None, [], "load", "1", "versions = [1, 3]\n", f"3:{S} 2:{N} 1:{S}"),
        ("versions = []\n", [], "load", "1", "versions = [1]\n", f"3:{N} 2:{N} 1:{S}"),
        ('versions = "all"\n', [], "load", "1", 'versions = "all"\n', f"3:{S} 2:{S} 1:{S}"),
        (None, [3], "load", "3", "\n", f"3:failed 2:{S} 1:{N}"),
        # The version that serves in the place of one that has failed stays.
        (None, [3], "load", "1", "versions = [1, 2, 3]\n", f"3:failed 2:{S} 1:{S}"),
        # unload
        (None, [], "unload", None, "versions = []\n", f"3:{N} 2:{N} 1:{N}"),
        (None, [], "unload", "3", "versions = []\n", f"3:{N} 2:{N} 1:{N}"),
        # What is so already is not written: that would try failed versions again.
        ("# c\n", [3], "unload", "1", "# c\n", f"3:failed 2:{S} 1:{N}"),
        ("[labels]\nstable=1\n", [3], "label", "1", "[labels]\nstable=1\n",
            f"3:failed 2:{S} 1:{S}"),
        (None, [3], "unload", "3", "versions = [2]\n", f"3:{N} 2:{S} 1:{N}"),
        ('versions = "all"\n', [], "unload", "2", "versions = [1, 3]\n", f"3:{S} 2:{N} 1:{S}"),
        ("versions = [1, 9]\n", [], "unload", "1", "versions = [9]\n", None),
        ("versions = [1, 9]\n", [], "unload", "9", "versions = [1]\n", f"3:{N} 2:{N} 1:{S}"),
        # The version of a label stays.
        ("versions = [1]\n[labels]\nstable = 2\n", [], "unload", "1",
            "versions = [2]\n[labels]\nstable = 2\n", f"3:{N} 2:{S} 1:{N}"),
        # labels
        (None, [], "label", "1", "[labels]\nstable = 1\n", f"3:{S} 2:{N} 1:{S}"),
        ("[labels]\nstable = 1 # c\n", [], "label", "2", "[labels]\nstable = 2 # c\n",
            f"3:{S} 2:{S} 1:{N}"),
        ("[labels]\nstable = 1\n", [], "label", None, "[labels]\n", LATEST),
    ],
)  # fmt: skip
def test_a_change_is_written_to_serving_toml_and_then_done(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    log: Log,
    *,
    text: str | None,
    broken: list[int],
    kind: str,
    version: str | None,
    written: str,
    state: str | None,
) -> None:
    """Nothing else changes it, so that a restart serves the same versions."""
    changed = Changed(monkeypatch, tmp_path / "models", text)
    changed.broken.update(broken)
    with changed.harness.stopping():
        changed.harness.begin()
        changed.harness.turn()
        if kind == "label":
            number = None if version is None else int(version)
            changed.change(changed.changes.label("pets", "stable", number))
        else:
            changed.change(getattr(changed.changes, kind)("pets", version))
        assert changed.toml.read_text() == written
        changed.harness.turn()
        assert state is None or changed.state() == state
    log.flush_errors()


def test_a_model_is_reported_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name that there is not is a 404 with those that there are."""
    changed = Changed(monkeypatch, tmp_path / "models", None)
    with changed.harness.stopping():
        changed.harness.start()
        assert [changed.changes.report("pets")] == changed.changes.reports()
        with pytest.raises(HTTPError) as caught:
            changed.changes.report("cars")
        assert (caught.value.status, str(caught.value)) == (
            404, "no model 'cars'; there are: pets"
        )  # fmt: skip


def test_changes_at_the_same_time_are_all_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each is computed from what the one before it has written."""
    changed = Changed(monkeypatch, tmp_path / "models", "versions = [1, 2, 3]\n")
    with changed.harness.stopping():
        changed.harness.begin()
        changed.harness.turn()
        fired = [
            outcomes(ensureDeferred(changed.changes.unload("pets", version)))
            for version in ("1", "2")
        ]
        changed.harness.turn()
        assert [len(each) for each in fired] == [1, 1]
        assert changed.toml.read_text() == "versions = [3]\n"


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (lambda it: it.load("cars", None), 404, "no model 'cars'; there are: pets"),
        (lambda it: it.unload("cars", None), 404, "no model 'cars'; there are: pets"),
        (lambda it: it.load("pets", "9"), 404, "no version '9' of pets; there are: 1, 2, 3"),
        (lambda it: it.load("pets", "01"), 404, "no version '01' of pets; there are: 1, 2, 3"),
        (lambda it: it.unload("pets", "9"), 404, "no version '9' of pets; there are: 1, 2, 3"),
        (lambda it: it.unload("pets", "1"), 409, "version 1 has the label stable: move it first"),
        (lambda it: it.label("pets", "new", 9), 404, "no version '9' of pets; there are: 1, 2, 3"),
        (lambda it: it.label("pets", "new", None), 404,
            "no label 'new' of pets; there are: stable"),
        (lambda it: it.label("pets", "a b", None), 404,
            "no label 'a b' of pets; there are: stable"),
        *((lambda it, label=label: it.label("pets", label, 1), 400,
            "a label has up to 100 letters, digits, '.', '_' and '-'")
            for label in ("a b", "a/b", "", "..", "a" * 101)),
    ],
)  # fmt: skip
def test_a_change_of_what_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: Callable[[RepositoryChanges], Coroutine[Any, Any, ModelReport]],
    status: int,
    message: str,
) -> None:
    """And writes nothing."""
    text = "[labels]\nstable = 1\n"
    changed = Changed(monkeypatch, tmp_path / "models", text)
    with changed.harness.stopping():
        changed.harness.start()
        with pytest.raises(HTTPError) as caught:
            changed.change(change(changed.changes))
        assert (caught.value.status, str(caught.value)) == (status, message)
        assert changed.toml.read_text() == text


def test_a_repository_that_cannot_be_written_or_edited_is_a_conflict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The message states the reason; a broken file is left as it is."""
    changed = Changed(monkeypatch, tmp_path / "models", None)
    with changed.harness.stopping():
        changed.harness.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.fsync", lambda _: _raise(OSError(30, "Read-only file system")))
            with pytest.raises(HTTPError) as caught:
                changed.change(changed.changes.load("pets", "1"))
        assert (caught.value.status, str(caught.value)) == (
            409, "the repository cannot be written: Read-only file system"
        )  # fmt: skip
        assert not changed.toml.exists()
        changed.toml.write_text("versions = ?\n")
        with pytest.raises(ModelError):
            changed.change(changed.changes.load("pets", "1"))
        assert changed.toml.read_text() == "versions = ?\n"


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_change_ends_while_the_disk_hangs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hangs_up: bool
) -> None:
    """With a 503, or when its client hangs up; the reads go on when the disk responds again."""
    changed = Changed(monkeypatch, tmp_path / "models", None)
    with changed.harness.stopping():
        changed.harness.start()
        request = ensureDeferred(changed.changes.load("pets", "1"))
        fired = outcomes(request)
        if hangs_up:
            request.cancel()
        changed.harness.clock.advance(CHANGE_SECONDS)
        (error,) = fired
        if hangs_up:
            assert isinstance(error, CancelledError)
        else:
            assert isinstance(error, HTTPError)
            assert error.status == 503
        changed.harness.turn()
        assert changed.toml.read_text() == "versions = [1, 3]\n"
        changed.write(4)
        changed.toml.write_text("versions = [4]\n")
        for _ in range(4):
            changed.harness.poll()
        assert changed.state().startswith("4:serving")


def test_a_model_that_an_option_names_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no serving.toml."""
    harness = ReconcilerHarness(monkeypatch, changes=False)
    changes = RepositoryChanges(harness.reconciler, harness.clock)
    (error,) = outcomes(ensureDeferred(changes.load("pets", None)))
    assert isinstance(error, HTTPError)
    options = "only those of --models and --model-base-path can be changed"
    assert (error.status, str(error)) == (409, f"the model is named by an option: {options}")


class Placed(Folder):
    """The models at *places*."""

    def __init__(
        self, places: ModelPlaces, fake: FakeRepository, seconds: Callable[[], float]
    ) -> None:
        super().__init__(Path(), fake, seconds)
        self.places = places
        self.reader = RepositoryReader(places, seconds=seconds, now=lambda: 2.0**40)


def placed(monkeypatch: pytest.MonkeyPatch, root: Path, places: ModelPlaces) -> Changed:
    """Return a server of pets in the folder *root*, at *places*."""
    changed = Changed(monkeypatch, root, None)
    harness = changed.harness
    changed.repository = Placed(places, harness.repository, harness.clock.seconds)
    harness.reconciler.repository = changed.repository
    return changed


def test_the_model_of_a_base_path_is_changed_by_a_serving_toml_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its name is that of the option."""
    changed = placed(monkeypatch, tmp_path, BasePath(tmp_path / "pets", "default"))
    with changed.harness.stopping():
        changed.harness.start()
        changed.change(changed.changes.load("default", "1"))
        assert changed.toml.read_text() == "versions = [1, 3]\n"
        assert changed.state() == f"3:{S} 2:{N} 1:{S}"


def test_the_models_of_a_model_config_file_are_changed_there_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each change is a conflict that names the file."""
    path = tmp_path / "models.config"
    path.write_text('model_config_list { config { name: "pets" base_path: "pets" } }')
    changed = placed(monkeypatch, tmp_path, ModelConfigFile(path))
    with changed.harness.stopping():
        changed.harness.start()
        for change in (
            changed.changes.load("pets", "1"),
            changed.changes.unload("pets", None),
            changed.changes.label("pets", "stable", 1),
        ):
            with pytest.raises(HTTPError) as caught:
                changed.change(change)
            message = "models.config states which models are served: change it there"
            assert (caught.value.status, str(caught.value)) == (409, message)
        assert changed.state() == LATEST
        assert not changed.toml.exists()


def test_a_reload_tries_failed_versions_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Log
) -> None:
    """Although their files are the same; those that serve are not loaded again."""
    changed = Changed(monkeypatch, tmp_path, 'versions = "all"\n')
    changed.broken = {2}
    changed.harness.start()
    assert list(changed.harness.reasons().values()) == ["wrong"]
    changed.broken = set()
    loads = len(changed.harness.repository.loads)
    fired = outcomes(ensureDeferred(changed.changes.reload()))
    changed.harness.turn()
    assert fired == [None]
    assert changed.harness.reasons() == {}
    assert len(changed.harness.repository.loads) == loads + 1
    changed.harness.stop()
    log.flush_errors()
