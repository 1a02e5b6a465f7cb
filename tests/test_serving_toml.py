"""Which versions are served, and edits of it: model/repository/serving_toml.py."""

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from model.errors import ModelError
from model.repository.serving_toml import ServingFacts, read_serving_toml, serve, set_label

FULL = """
versions = { latest = 2 }
weight = 3
max_batch_size = 32
max_queue_delay_ms = 2.5

[labels]
stable = 3
"v1.2-rc_1" = 4
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file that does not exist yet."""
    return tmp_path / "serving.toml"


def refusal(path: Path, text: str) -> str:
    """Return the error for a file of this *text*, without the path."""
    path.write_text(text)
    with pytest.raises(ModelError) as caught:
        read_serving_toml(path)
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


def test_every_key_is_read(path: Path) -> None:
    """Milliseconds become seconds."""
    path.write_text(FULL)
    assert read_serving_toml(path) == ServingFacts(
        latest=2,
        labels={"stable": 3, "v1.2-rc_1": 4},
        weight=3.0,
        max_batch_size=32,
        max_queue_delay=0.0025,
    )


ALL = ServingFacts(latest=None)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        (None, ServingFacts()),
        ("", ServingFacts()),
        ("versions.latest = 3", ServingFacts(latest=3)),
        ("[versions]\nlatest = 3", ServingFacts(latest=3)),
        ("versions = 'all'", ALL),
        ("versions = [4, 3, 4, 0]", ServingFacts(latest=None, versions=(0, 3, 4))),
        ("versions = []", ServingFacts(latest=None, versions=())),
        ("max_queue_delay_ms = 0", ServingFacts(max_queue_delay=0.0)),
        ("\ufeffweight = 1e-3\r\n# über\r\n", ServingFacts(weight=0.001)),
        ("labels.a = 999999999999999999", ServingFacts(labels={"a": 10**18 - 1})),
    ],
)
def test_all_forms_are_read(path: Path, text: str | None, facts: ServingFacts) -> None:
    """An absent file and an empty one leave the defaults."""
    if text is not None:
        path.write_bytes(text.encode())
    assert read_serving_toml(path) == facts


BAD = {
    "versions": (
        "{ latest = N }, 'all' or a list of whole numbers",
        (
            *("1", "'newest'", "true", "[-1]", "[1.0]", "['1']", "[true]", "[[1]]", f"[{10**18}]"),
            *("{}", "{ latest = 0 }", "{ latest = 1.0 }", "{ newest = 1 }"),
            "{ latest = 1, all = true }",
        ),
    ),
    "weight": (
        "a number from 0.001 to 1000",
        ("0", "1e-4", "1001", "-1", "inf", "nan", "true", "'1'", "1" + 400 * "0"),
    ),
    "max_batch_size": ("a whole number from 1 to 4096", ("4097", "0", "1.0", "true", "'1'")),
    "max_queue_delay_ms": ("a number of at least 0", ("-1", "inf", "nan", "true", "[1]")),
    "labels": (
        "a table of names of letters, digits, '.', '_' and '-', each with a whole number",
        (
            *("3", "['stable']", "{ stable = '3' }", "{ stable = -1 }", "{ stable = true }"),
            *("{ '' = 1 }", "{ '..' = 1 }", "{ 'a/b' = 1 }", "{ 'ü' = 1 }"),
        ),
    ),
}


@pytest.mark.parametrize(
    ("key", "expected", "value"),
    [(key, expected, value) for key, (expected, values) in BAD.items() for value in values],
)
def test_a_bad_value_is_refused_with_key_and_expectation(
    path: Path, key: str, expected: str, value: str
) -> None:
    """In one line, for any value."""
    assert refusal(path, f"{key} = {value}").startswith(f"{key}: expected {expected}, got ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version = [3]", "no such key: 'version'; did you mean versions?"),
        ("stable = 3", "no such key: 'stable'"),
        ("weight 1", "not TOML: "),
    ],
)
def test_a_file_in_another_form_is_refused(path: Path, text: str, line: str) -> None:
    """With the nearest key, if there is one."""
    assert refusal(path, text).startswith(line)


Edit = Callable[[Path], None]


def label(name: str, version: int | None) -> Edit:
    """Return the edit that gives this label."""
    return partial(set_label, label=name, version=version)


def serving(*versions: int) -> Edit:
    """Return the edit that serves these versions."""
    return partial(serve, versions=versions)


default: Edit = partial(serve, versions=None)

EDITS: list[tuple[str | None, Edit, str]] = [
    # labels
    (None, label("stable", 3), "[labels]\nstable = 3\n"),
    (
        "# top\nweight = 2 # w\n\n# about\n[labels]\n# why\nstable = 2 # was 1\nb = 1\n",
        label("stable", 3),
        "# top\nweight = 2 # w\n\n# about\n[labels]\n# why\nstable = 3 # was 1\nb = 1\n",
    ),
    ("[labels] # x\na = 1\n", label("b", 0), "[labels] # x\na = 1\nb = 0\n"),
    ("[labels]\na = 1\n", label("v1.2", 2), '[labels]\na = 1\n"v1.2" = 2\n'),
    ("labels = {a = 1} # x\n", label("a", 2), "labels = {a = 2} # x\n"),
    ("labels.a = 1\nweight = 1\n", label("b", 2), "labels.a = 1\nlabels.b = 2\nweight = 1\n"),
    ("weight = 1\r\n[labels]\r\na = 1\r\n", label("a", 2), "weight = 1\r\n[labels]\r\na = 2\r\n"),
    ("[labels]\na = 1 # x\nb = 2 # y\n", label("a", None), "[labels]\nb = 2 # y\n"),
    ("labels.a = 1\n", label("a", None), "\n"),
    ("weight = 1\n", label("a", None), "weight = 1\n"),
    ("[labels]\nb = 1\n", label("a", None), "[labels]\nb = 1\n"),
    # versions
    (None, serving(4, 3, 4), "versions = [3, 4]\n"),
    (None, serving(), "versions = []\n"),
    (None, default, "\n"),
    ("versions = 'all' # x\nweight = 1\n", serving(3), "versions = [3] # x\nweight = 1\n"),
    ("versions = {latest = 2} # x\n", serving(3), "versions = [3] # x\n"),
    ("versions = [3]\n", serving(3), "versions = [3]\n"),
    ("[labels]\na = 3 # x\n", serving(3), "versions = [3]\n\n[labels]\na = 3 # x\n"),
    (
        "[labels]\na = 3\n[versions]\nlatest = 1\n",
        serving(3),
        "versions = [3]\n\n[labels]\na = 3\n",
    ),
    ("# x\nversions = [3] # y\nweight = 1 # z\n", default, "# x\nweight = 1 # z\n"),
    ("weight = 1\n", default, "weight = 1\n"),
]


@pytest.mark.parametrize(("before", "edit", "after"), EDITS)
def test_an_edit_changes_one_key_and_keeps_all_else(
    path: Path, before: str | None, edit: Edit, after: str
) -> None:
    """Comments, order, spaces and line ends; a new file is written even if its text is equal."""
    old = None
    if before is not None:
        path.write_bytes(before.encode())
        path.chmod(0o640)
        old = path.stat()
    edit(path)
    assert path.read_bytes().decode() == after
    assert list(path.parent.iterdir()) == [path]
    if old is not None:
        assert path.stat().st_ino != old.st_ino
        assert path.stat().st_mode == old.st_mode


@pytest.mark.parametrize("edit", [label("a", 1), serving(3), default])
@pytest.mark.parametrize(
    "text", ["weight = 0\n", "weigth = 1\n", "weight 1\n", "labels = 1\n", "# \xff"]
)
def test_a_broken_file_is_not_edited(path: Path, edit: Edit, text: str) -> None:
    """Any edit raises the error of a read."""
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError) as read:
        read_serving_toml(path)
    with pytest.raises(ModelError) as caught:
        edit(path)
    assert str(caught.value) == str(read.value)
    assert path.read_bytes() == text.encode("latin-1")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("edit", [label("a/b", 1), label("a", -1), label("a", 10**18), serving(-1)])
def test_an_edit_that_would_break_the_file_is_refused(path: Path, edit: Edit) -> None:
    """With the key and what it expects."""
    path.write_text("weight = 1\n")
    with pytest.raises(ModelError, match=r"serving\.toml: (labels|versions): expected"):
        edit(path)
    assert path.read_text() == "weight = 1\n"


def _fail_to_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, f"Input/output error on {descriptor}")

    monkeypatch.setattr(os, "fsync", fail)


def _fail_to_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Path, target: Path) -> Path:
        raise OSError(errno.EIO, f"Input/output error on {source} and {target}")

    monkeypatch.setattr(Path, "replace", fail)


def _read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    open_file = Path.open

    def refuse(path: Path, mode: str) -> object:
        if mode == "rb":
            return open_file(path, mode)
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "open", refuse)


@pytest.mark.parametrize("failure", [_fail_to_sync, _fail_to_rename, _read_only])
def test_an_edit_that_fails_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, failure: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """The file system is read-only, or fails before the new file has the name of the old one."""
    path.write_text("weight = 1\n")
    with monkeypatch.context() as patch:
        failure(patch)
        with pytest.raises(OSError, match=r"Input/output error|Read-only file system"):
            set_label(path, "stable", 3)
    assert path.read_text() == "weight = 1\n"
    assert list(path.parent.iterdir()) == [path]


def test_an_edit_needs_the_folder(tmp_path: Path) -> None:
    """A model that is gone is not created again."""
    with pytest.raises(FileNotFoundError):
        set_label(tmp_path / "gone" / "serving.toml", "stable", 3)
    (tmp_path / "serving.toml").symlink_to("absent")
    with pytest.raises(FileNotFoundError):
        serve(tmp_path / "serving.toml", [3])
