"""Notices of the kernel about a real folder: server/repository/watch.py."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.internet.task import Clock

from model.repository.model_places import FolderOfModels, ModelConfigFile, ModelPlaces
from server.repository.watch import RepositoryWatch
from tests.fakes.server import Log

if TYPE_CHECKING:
    from twisted.internet.inotify import INotify

pytestmark = pytest.mark.usefixtures("log")


class Reactor(Clock):
    """The part of a reactor that watches descriptors; the test reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[INotify] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard

    def removeWriter(self, _: object) -> None:
        """Do nothing: none was added."""


class Watched:
    """A folder that is watched, with a model; the test lets the notices be read."""

    def __init__(self, folder: Path, places: ModelPlaces | None = None) -> None:
        self.root = folder / "models"
        (self.root / "pets").mkdir(parents=True)
        self.reactor = Reactor()
        self.renamed: list[str] = []
        self.notices = 0
        self.watch = RepositoryWatch(
            places or FolderOfModels(self.root),
            self.reactor,
            renamed=self._on_renamed,
            notice=self._on_notice,
        )

    def _on_renamed(self, path: Path) -> None:
        self.renamed.append(str(path.relative_to(self.root)))

    def _on_notice(self) -> None:
        self.notices += 1

    def follow(self) -> None:
        """Let the repository be read."""
        self.watch.follow([path.name for path in self.root.iterdir()])

    def read(self) -> tuple[bool, list[str]]:
        """Read the notices; return whether there were any, and the renamed paths."""
        self.notices, self.renamed = 0, []
        for reader in list(self.reactor.readers):
            reader.doRead()
        self.reactor.advance(0)
        return self.notices > 0, self.renamed


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """Return a folder that is watched."""
    watched = Watched(tmp_path)
    watched.follow()
    assert watched.read() == (False, [])
    return watched


def test_a_folder_that_is_renamed_into_place_is_noticed_with_its_path(watched: Watched) -> None:
    """A version or a whole model."""
    (watched.root / "pets" / "1.tmp").mkdir()
    assert watched.read() == (True, [])
    (watched.root / "pets" / "1.tmp").rename(watched.root / "pets" / "1")
    assert watched.read() == (True, ["pets/1"])
    (watched.root.parent / "new" / "3").mkdir(parents=True)
    (watched.root.parent / "new").rename(watched.root / "cars")
    assert watched.read() == (True, ["cars"])
    watched.watch.stop()


def test_a_change_of_serving_toml_is_noticed(watched: Watched) -> None:
    """When it has been written, replaced or deleted."""
    file = watched.root / "pets" / "serving.toml"
    file.write_text("")
    assert watched.read()[0]
    new = watched.root / "pets" / ".new"
    new.write_text("weight = 2.0")
    new.replace(file)
    assert watched.read() == (True, ["pets/serving.toml"])
    file.unlink()
    assert watched.read()[0]
    assert not watched.read()[0]
    watched.watch.stop()


def test_a_model_that_is_added_or_written_again_is_watched(watched: Watched) -> None:
    """Also if it has the name of one that was deleted."""
    for name in ("cars", "pets"):
        folder = watched.root / name
        if folder.exists():
            folder.rmdir()
            assert watched.read() == (True, [])
        folder.mkdir()
        assert watched.read() == (True, [])
        (folder / "1.tmp").mkdir()
        watched.read()
        (folder / "1.tmp").rename(folder / "1")
        assert watched.read() == (True, [f"{name}/1"])
        assert len(watched.reactor.readers) == 1
    watched.watch.stop()


@pytest.mark.parametrize("deleted", [False, True])
def test_a_rename_is_noticed_while_the_watch_begins_again(
    watched: Watched, *, deleted: bool
) -> None:
    """As after a model was added or deleted, in the same turn."""
    (watched.root / "pets" / "1.tmp").mkdir()
    (watched.root / "cars").mkdir()
    assert watched.read() == (True, [])
    if deleted:
        (watched.root / "cars").rmdir()
    else:
        (watched.root / "birds").mkdir()
    for reader in list(watched.reactor.readers):
        reader.doRead()
    (watched.root / "pets" / "1.tmp").rename(watched.root / "pets" / "1")
    watched.reactor.advance(0)
    assert watched.renamed == ["pets/1"]
    assert len(watched.reactor.readers) == 1
    watched.watch.stop()


def test_after_a_stop_nothing_is_watched(watched: Watched) -> None:
    """It may be stopped again."""
    watched.watch.stop()
    watched.watch.stop()
    assert watched.reactor.readers == set()
    (watched.root / "cars").mkdir()
    assert watched.read() == (False, [])


def test_a_folder_that_cannot_be_watched_is_polled_until_it_can(tmp_path: Path, log: Log) -> None:
    """That is logged once, and is no error."""
    watched = Watched(tmp_path)
    (watched.root / "pets").rmdir()
    watched.root.rmdir()
    for _ in range(2):
        watched.watch.follow(["pets"])
        watched.reactor.advance(0)
        assert watched.reactor.readers == set()
    assert ["are found by polling" in line for line in log.lines()] == [True]
    (watched.root / "pets").mkdir(parents=True)
    watched.follow()
    (watched.root / "pets" / "1").mkdir()
    assert watched.read()[0]
    watched.watch.stop()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_linked_model_is_watched_after_its_folder_is_deleted(
    tmp_path: Path, *, replaced: bool
) -> None:
    """From the next read on, although Twisted then ends its watch; or if the link is replaced."""
    watched = Watched(tmp_path)
    link, old, new = watched.root / "cars", tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    link.symlink_to(old)
    watched.follow()
    if replaced:
        (tmp_path / "link").symlink_to(new)
        (tmp_path / "link").rename(link)
        watched.read()
    else:
        old.rmdir()
        assert watched.read()[0]
        old.mkdir()
    watched.follow()
    (link / "1.tmp").mkdir()
    assert watched.read() == (True, [])
    (link / "1.tmp").rename(link / "1")
    assert watched.read() == (True, ["cars/1"])
    watched.watch.stop()


def test_a_watch_closes_its_descriptor_once(watched: Watched, log: Log) -> None:
    """Also if a folder is deleted in the turn in which the watch begins again."""
    (watched.root / "pets").rmdir()
    assert watched.read() == (True, [])
    watched.reactor.advance(0)
    assert len(watched.reactor.readers) == 1
    assert log.errors() == []
    watched.watch.stop()


def test_a_root_that_is_deleted_and_made_again_is_watched(watched: Watched) -> None:
    """From the next read on, although no read has found it missing."""
    (watched.root / "pets").rmdir()
    watched.root.rmdir()
    assert watched.read()[0]
    (watched.root / "pets").mkdir(parents=True)
    watched.follow()
    (watched.root / "pets" / "1").mkdir()
    assert watched.read()[0]
    watched.watch.stop()


def test_a_repository_that_cannot_be_read_is_watched_again_afterwards(watched: Watched) -> None:
    """It may be another folder then, as after a mount."""
    watched.root.rename(watched.root.parent / "away")
    watched.watch.follow(None)
    watched.reactor.advance(0)
    assert watched.reactor.readers == set()
    (watched.root / "pets").mkdir(parents=True)
    watched.follow()
    (watched.root / "pets" / "1").mkdir()
    assert watched.read()[0]
    watched.watch.stop()


def test_the_base_paths_of_models_are_watched(tmp_path: Path) -> None:
    """Those that are there at the start, wherever they are."""
    for name in ("a", "b"):
        (tmp_path / name / "models" / name).mkdir(parents=True)
    path = tmp_path / "models.config"
    models = [
        f'config {{ name: "{name}" base_path: "{name}/models/{name}" }}' for name in ("a", "b", "c")
    ]
    path.write_text(f"model_config_list {{ {' '.join(models)} }}")
    places = ModelConfigFile(path)
    watched = Watched(tmp_path / "c", places)
    watched.root = tmp_path
    watched.watch.follow(places.find().keys())
    for name in ("a", "b"):
        folder = tmp_path / name / "models" / name
        (folder / "1.tmp").mkdir()
        watched.read()
        (folder / "1.tmp").rename(folder / "1")
        assert watched.read() == (True, [f"{name}/models/{name}/1"])
    watched.watch.stop()
