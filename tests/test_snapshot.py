"""A model repository on disk: model/repository/snapshot.py."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from model.repository.cache import CacheFolder
from model.repository.manifest import as_listed, digest_of
from model.repository.model_places import FolderOfModels, RepositoryUnavailable
from model.repository.serving_toml import ServingFacts, serve
from model.repository.snapshot import (
    HASH_AGAIN_SECONDS,
    SETTLED_SECONDS,
    STABLE_SECONDS,
    ModelOnDisk,
    RepositoryReader,
    Snapshot,
    VersionOnDisk,
)
from tests.cached_models import CONTENTS

WAITS = "waits for its files to be unchanged for 4 s"
FILES = {"saved_model.pb": b"graph", "variables/variables.index": b"index"}


class Repository:
    """A repository in a folder, its reader, and the clock of the reader."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Clock()
        root.mkdir()
        self.reader = self.start()

    def start(self, now: float = 0.0) -> RepositoryReader:
        """Return a new reader; *now* is its wall time, at 0 before the change of any file."""
        return RepositoryReader(
            FolderOfModels(self.root), seconds=self.clock.seconds, now=lambda: now
        )

    def read(self, after: float = 0.0) -> Snapshot:
        """Return what is on disk *after* some seconds, with the hashes of all versions."""
        self.clock.advance(after)
        for model in self.reader.read().values():
            for version in model.versions:
                if not version.checked:
                    self.reader.check(version)
        return self.reader.read()

    def model(self, after: float = 0.0) -> ModelOnDisk:
        """Return the model ``net``."""
        return self.read(after)["net"]

    def version(self, after: float = 0.0) -> VersionOnDisk:
        """Return the only version of the model ``net``."""
        (version,) = self.model(after).versions
        return version

    def reason(self, after: float = 0.0) -> str:
        """Return the reason for which the only version is incomplete; empty if it is complete."""
        version = self.version(after)
        assert version.complete is not bool(version.reason)
        return version.reason


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository."""
    return Repository(tmp_path / "models")


@pytest.fixture
def folder(repository: Repository) -> Path:
    """The empty folder of version 1 of ``net``, its only version."""
    path = repository.root / "net" / "1"
    path.mkdir(parents=True)
    return path


def write(folder: Path, files: dict[str, bytes] = FILES) -> None:
    """Write *files* into *folder*."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_manifest(folder: Path, files: dict[str, bytes] = FILES) -> None:
    """List *files* in a manifest in *folder*."""
    listed = as_listed({name: digest_of(data) for name, data in files.items()})
    (folder / "manifest.json").write_text(json.dumps({"files": listed, "note": "any"}))


def test_folders_with_fitting_names_are_models_and_versions(repository: Repository) -> None:
    """Sorted by number; links count as what they lead to."""
    root = repository.root
    for name in ("b/10", "b/9", "b/.3", "b/4.tmp", "b/v5", "b/-6", "b/٣", "b/" + 19 * "7"):
        write(root / name)
    for name in ("a-1_B.2", ".hidden/1", "new.tmp/1", "two words/1", "ü/1", "lost+found"):
        (root / name).mkdir(parents=True)
    (root / "b" / "11").write_text("a file")
    (root / "file").write_text("")
    (root / "broken").symlink_to("absent")
    (root / "link").symlink_to("b")
    (root / "b" / "12").symlink_to("9")
    models = repository.read()
    assert list(models) == ["a-1_B.2", "b", "broken", "link"]
    assert models["broken"].problem == "broken: No such file or directory"
    assert [version.version for version in models["b"].versions] == [9, 10, 12]
    assert models["a-1_B.2"] == ModelOnDisk("a-1_B.2", (), ServingFacts(), "")
    assert models["link"].versions[0].path == root / "link" / "9"
    assert models["link"].versions[0].stamp == models["b"].versions[0].stamp


def test_a_version_with_two_folders_is_taken_from_the_shorter_name(repository: Repository) -> None:
    """Zeros before the number are allowed, and the problem names the folder that is ignored."""
    net = repository.root / "net"
    for name in ("01", "1", "002"):
        write(net / name)
    model = repository.model()
    assert [(v.version, v.path.name) for v in model.versions] == [(1, "1"), (2, "002")]
    assert model.problem == "net: 01 is ignored beside 1"
    assert repository.model().problem == model.problem


def test_a_version_is_complete_when_it_is_unchanged_for_4_seconds(
    repository: Repository, folder: Path
) -> None:
    """And stays so; its size is that of all files."""
    assert repository.reason() == "holds no files"
    write(folder)
    assert [repository.reason(2) for _ in range(4)] == [WAITS, WAITS, "", ""]
    assert repository.version().size == len(b"graph" + b"index")


def test_a_slow_copy_is_incomplete_until_it_ends(repository: Repository, folder: Path) -> None:
    """File by file, and part by part, with a folder before its files."""
    stamps = set()
    for data in (b"gr", b"graph"):
        write(folder, {"saved_model.pb": data})
        assert repository.reason(3) == WAITS
        stamps.add(repository.version().stamp)
    for name in ("assets", "variables"):
        (folder / name).mkdir()
        assert repository.reason(3) == WAITS
        stamps.add(repository.version().stamp)
    write(folder)
    assert repository.reason(3) == WAITS
    assert repository.reason(3.9) == WAITS
    assert repository.reason(0.1) == ""
    assert repository.version().stamp not in stamps
    assert len(stamps) == 4


@pytest.mark.parametrize("name", ["variables/.index.Ab12Cd", ".~tmp~/index", ".partial/a/index"])
def test_a_version_waits_while_a_hidden_file_is_written(
    repository: Repository, folder: Path, name: str
) -> None:
    """As rsync names a file until it is whole; it is no part of the version."""
    write(folder, {"saved_model.pb": b"graph", name: b""})
    first = repository.version(2)
    for size in range(1, 6):
        write(folder, {name: size * b"x"})
        assert repository.version(3) == first
    assert first.reason == WAITS
    (folder / "variables").mkdir(exist_ok=True)
    (folder / name).rename(folder / "variables" / "index")
    assert [repository.reason(2) for _ in range(3)] == [WAITS, WAITS, ""]
    last = repository.version()
    assert (last.stamp != first.stamp, last.size) == (True, 10)


def test_hidden_files_change_no_complete_version(repository: Repository, folder: Path) -> None:
    """Such as those of a file browser or of NFS; a broken one is no error."""
    write(folder)
    repository.read()
    version = repository.version(STABLE_SECONDS)
    assert version.complete
    (folder / ".DS_Store").write_text("x")
    (folder / ".broken").symlink_to("absent")
    (folder / ".loop").symlink_to(".")
    assert repository.version() == version


@pytest.mark.parametrize("name", ["a.tmp", "variables/a.tmp", "a.tmp/b", ".a.tmp"])
@pytest.mark.parametrize("with_manifest", [False, True])
def test_a_temporary_name_makes_a_version_incomplete(
    repository: Repository, folder: Path, name: str, *, with_manifest: bool
) -> None:
    """Of a file or a folder, for as long as it is there, and even after a rename of the version."""
    write(folder, FILES | {name: b""})
    if with_manifest:
        write_manifest(folder)
    repository.reader.renamed(folder)
    temporary = name.removesuffix("/b")
    assert [repository.reason(2) for _ in range(4)] == 4 * [f"{temporary} is temporary"]
    if (folder / temporary).is_dir():
        shutil.rmtree(folder / temporary)
    else:
        (folder / temporary).unlink()
    assert repository.reason(STABLE_SECONDS) == ""


def test_a_version_with_a_manifest_is_complete_when_all_of_it_is_true(
    repository: Repository, folder: Path
) -> None:
    """At once; before that the reason names the first file that differs."""
    write_manifest(folder)
    reasons = []
    steps: list[dict[str, bytes]] = [
        {},
        {"saved_model.pb": b"gra"},
        {"saved_model.pb": b"grapX"},  # no hash is computed before all sizes fit
        {"variables/variables.index": b"index"},
        {"saved_model.pb": b"graph"},
    ]
    for files in steps:
        write(folder, files)
        reasons.append(repository.reason(10))
    wrong, right = digest_of(b"grapX").sha256, digest_of(b"graph").sha256
    assert reasons == [
        "differs from manifest.json: saved_model.pb is missing",
        "differs from manifest.json: saved_model.pb has 3 bytes, 5 were written",
        "differs from manifest.json: variables/variables.index is missing",
        f"differs from manifest.json: saved_model.pb has SHA-256 {wrong}, not {right}",
        "",
    ]
    (folder / "manifest.json").write_text("{")
    assert repository.reason(10).startswith("manifest.json cannot be read: Expecting ")
    (folder / "manifest.json").write_text('{"files": {"../a": {}}}')
    assert repository.reason(10).startswith("manifest.json cannot be read: '../a' cannot be ")


def test_a_model_in_the_cache_is_a_complete_version(repository: Repository) -> None:
    """Both use one format of the manifest."""
    CacheFolder(repository.root.parent).publish("net", "1", CONTENTS)
    assert repository.reason() == ""


def test_hashes_are_computed_once_for_each_stamp(repository: Repository, folder: Path) -> None:
    """A change that keeps names, sizes, times and inodes is not seen."""
    write(folder)
    write_manifest(folder)
    version = repository.version()
    path = folder / "saved_model.pb"
    times = path.stat()
    path.write_bytes(b"grapX")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert repository.version(10) == version
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert "has SHA-256" in repository.reason()


def states(snapshot: Snapshot) -> list[tuple[bool, bool, str]]:
    """Return whether each version of ``net`` is complete and checked, and the reason."""
    return [(it.complete, it.checked, it.reason) for it in snapshot["net"].versions]


def test_a_read_computes_no_hash(
    repository: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version with a manifest is complete until its check, whose result the next read has."""
    write(folder)
    write_manifest(folder)
    other = folder.parent / "2"
    write(other, FILES | {"saved_model.pb": b"grapX"})
    write_manifest(other)
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", None)
        assert states(repository.reader.read()) == [(True, False, ""), (True, False, "")]
    repository.reader.check(repository.reader.read()["net"].versions[1])
    first, (complete, checked, reason) = states(repository.reader.read())
    assert (first, complete, checked) == ((True, False, ""), False, True)
    assert "saved_model.pb has SHA-256" in reason


def test_the_hashes_of_files_that_have_changed_are_not_taken(
    repository: Repository, folder: Path
) -> None:
    """Whether they changed before, during or after the check: they are computed again."""
    write(folder)
    write_manifest(folder)
    before = repository.reader.read()["net"].versions[0]
    write(folder, {"saved_model.pb": b"grapX"})
    repository.reader.check(before)
    assert states(repository.reader.read()) == [(True, False, "")]
    write(folder)
    assert states(repository.reader.read()) == [(True, False, "")]
    repository.reader.check(repository.reader.read()["net"].versions[0])
    assert states(repository.reader.read()) == [(True, True, "")]


@pytest.mark.parametrize("gone", [False, True])
def test_the_hash_of_a_file_that_has_changed_is_not_computed_to_its_end(
    repository: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch, *, gone: bool
) -> None:
    """Other versions would wait for it; also if the version is gone, from the next read on."""
    write(folder)
    write_manifest(folder)
    (version,) = repository.reader.read()["net"].versions
    compute, computed = hashlib.file_digest, []

    def change_first(file: Any, digest: str) -> Any:
        if gone:
            shutil.rmtree(folder)
        else:
            write(folder, {"saved_model.pb": b"grapX"})
        repository.reader.read()
        computed.append(compute(file, digest))

    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", change_first)
        repository.reader.check(version)
    assert computed == []
    assert states(repository.reader.read()) == ([] if gone else [(True, False, "")])


def test_a_file_that_cannot_be_hashed_is_read_again_after_a_minute(
    repository: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the version is incomplete."""
    write(folder)
    write_manifest(folder)
    with monkeypatch.context() as patch:
        error = OSError(5, "Input/output error", str(folder / "saved_model.pb"))
        patch.setattr("hashlib.file_digest", lambda *_: (_ for _ in ()).throw(error))
        assert repository.reason() == "saved_model.pb: Input/output error"
    assert repository.reason(HASH_AGAIN_SECONDS - 1) == "saved_model.pb: Input/output error"
    assert repository.reason(1) == ""


def test_names_that_are_ignored_are_known(repository: Repository) -> None:
    """Not those that are meant to be ignored."""
    for name in ("net/1", "net/v2", "two words/1", ".hidden", "net/3.tmp", "net/.4"):
        (repository.root / name).mkdir(parents=True)
    repository.read()
    assert repository.reader.ignored == {"net/v2", "two words"}


def test_a_model_without_the_folder_of_a_version_has_a_hint(
    repository: Repository, folder: Path
) -> None:
    """Where its files are to be moved; a serving.toml stays."""
    net = folder.parent
    folder.rmdir()
    (net / "serving.toml").write_text("")
    assert repository.model().problem == ""
    write(net)
    assert repository.model().problem == (
        "net: no version folder; move saved_model.pb and what is beside it, except serving.toml, "
        "to models/net/1/"
    )
    write(folder)
    assert repository.model().problem == ""


def test_a_version_that_is_no_folder_is_a_problem(repository: Repository, folder: Path) -> None:
    """It is no file to be moved into a version."""
    write(folder)
    (folder.parent / "2").write_text("")
    assert repository.model().problem == "net: 2 is no folder"
    shutil.rmtree(folder)
    assert repository.model().problem == "net: 2 is no folder"


@pytest.mark.parametrize("linked", ["model", "version"])
def test_a_link_whose_target_vanishes_keeps_what_was_there(
    repository: Repository, folder: Path, tmp_path: Path, linked: str
) -> None:
    """As if its file system were not mounted: the version keeps its stamp, with a reason."""
    write(folder)
    (folder.parent.parent / "other" / "1").mkdir(parents=True)
    link = folder if linked == "version" else folder.parent
    (tmp_path / "target").mkdir()
    link.rename(tmp_path / "target" / "here")
    link.symlink_to(tmp_path / "target" / "here")
    (before,) = repository.model().versions
    (tmp_path / "target").rename(tmp_path / "away")
    model = repository.model()
    (after,) = model.versions
    assert after.stamp == before.stamp
    assert "No such file or directory" in (model.problem or after.reason)
    (tmp_path / "away").rename(tmp_path / "target")
    (again,) = repository.model().versions
    assert again.stamp == before.stamp
    link.unlink()
    assert repository.read().get("net", ModelOnDisk("", (), ServingFacts(), "")).versions == ()


def test_a_file_that_a_manifest_does_not_list_has_to_be_stable(
    repository: Repository, folder: Path
) -> None:
    """As it may be copied after the manifest."""
    write(folder)
    write_manifest(folder)
    assert repository.reason() == ""
    write(folder, {"golden.jsonl": b"{"})
    unlisted = "golden.jsonl, which manifest.json does not list, to be unchanged for 4 s"
    assert [repository.reason(2) for _ in range(3)] == 2 * [f"waits for {unlisted}"] + [""]


@pytest.mark.parametrize("whole_model", [False, True])
def test_a_folder_that_is_renamed_into_place_is_complete_at_once(
    repository: Repository, folder: Path, *, whole_model: bool
) -> None:
    """A version, or a model with all its versions; a later change has to be stable."""
    renamed = folder.parent if whole_model else folder
    staged = repository.root / ".staged"
    renamed.rename(staged)
    write(staged / "1" if whole_model else staged)
    staged.rename(renamed)
    repository.reader.renamed(renamed)
    assert repository.reason() == ""
    write(folder, {"assets/words.txt": b"x"})
    assert repository.reason() == WAITS


def test_a_rename_counts_for_its_folder_and_for_one_read(
    repository: Repository, folder: Path
) -> None:
    """Not for other versions, and not for one that is written later."""
    repository.reader.renamed(repository.root / "net" / "2")
    write(folder)
    assert repository.reason() == WAITS
    write(repository.root / "net" / "2")
    assert [version.complete for version in repository.model().versions] == [False, False]


def newest_change(folder: Path) -> float:
    """Return the time of the last change of *folder* and all in it."""
    return max(path.stat().st_ctime for path in (folder, *folder.rglob("*")))


def test_a_restart_takes_old_versions_at_once(repository: Repository, folder: Path) -> None:
    """Those without a change for a minute, at the first read that succeeds, and only then."""
    write(folder)
    old = newest_change(folder) + SETTLED_SECONDS
    repository.reader = repository.start(old - 0.5)
    assert repository.reason() == WAITS
    repository.reader = repository.start(old + 0.01)
    assert repository.reason() == ""
    write(repository.root / "net" / "2")
    assert [version.complete for version in repository.model().versions] == [True, False]


def test_any_change_of_a_file_changes_the_stamp_and_a_read_does_not(
    repository: Repository, folder: Path
) -> None:
    """Its name, its size, its time, and another file of equal size and time in its place."""
    write(folder)
    path = folder / "saved_model.pb"
    other = repository.root / "other.tmp"

    def replace_by_another() -> None:
        shutil.copy2(path, other)
        other.rename(path)

    changes: list[Callable[[], object]] = [
        lambda: os.utime(path, ns=(1, 1)),
        replace_by_another,
        lambda: path.write_bytes(b"graph" * 2),
        lambda: path.rename(folder / "model.pb"),
        lambda: (folder / "model.pb").unlink(),
        lambda: (folder / "assets").mkdir(),
    ]
    stamps = [repository.version().stamp]
    for change in changes:
        change()
        stamps.append(repository.version().stamp)
    assert len(set(stamps)) == len(changes) + 1
    for file in folder.rglob("*.index"):
        file.read_bytes()
        os.utime(file, ns=(1, file.stat().st_mtime_ns))
    assert repository.version().stamp == stamps[-1]


def test_links_are_followed(repository: Repository, folder: Path, tmp_path: Path) -> None:
    """To a version, to a folder in it and to a file; a change behind a link is seen."""
    write(tmp_path / "store")
    write_manifest(tmp_path / "store")
    folder.rmdir()
    folder.symlink_to(tmp_path / "store")
    version = repository.version()
    assert (version.complete, version.path) == (True, folder)
    folder.unlink()
    folder.mkdir()
    for path in (tmp_path / "store").iterdir():
        (folder / path.name).symlink_to(path)
    assert repository.version() == version
    write(tmp_path / "store", {"variables/variables.index": b"indeX"})
    assert "variables/variables.index has SHA-256" in repository.reason()


def _link_to_itself(folder: Path) -> None:
    (folder / "a").symlink_to("a")


def _link_upwards(folder: Path) -> None:
    (folder / "variables" / "a").symlink_to("../..")


#: How a folder is damaged, and the reason.
UNREADABLE: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: (folder / "a").symlink_to("absent"), "a: No such file or directory"),
    (_link_to_itself, "a: Too many levels of symbolic links"),
    (_link_upwards, "variables/a/1: Too many levels of symbolic links"),
    (lambda folder: (folder / "b\n\udce9").symlink_to("absent"), r"'b\n\udce9': No such file or"),
    (lambda folder: os.mkfifo(folder / "a"), "a is neither a file nor a folder"),
]


@pytest.mark.parametrize(("damage", "reason"), UNREADABLE)
def test_a_version_that_cannot_be_read_is_incomplete(
    repository: Repository, folder: Path, damage: Callable[[Path], object], reason: str
) -> None:
    """Without an error; its stamp stays, so that it is known to be the same afterwards."""
    write(folder)
    repository.read()
    version = repository.version(STABLE_SECONDS)
    before = set(folder.rglob("*"))
    damage(folder)
    damaged = repository.version(10)
    assert damaged.reason.startswith(reason)
    assert damaged.reason.isprintable()
    for path in set(os.scandir(folder)) | set(os.scandir(folder / "variables")):
        if Path(path) not in before:
            Path(path).unlink()
    assert repository.version() == version


def test_a_version_that_never_could_be_read_has_no_stamp(
    repository: Repository, folder: Path
) -> None:
    """Nor a size."""
    _link_to_itself(folder)
    reason = "a: Too many levels of symbolic links"
    assert repository.version() == VersionOnDisk(1, folder, "", 0, complete=False, reason=reason)


def test_a_version_that_is_gone_and_comes_back_is_new(repository: Repository, folder: Path) -> None:
    """The reader keeps nothing about what is gone."""
    write(folder)
    repository.read()
    assert repository.reason(STABLE_SECONDS) == ""
    folder.rename(repository.root / ".away")
    assert repository.model().versions == ()
    (repository.root / ".away").rename(folder)
    assert repository.reason() == WAITS
    (repository.root / "other").mkdir()
    folder.parent.rename(repository.root / ".net")
    assert list(repository.read()) == ["other"]
    (repository.root / ".net").rename(folder.parent)
    assert repository.reason(STABLE_SECONDS) == WAITS


def refuse_to_list(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the list of *folder* fail, as on a disk with errors."""
    list_folder = os.scandir

    def refuse(path: Path | str) -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_a_model_that_cannot_be_listed_keeps_its_state(
    repository: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its versions and facts, with a problem."""
    write(folder)
    (folder.parent / "serving.toml").write_text("weight = 2")
    repository.read()
    model = repository.model(STABLE_SECONDS)
    with monkeypatch.context() as patch:
        refuse_to_list(patch, folder.parent)
        failed = repository.model(10)
        assert failed.problem == "net: Permission denied"
        assert (failed.versions, failed.serving) == (model.versions, model.serving)
        repository.reader = repository.start()
        assert repository.model().versions == ()
    repository.read()
    assert repository.model(STABLE_SECONDS) == model


def test_a_version_that_cannot_be_listed_is_named_below_the_root(
    repository: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is shown to clients."""
    write(folder)
    refuse_to_list(monkeypatch, folder)
    assert repository.reason() == "net/1: Permission denied"


def test_a_root_that_is_not_mounted_is_an_error(
    repository: Repository, folder: Path, tmp_path: Path
) -> None:
    """Absent, or without any model after it had one; then all is as it was."""
    write(folder)
    repository.read()
    before = repository.read(STABLE_SECONDS)
    assert before["net"].versions[0].complete
    root, away = repository.root, tmp_path / "away"
    root.rename(away)
    with pytest.raises(RepositoryUnavailable, match=f"{root}: No such file or directory"):
        repository.read()
    root.mkdir()
    (root / ".keep").write_text("")
    for _ in range(2):
        with pytest.raises(RepositoryUnavailable, match=r"is its file system mounted\?"):
            repository.read(10)
    shutil.rmtree(root)
    away.rename(root)
    assert repository.read() == before


def test_a_root_may_be_empty_at_first(repository: Repository) -> None:
    """But it has to be a folder."""
    assert repository.read() == {}
    assert repository.read() == {}
    repository.root.rmdir()
    repository.root.write_text("")
    with pytest.raises(RepositoryUnavailable, match="Not a directory"):
        repository.read()


def test_a_write_of_serving_toml_changes_its_stamp(repository: Repository, folder: Path) -> None:
    """Also with equal contents; the facts are new at the next read."""
    path = folder.parent / "serving.toml"
    stamps = [repository.model().serving_stamp]
    assert stamps == [""]
    serve(path, [3])
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: os.utime(path, ns=(1, 1)),
        lambda: serve(path, [3]),
    ]
    for change in changes:
        change()
        model = repository.model()
        assert model.serving == ServingFacts(latest=None, versions=(3,))
        stamps.append(model.serving_stamp)
    assert repository.model().serving_stamp == stamps[-1]
    assert len(set(stamps)) == 4
    serve(path, None)
    assert repository.model().serving == ServingFacts()
    assert repository.model().versions[0].reason == "holds no files"


def test_a_broken_serving_toml_keeps_the_last_correct_facts(
    repository: Repository, folder: Path
) -> None:
    """Before there are any, the defaults; the problem is the error, until the file is correct."""
    path = folder.parent / "serving.toml"
    problem = "net/serving.toml: weight: expected a number from 0.001 to 1000, got 0"
    path.write_text("weight = 0")
    model = repository.model()
    assert (model.serving, model.problem) == (ServingFacts(), problem)
    path.write_text("weight = 2")
    model = repository.model()
    assert (model.serving, model.problem) == (ServingFacts(weight=2.0), "")
    path.write_text("weight = 0")
    for _ in range(2):
        broken = repository.model()
        assert (broken.serving, broken.problem) == (ServingFacts(weight=2.0), problem)
    assert broken.serving_stamp != model.serving_stamp
    path.unlink()
    path.mkdir()
    model = repository.model()
    assert (model.serving, model.problem) == (
        ServingFacts(weight=2.0),
        "net/serving.toml: Is a directory",
    )


@pytest.mark.parametrize("emptied", [lambda path: path.write_text(""), Path.unlink])
def test_a_serving_toml_that_loses_its_contents_counts_for_4_more_seconds(
    repository: Repository, folder: Path, emptied: Callable[[Path], object]
) -> None:
    """As an editor may be about to write it."""
    path = folder.parent / "serving.toml"
    path.write_text("weight = 2")
    before = repository.model()
    emptied(path)
    assert repository.model(2) == before
    path.write_text("weight = 3")
    assert repository.model(10).serving.weight == 3
    emptied(path)
    weights = [repository.model(2).serving.weight for _ in range(4)]
    assert weights == [3, 3, 1, 1]
    assert bool(repository.model().serving_stamp) == path.exists()
