"""The cache folder, which stores a model whole or not at all, and the command that lists it."""

import errno
import json
import os
import pwd
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread

import platformdirs
import pytest

import model.repository.cache
from model.repository.cache import (
    CachedModel,
    CacheFolder,
    CacheUnavailableError,
    DamagedCacheError,
    ModelContents,
    read_json,
    user_cache_folder,
    write_json_atomically,
)
from model.repository.synced_files import write_synced
from tests.cached_models import CONTENTS, CREATED, cut_short

OTHER = replace(CONTENTS, files={"graph.pb": b"another"})


@pytest.fixture
def cache(tmp_path: Path) -> CacheFolder:
    """A cache folder that does not exist yet, with a fixed date."""
    return CacheFolder(tmp_path / "cache", now=lambda: CREATED)


def names_in(folder: Path) -> set[str]:
    """Return the names in *folder*, hidden ones too, without the lock."""
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_a_published_model_is_found_with_all_its_fields(cache: CacheFolder) -> None:
    """The same before and after a restart, with the bytes that were published."""
    published = cache.publish("net", "1", CONTENTS)
    assert published == CachedModel(
        name="net",
        version="1",
        path=cache.root / "models" / "net" / "1",
        size=608,
        origin="made by hand",
        licence="MIT",
        created=CREATED,
    )
    assert CacheFolder(cache.root).find("net", "1") == published
    for name, data in CONTENTS.files.items():
        assert (published.path / name).read_bytes() == data
    assert names_in(published.path.parent) == {"1"}


def test_a_cache_that_does_not_exist_is_empty(cache: CacheFolder) -> None:
    """A search does not create it."""
    assert cache.find("net", "1") is None
    assert cache.model_names() == []
    assert not cache.root.exists()


def flip_a_bit(folder: Path) -> None:
    """Change one bit of a file, and not its size."""
    path = folder / "graph.pb"
    path.write_bytes(b"\x01" + path.read_bytes()[1:])


def edit_manifest(**changes: object) -> Callable[[Path], None]:
    """Return a function that sets keys of the manifest."""

    def edit(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def become_a_file(folder: Path) -> None:
    """Replace the folder by a file."""
    folder.rename(folder.with_name("away"))
    folder.write_text("")


DAMAGES = [
    (cut_short, "graph.pb has 599 bytes, 600 were written"),
    (flip_a_bit, "graph.pb has SHA-256 "),
    (lambda folder: (folder / "labels.txt").unlink(), "labels.txt is missing"),
    (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json cannot be read"),
    (lambda folder: (folder / "manifest.json").write_text("[]"), "manifest.json cannot be read"),
    (edit_manifest(format=2), "format 2, not 1"),
    (edit_manifest(created="some day"), "manifest.json cannot be read"),
    (edit_manifest(files={"../graph.pb": {"size": 1, "sha256": ""}}), "cannot be the name"),
    (edit_manifest(version="2"), "manifest.json is for net/2"),
    (become_a_file, "manifest.json is missing"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_damage_is_reported_in_one_line_and_repaired(
    cache: CacheFolder, damage: Callable[[Path], object], reason: str
) -> None:
    """After any damage the next use builds the model again."""
    folder = cache.publish("net", "1", CONTENTS).path
    damage(folder)
    with pytest.raises(DamagedCacheError, match=reason) as caught:
        cache.find("net", "1")
    assert caught.value.path == folder
    lines: list[str] = []
    again = cache.ensure("net", "1", lambda: CONTENTS, lines.append)
    assert lines == [
        f"{folder} is damaged: {caught.value.reason}; converting it again",
        f"net/1 is stored in {folder} (0.0 MB)",
    ]
    assert cache.find("net", "1") == again
    assert ".set-aside" not in names_in(folder.parent)


def test_an_undamaged_model_is_neither_built_nor_written_again(cache: CacheFolder) -> None:
    """So a read-only cache is enough, and a second start reports nothing."""
    first = cache.publish("net", "1", CONTENTS)
    (first.path.parent / ".lock").unlink()
    lines: list[str] = []
    assert cache.ensure("net", "1", lambda: pytest.fail("built again"), lines.append) == first
    assert lines == []
    assert not (first.path.parent / ".lock").exists()


def test_the_first_of_two_processes_publishes_and_both_get_its_model(cache: CacheFolder) -> None:
    """The second process ends its build after the first has published."""

    def build_late() -> ModelContents:
        CacheFolder(cache.root, now=lambda: CREATED).publish("net", "1", CONTENTS)
        return OTHER

    second = cache.ensure("net", "1", build_late, lambda _: None)
    assert second == cache.find("net", "1")
    assert (second.path / "graph.pb").read_bytes() == CONTENTS.files["graph.pb"]


def test_builds_that_end_at_the_same_time_get_the_same_model(cache: CacheFolder) -> None:
    """Four threads on a damaged folder; the lock is per open file, as between processes."""
    flip_a_bit(cache.publish("net", "1", CONTENTS).path)
    barrier = Barrier(4)
    found: list[CachedModel] = []

    def build() -> ModelContents:
        barrier.wait(timeout=10)
        return CONTENTS

    def ensure() -> None:
        found.append(cache.ensure("net", "1", build, lambda _: None))

    threads = [Thread(target=ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache.find("net", "1")] * 4
    assert names_in(cache.root / "models" / "net") == {"1"}


def test_folders_of_a_killed_process_are_no_models_and_are_removed(cache: CacheFolder) -> None:
    """An incomplete folder has another name until it is complete."""
    parent = cache.root / "models" / "net"
    (parent / ".staged").mkdir(parents=True)
    (parent / ".staged" / "graph.pb").write_bytes(b"hal")
    assert cache.find("net", "1") is None
    assert cache.model_names() == []
    cache.publish("net", "1", CONTENTS)
    assert names_in(parent) == {"1"}


def test_a_full_disk_stores_no_model(cache: CacheFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the folder and the system's reason, and no model is listed."""

    def write_until_full(path: Path, data: bytes) -> None:
        if path.name == "labels.txt":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_synced(path, data)

    monkeypatch.setattr(model.repository.cache, "write_synced", write_until_full)
    with pytest.raises(CacheUnavailableError, match=f"{cache.root} .*No space left on device"):
        cache.publish("net", "1", CONTENTS)
    assert cache.find("net", "1") is None
    assert names_in(cache.root / "models" / "net") == set()


def test_every_file_and_folder_is_synced_before_the_folder_gets_its_name(
    cache: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent is synced afterwards, so that a power cut keeps a whole model or none."""
    happened: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        happened.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        happened.append(f"{path.name} -> {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    cache.publish("net", "1", CONTENTS)
    assert happened == [
        "graph.pb",
        "labels.txt",
        "manifest.json",
        ".staged",
        ".staged -> 1",
        "net",
    ]


def test_a_cache_that_cannot_be_written_is_an_error_before_the_build(tmp_path: Path) -> None:
    """A file has the name of the folder: the error names it, and nothing is built."""
    (tmp_path / "cache").write_text("")
    cache = CacheFolder(tmp_path / "cache")
    expected = f"the cache folder {cache.root} cannot be used: .*; set XDG_CACHE_HOME"
    with pytest.raises(CacheUnavailableError, match=expected) as caught:
        cache.ensure("net", "1", lambda: pytest.fail("built in vain"), pytest.fail)
    assert caught.value.folder == cache.root
    with pytest.raises(CacheUnavailableError, match=str(tmp_path / "cache")):
        write_json_atomically(cache.latency_file("abc"), {})


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "/etc", "a\0b"])
def test_a_name_cannot_be_a_path_to_another_folder(cache: CacheFolder, name: str) -> None:
    """The name of a model, a version, a file or a measurement."""
    for lead_out in (
        lambda: cache.model_folder(name, "1"),
        lambda: cache.model_folder("net", name),
        lambda: cache.latency_file(name),
        lambda: cache.publish("net", "1", replace(CONTENTS, files={name: b""})),
    ):
        with pytest.raises(ValueError, match="cannot be the name of a file"):
            lead_out()
    assert cache.find("net", "1") is None


def test_xdg_cache_home_is_the_parent_of_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the rules of freedesktop.org."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache_folder() == CacheFolder(tmp_path / "tensorferry")


def test_a_user_without_a_home_folder_gets_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a folder called ~ in the working folder."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: Path("~/.cache") / name)
    with pytest.raises(CacheUnavailableError, match="no home folder is known"):
        user_cache_folder()


def _unknown(uid: int) -> None:
    raise KeyError(f"getpwuid(): uid not found: {uid}")


#: The environment, in which {file} is the path of a file.
NOWHERE: dict[str, dict[str, str]] = {
    "no HOME": {},
    "an empty HOME": {"HOME": ""},
    "a relative HOME": {"HOME": "home"},
    "HOME below a file": {"HOME": "{file}/home"},
    "an empty XDG_CACHE_HOME": {"XDG_CACHE_HOME": ""},
    "XDG_CACHE_HOME is a file": {"XDG_CACHE_HOME": "{file}"},
    "XDG_CACHE_HOME is too long": {"XDG_CACHE_HOME": "/" + "x" * 300},
}


@pytest.mark.parametrize("variables", NOWHERE.values(), ids=NOWHERE)
def test_a_user_id_without_a_home_folder_gets_the_variable_to_set(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id has no entry among the users, as in containers; there is no other error."""
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", _unknown)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("{file}", str(tmp_path / "file")))
    with pytest.raises(CacheUnavailableError, match="set XDG_CACHE_HOME to a folder"):
        write_json_atomically(user_cache_folder().latency_file("abc"), {})
    with pytest.raises(CacheUnavailableError, match="set XDG_CACHE_HOME to a folder"):
        user_cache_folder().ensure("net", "1", lambda: pytest.fail("built in vain"), pytest.fail)
    assert names_in(tmp_path) == {"file"}


def test_a_read_only_file_system_is_reported(
    cache: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container with a read-only root."""

    def refuse(path: Path, **_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    expected = "Read-only file system; set XDG_CACHE_HOME"
    with pytest.raises(CacheUnavailableError, match=expected):
        write_json_atomically(cache.latency_file("abc"), {})
    with pytest.raises(CacheUnavailableError, match=expected):
        cache.ensure("net", "1", lambda: pytest.fail("built in vain"), pytest.fail)


def test_json_is_read_as_it_was_written(cache: CacheFolder) -> None:
    """A missing file is None; a second write replaces the first, with no other file."""
    path = cache.latency_file("abc")
    assert path == cache.root / "latency" / "abc.json"
    assert read_json(path) is None
    write_json_atomically(path, {"1": 0.25})
    write_json_atomically(path, {"1": 0.25, "2": 0.5})
    assert read_json(path) == {"1": 0.25, "2": 0.5}
    assert names_in(path.parent) == {"abc.json"}


def test_json_that_cannot_be_written_keeps_the_old_file(
    cache: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that is not JSON and a failing disk do not change the file."""
    path = cache.latency_file("abc")
    write_json_atomically(path, [1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_atomically(path, float("nan"))

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, f"Input/output error on {descriptor}")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CacheUnavailableError, match="Input/output error"):
        write_json_atomically(path, [2])
    assert read_json(path) == [1]
    assert names_in(path.parent) == {"abc.json"}


@pytest.mark.parametrize("data", [b"", b'{"1": 0.', b"\xff\xfe"])
def test_damaged_json_is_not_a_missing_file(cache: CacheFolder, data: bytes) -> None:
    """The error names the file, so that the caller can measure again and overwrite it."""
    path = cache.latency_file("abc")
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(DamagedCacheError, match=r"abc\.json is damaged"):
        read_json(path)
