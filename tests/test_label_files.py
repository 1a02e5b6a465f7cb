"""Answers printed in the order of the names: scripts/label_files.py."""

import sys
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.task import Clock

from model.images.errors import NotAnImage
from scripts.label_files import LabelPrinter
from tests.fakes.server import LABELS, FakeInference, scored
from tests.fakes.threads import kinds, outcomes

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with three images, each of which holds its own name."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "c.png"):
        tmp_path.joinpath(name).write_bytes(name.encode())
    return tmp_path


@dataclass
class PrinterHarness:
    """A printer, and a fake inference whose answers the test gives."""

    k: int = 2
    show_names: bool = True
    printed: list[None] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Build it."""
        self.inference = FakeInference(Clock())
        self.printer = LabelPrinter(
            self.inference,
            self.k,
            show_names=self.show_names,
            on_printed=lambda: self.printed.append(None),
        )

    def answer(self, number: int, **scores: float) -> None:
        """Answer the question with this *number*."""
        self.inference.calls[number].answer.callback(
            scored(*(scores.get(label, 0.0) for label in LABELS))
        )

    def refuse(self, number: int, error: Exception) -> None:
        """Let the question with this *number* fail."""
        self.inference.calls[number].answer.errback(error)


def test_answers_come_out_in_the_order_of_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    """In whatever order the answers come."""
    harness = PrinterHarness()
    for name in ("a.png", "b.png", "c.png"):
        harness.printer.label(name)
    prepared = [cast("Any", call.call.prepare).args for call in harness.inference.calls]
    assert prepared == [(b"a.png",), (b"b.png",), (b"c.png",)]
    harness.answer(2, eel=1.0, dog=0.5)
    harness.answer(1, dog=0.5, cat=0.25)
    assert capsys.readouterr() == ("", "")
    assert harness.printed == []
    harness.answer(0, cat=1 / 3, eel=0.125)
    assert capsys.readouterr().out == (
        "a.png:\ncat (score = 0.33333)\neel (score = 0.12500)\n"
        "b.png:\ndog (score = 0.50000)\ncat (score = 0.25000)\n"
        "c.png:\neel (score = 1.00000)\ndog (score = 0.50000)\n"
    )
    assert len(harness.printed) == 3
    assert not harness.printer.failed


def test_a_lone_image_needs_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    """As label_image has it."""
    harness = PrinterHarness(k=1, show_names=False)
    harness.printer.label("a.png")
    harness.answer(0, cat=0.5)
    assert capsys.readouterr().out == "cat (score = 0.50000)\n"


@pytest.mark.parametrize(("wanted", "k"), [(1, 1), (3, 3), (5, 3)])
def test_no_more_labels_are_wanted_than_there_are(wanted: int, k: int) -> None:
    """The model has three."""
    harness = PrinterHarness(k=wanted)
    harness.printer.label("a.png")
    labels = harness.inference.calls[0].call.finish(scored(0.5, 0.25, 0.125))
    assert len(labels) == k


def test_a_file_that_cannot_be_labelled_gets_a_line_of_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, in its turn; the other files are labelled."""
    folder.joinpath("folder").mkdir()
    harness = PrinterHarness(k=1)
    for name in ("a.png", "missing.png", "folder", "b.png", "c.png"):
        harness.printer.label(name)
    harness.refuse(1, NotAnImage("text", 5))
    harness.answer(2, eel=1.0)
    assert capsys.readouterr() == ("", "")
    harness.answer(0, cat=1.0)
    out, err = capsys.readouterr()
    assert out == "a.png:\ncat (score = 1.00000)\nc.png:\neel (score = 1.00000)\n"
    assert err == (
        "missing.png: No such file or directory\n"
        "folder: a folder without images "
        "(.bmp, .gif, .jfif, .jpe, .jpeg, .jpg, .png, .webp)\n"
        f"b.png: {NotAnImage('text', 5)}\n"
    )
    assert len(harness.printed) == 5
    assert harness.printer.failed


def test_a_name_that_is_no_text_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A file may have any name."""
    harness = PrinterHarness()
    harness.printer.label("missing-\udcff.png")
    err = capsys.readouterr().err
    assert err.startswith("missing-")
    assert err.endswith(".png: No such file or directory\n")


def test_the_end_comes_after_the_last_answer() -> None:
    """Once."""
    harness = PrinterHarness()
    ended: list[str] = []
    for name in ("a.png", "b.png"):
        harness.printer.label(name)
    harness.answer(1, cat=1.0)
    harness.printer.end(lambda: ended.append("ended"))
    assert ended == []
    harness.answer(0, cat=1.0)
    assert ended == ["ended"]


@pytest.mark.parametrize("names", [[], ["a.png"], ["missing.png"]])
def test_the_end_comes_at_once_where_nothing_waits(names: list[str]) -> None:
    """No names at all, or all of them printed."""
    harness = PrinterHarness()
    ended: list[str] = []
    for name in names:
        harness.printer.label(name)
    for call in harness.inference.calls:
        call.answer.callback(scored(1.0, 0.0, 0.0))
    harness.printer.end(lambda: ended.append("ended"))
    assert ended == ["ended"]


def test_a_closed_standard_output_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the caller of `label`, because no further label can be printed."""

    class Closed(StringIO):
        """A pipe without a reader."""

        def write(self, text: str) -> int:
            """Refuse *text*."""
            raise BrokenPipeError

    harness = PrinterHarness()
    fired = outcomes(harness.printer.label("a.png"))
    monkeypatch.setattr(sys, "stdout", Closed())
    harness.answer(0, cat=1.0)
    assert kinds(fired) == [BrokenPipeError]
