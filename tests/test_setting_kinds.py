"""Kinds of values: parse, errors, and format as the inverse of parse."""

import os
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.settings.kinds import (
    Choice,
    Kind,
    Name,
    Number,
    OrWord,
    Size,
    Switch,
    TensorName,
    WholeNumber,
)
from server.settings.place_kinds import Endpoint, EndpointOrPath, ReadableFile

MILLISECONDS = Number("MS", at_least=0, shift=-3)
WORDS: Choice[str] = Choice(("cpu", "gpu"))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (WholeNumber("N"), " 7 ", 7),
        (WholeNumber("N", at_least=0, at_most=9), "9", 9),
        (Number("N"), "-1e-3", -0.001),
        (Number("N", at_least=0), "0", 0.0),
        (MILLISECONDS, "2.3", 0.0023),
        (MILLISECONDS, "0.1", 0.0001),
        (Size(), "1", 1),
        (Size(), "64MiB", 67108864),
        (Size(), "64 mib", 67108864),
        (Size(), "1.5KiB", 1536),
        (Size(), "1kB", 1000),
        (Size(), "3B", 3),
        (Size(), "2TB", 2 * 10**12),
        (Size(), "2TiB", 2 * 2**40),
        (OrWord("auto", None, WholeNumber("N")), "auto", None),
        (OrWord("auto", None, WholeNumber("N")), "2", 2),
        (OrWord("auto", None, WORDS), "gpu", "gpu"),
        (OrWord("none", inf, Number("N")), "none", inf),
        (OrWord("none", inf, Number("N")), "0.5", 0.5),
        (TensorName(), "final_result", "final_result:0"),
        (TensorName(), "module/out.1:12", "module/out.1:12"),
        (Name(), "__saved_model_init_op", "__saved_model_init_op"),
        (Endpoint(), "tcp:80", "tcp:80"),
        (Endpoint(), "unix:/run/my app.sock", "unix:/run/my app.sock"),
        (EndpointOrPath(), "tcp:80", "tcp:80"),
        (EndpointOrPath(), "/a:b\\.sock", "unix:/a\\:b\\\\.sock:mode=600:lockfile=1"),
        (EndpointOrPath(), "a.sock", f"unix:{Path('a.sock').absolute()}:mode=600:lockfile=1"),
        (Switch(), "YES", True),
        (Switch(), "0", False),
    ],
)
def test_a_kind_reads_the_texts_that_users_write(
    kind: Kind[object], text: str, value: object
) -> None:
    """And reads its own text of the value as the same value."""
    assert kind.parse(text) == value
    assert kind.parse(kind.format(value)) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (WholeNumber("N", at_most=9), "10"),
        (WholeNumber("N"), "0"),
        (WholeNumber("N"), ""),
        (Number("N", above=0), "0"),
        (MILLISECONDS, "-0.001"),
        (Size(), "0.1KiB"),
        (Size(), "1Kb b"),
        (WORDS, "CPU"),
        (WORDS, "auto"),
        (OrWord("none", inf, Number("N", above=0)), "inf"),
        (OrWord("none", inf, Number("N", above=0)), "0"),
        (TensorName(), "a:0:0"),
        (TensorName(), ""),
        (Name(), ""),
        (Name(), " a"),
        (Endpoint(), "tcp: "),
        (EndpointOrPath(), "admin"),
        (EndpointOrPath(), "8080"),
        (Switch(), ""),
    ],
)
def test_a_kind_refuses_any_other_text(kind: Kind[object], text: str) -> None:
    """With ValueError; the caller writes the message."""
    with pytest.raises(ValueError):  # noqa: PT011 - it has no message
        kind.parse(text)


@given(seconds=st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_milliseconds_and_seconds_turn_into_each_other_without_loss(seconds: float) -> None:
    """For every duration that a float can represent."""
    text = MILLISECONDS.format(seconds)
    # Near the largest float the milliseconds exceed a float, but not a text.
    assert MILLISECONDS.parse(text) == seconds


@given(
    case=st.one_of(
        st.tuples(st.just(Number("N")), st.floats(allow_infinity=False, allow_nan=False)),
        st.tuples(st.just(Size()), st.integers(min_value=1, max_value=2**70)),
        st.tuples(st.just(WholeNumber("N")), st.integers(min_value=1)),
        st.tuples(
            st.just(OrWord("auto", None, Size())),
            st.none() | st.integers(min_value=1, max_value=2**60),
        ),
    )
)
def test_parse_is_the_inverse_of_format(case: tuple[Kind[Any], object]) -> None:
    """For every value of the kind."""
    kind, value = case
    assert kind.parse(kind.format(value)) == value


NO_FILE, ABSENT = "not a regular file", "No such file or directory"


@pytest.mark.parametrize(
    ("text", "as_file", "as_either"),
    [
        ("graph.pb", None, None),
        (".", NO_FILE, None),
        ("folder", NO_FILE, None),
        ("", NO_FILE, NO_FILE),  # an empty text is not the current folder
        ("missing", ABSENT, ABSENT),
        ("pipe", NO_FILE, NO_FILE),  # opening a pipe would empty it, or block
    ],
)
def test_a_path_is_absolute_and_names_a_regular_file_or_a_folder(
    text: str, as_file: str | None, as_either: str | None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A daemon that changes its folder later still finds the file."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("graph.pb").touch()
    Path("folder").mkdir()
    for kind, error in ((ReadableFile(), as_file), (ReadableFile(or_folder=True), as_either)):
        if error is None:
            assert kind.parse(text) == tmp_path / text
            assert kind.format(tmp_path / text) == str(tmp_path / text)
        else:
            with pytest.raises(OSError, match=error):
                kind.parse(text)
    assert (ReadableFile(or_folder=True).metavar, ReadableFile().metavar) == ("PATH", "FILE")


def test_an_unreadable_file_or_folder_is_refused() -> None:
    """The kind opens it; the test runs that as a user other than root."""
    root = os.geteuid() == 0
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # so that every user can see the file
        secret, closed = Path(folder, "secret"), Path(folder, "closed")
        secret.touch(mode=0o000)
        closed.mkdir(mode=0o000)
        if root:
            os.seteuid(65534)
        try:
            assert secret.is_file()
            with pytest.raises(PermissionError):
                ReadableFile().parse(str(secret))
            with pytest.raises(PermissionError):
                ReadableFile(or_folder=True).parse(str(closed))
        finally:
            if root:
                os.seteuid(0)
