"""How measurements are taken, kept and written: benchmarks/performance.py and kept.py."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import kept
from benchmarks.page import page
from benchmarks.performance import FOLDER, MEASURES, PAGE, Means, main, write_page
from benchmarks.served import DATA
from tests.bench_samples import ALL


def test_the_page_and_its_plots_are_written_from_what_is_kept(tmp_path: Path) -> None:
    """And what is kept is read back as it was written."""
    for kind, measured in ALL.items():
        kept.write(tmp_path / FOLDER, kind, measured)
    assert kept.read_all(tmp_path / FOLDER) == ALL
    write_page(tmp_path)
    text = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert text == page(ALL)
    for name in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_measurement_is_kept_with_a_row_a_line() -> None:
    """So that a new one can be read as a difference."""
    text = kept.dumped({"what": "x", "none": [], "rows": [{"a": 1}, {"b": [2, 3]}], "m": {"c": 4}})
    assert text.splitlines()[3:6] == ['"rows": [', ' {"a": 1},', ' {"b": [2, 3]}']
    assert json.loads(text)["m"] == {"c": 4}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--measure", "--only", "weather"],
            f"--only takes {', '.join(kept.KINDS)}, not weather",
        ),
        (["--measure"], "--peers is missing: the folder of the yardstick"),
        (["--measure", "--peers", "."], "no run.py in it: ."),
        (["--measure", "--only", "decode,replay", "--peers", "p"], "--trace is missing: a file of"),
        (
            ["--measure", "--only", "loadtest", "--peers", "bare"],
            "run.py setup makes what is missing",
        ),
        (
            ["--measure", "--only", "replay", "--peers", "p", "--trace", "p/run.py"],
            "--trace: line 1: expected seconds",
        ),
        (
            ["--measure", "--only", "decode", "--", "--rounds", "1"],
            "BENCH_OPTIONS are for the yardstick, which is not measured",
        ),
        (["--measure", "--results", "p/run.py"], "--results is for a yardstick that is not"),
        (["--only", "decode"], "--only says what to measure: --measure is missing"),
        (["--trace", "p/run.py"], "--trace says what to measure: --measure is missing"),
        (["--", "--rounds", "1"], "BENCH_OPTIONS says what to measure: --measure is missing"),
        (["--measure", "--trace-source", "a shop"], "--trace-source tells of a --trace"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is measured: p holds a yardstick, and bare one that lacks some data."""

    def take(_: Means) -> dict[str, Any]:
        raise AssertionError("something was measured")

    for kind, how in MEASURES.items():
        monkeypatch.setitem(MEASURES, kind, replace(how, take=take))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEERS_WORK", raising=False)
    made(tmp_path / "p")
    (made(tmp_path / "bare") / DATA[0]).unlink()
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert complaint in result.output


def made(peers: Path) -> Path:
    """Return the data, all empty, of a yardstick at *peers*."""
    data = peers / ".work" / "data"
    data.mkdir(parents=True)
    for name in DATA:
        (data / name).touch()
    (peers / "run.py").write_text("print()\n", encoding="utf-8")
    return data


def test_the_data_lie_where_the_yardstick_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the variable that it obeys says, else in its own folder."""
    monkeypatch.delenv("PEERS_WORK", raising=False)
    data = made(tmp_path)
    assert Means(peers=tmp_path).data() == data
    monkeypatch.setenv("PEERS_WORK", str(data.parent))
    assert Means().data() == data
