"""The files that `tensorferry classify` labels, and its messages: scripts/classify.py."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.classify import classify
from scripts.image_files import files_of
from server.settings.table import Settings
from tests.integration.servers import TENSORFERRY

LOADING = b"loading the model\r\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with files and folders of all kinds."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "c.txt", "photos/2.webp", "photos/10.jpeg", "photos/note.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for name in ("photos/.hidden.jpg", "photos/inner/3.jpg", "photos/folder.jpg/x", "empty/x.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["b.jpg", "c.txt", "absent.jpg"], ["b.jpg", "c.txt", "absent.jpg"]),
        (["photos"], ["photos/10.jpeg", "photos/2.webp"]),
        (["photos/", "b.jpg"], ["photos/10.jpeg", "photos/2.webp", "b.jpg"]),
        (["."], ["a.PNG", "b.jpg"]),
        (["empty", "b.jpg"], ["empty", "b.jpg"]),
        (["\0", "a\udcff"], ["\0", "a\udcff"]),
    ],
)
def test_a_folder_stands_for_its_images(names: list[str], files: list[str]) -> None:
    """By name, not for those in folders within; any other name stands for itself."""
    assert list(files_of(names)) == files


@pytest.mark.parametrize(
    ("arguments", "files", "show_names"),
    [
        (["b.jpg"], ["b.jpg"], False),
        (["--image", "b.jpg"], ["b.jpg"], False),
        (["a.PNG", "b.jpg"], ["a.PNG", "b.jpg"], True),
        (["a.PNG", "--image=b.jpg"], ["b.jpg", "a.PNG"], True),
        (["photos"], ["photos/10.jpeg", "photos/2.webp"], True),
        (["--", "-odd.jpg"], ["-odd.jpg"], False),
    ],
)
def test_files_and_folders_are_arguments(
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    files: list[str],
    *,
    show_names: bool,
) -> None:
    """As options, too, as label_image has it; one file alone needs no name above its labels."""
    ran: list[tuple[list[str], bool]] = []

    class FakeRun:
        """Keeps what would be labelled."""

        def __init__(self, _: Settings, names: Iterable[str], *, show_names: bool) -> None:
            ran.append((list(names), show_names))

        def run(self) -> int:
            """Label nothing."""
            return 0

    monkeypatch.setattr("scripts.label_files.LabelRun", FakeRun)
    result = CliRunner().invoke(classify, arguments)
    assert (result.exit_code, result.output, result.exception) == (0, "", None)
    assert ran == [(files, show_names)]


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        ([], b"reading file names from the terminal, one per line; Ctrl-D ends\r\n" + LOADING),
        (["b.jpg"], LOADING),
    ],
)  # fmt: skip
def test_a_terminal_shows_at_once_what_happens(arguments: list[str], start: bytes) -> None:
    """Before the model is loaded."""
    here, there = os.openpty()
    with subprocess.Popen(
        [*TENSORFERRY, "classify", *arguments],
        stdin=there, stdout=subprocess.DEVNULL, stderr=there,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    ) as process:  # fmt: skip
        os.close(there)
        received = b""
        while len(received) < len(start):
            received += os.read(here, 1000)
        process.kill()
    os.close(here)
    assert received.startswith(start)
