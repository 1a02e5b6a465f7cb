"""How measurements are kept and printed: benchmarks/kept.py, tables.py, served.py and loads.py."""

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from benchmarks.kept import DIRTY, commit_of, dumped, stamped, write
from benchmarks.loads import row
from benchmarks.machine import this_machine
from benchmarks.profile import cpu_seconds
from benchmarks.served import DATA, WORKLOADS, checked_data, load_test, shown
from benchmarks.tables import figure, table


def git(root: Path, *words: str) -> str:
    """Run git in *root* and return its output."""
    author = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    done = subprocess.run(
        ["git", *author, *words], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with one commit."""
    git(tmp_path, "init", "-q")
    (tmp_path / "docs").mkdir()
    for name in ("code.py", "docs/page.md"):
        (tmp_path / name).write_text("x")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "x")
    return tmp_path


def test_a_measurement_states_its_commit_date_and_machine(clone: Path, tmp_path: Path) -> None:
    """In front of its figures."""
    before = datetime.now(UTC).replace(microsecond=0)
    kept = stamped("load", {"rate": 5}, clone)
    assert list(kept) == ["what", "commit", "date", "machine", "rate"]
    assert kept["commit"] == git(clone, "rev-parse", "HEAD")
    assert before <= datetime.fromisoformat(kept["date"]) <= datetime.now(UTC)
    assert {"cpu", "cores", "memory_gib", "python", "tensorflow"} <= set(kept["machine"])
    file = tmp_path / "new" / "load.json"
    write(file, kept)
    assert json.loads(file.read_text()) == kept


def test_a_changed_file_marks_the_commit(clone: Path) -> None:
    """A page does not, nor a file that git does not track; outside a clone there is no commit."""
    commit = git(clone, "rev-parse", "HEAD")
    (clone / "docs/page.md").write_text("y")
    (clone / "result.json").write_text("y")
    assert commit_of(clone) == commit
    (clone / "code.py").write_text("y")
    assert commit_of(clone) == commit + DIRTY
    assert commit_of(Path("/")) is None


def test_the_machine_is_described_without_its_name() -> None:
    """The figures depend on neither the host nor the build of the kernel."""
    machine = this_machine()
    assert machine["cores"] == os.cpu_count()
    assert machine["tensorflow"]
    assert os.uname().nodename not in json.dumps(machine)


def test_a_file_has_a_line_for_each_row() -> None:
    """So that the difference between two measurements can be read."""
    text = dumped({"what": "x", "none": [], "rows": [{"a": 1}, {"b": [2, 3]}], "m": {"c": 4}})
    assert text.splitlines()[3:6] == ['"rows": [', ' {"a": 1},', ' {"b": [2, 3]}']
    assert json.loads(text)["m"] == {"c": 4}


def test_a_table_is_aligned_and_leaves_out_empty_columns() -> None:
    """Of a list the median of its known figures counts."""
    rows: list[dict[str, Any]] = [
        {"name": "a", "rate": [1.0, None, 2.0], "p99": None},
        {"name": "bcde", "rate": 1234.5},
    ]
    assert table(rows).splitlines() == [
        "| name |  rate |",
        "| ---- | ----: |",
        "| a    | 1.500 |",
        "| bcde | 1,234 |",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.125, "0.125"),
        (99.96, "100.0"),
        (1234.5, "1,234"),
        (7, "7"),
        (12345, "12,345"),
    ],
)
def test_a_figure_has_at_least_three_digits(value: float | None, text: str) -> None:
    """An integer has all of its digits and no more."""
    assert figure(value) == text


def test_a_load_test_sends_the_body_of_its_workload(tmp_path: Path) -> None:
    """With its content type and further options; it is shown without folders and the URL."""
    file, trace = tmp_path / "load.json", tmp_path / "a trace.txt"
    command = load_test(WORKLOADS["B"], "http://x:9/", tmp_path, file, "--arrivals", trace)
    options: dict[Any, Any] = dict(zip(command[5::2], command[6::2], strict=True))
    assert command[2:5] == ["scripts.cli", "loadtest", "http://x:9/"]
    assert options == {
        "--body": tmp_path / "photo.jpg", "--content-type": "image/jpeg", "--warmup": "3.0",
        "--json": file, "--arrivals": trace,
    }  # fmt: skip
    assert shown(command) == (
        "tensorferry loadtest URL --body photo.jpg --content-type image/jpeg"
        " --warmup 3.0 --json load.json --arrivals 'a trace.txt'"
    )


def test_a_load_keeps_the_figures_that_are_printed() -> None:
    """And its warnings; bodies and the URL are left out."""
    figures = {"url": "http://x/", "rate": 5.0, "examples": {"429": "later"}, "warnings": ["late"]}
    expected = {"name": "60%", "command": "load", "rate": 5.0, "warnings": ["late"]}
    assert row("60%", "load", figures) == expected


def test_missing_data_name_the_command_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default they are in the work folder of benchmarks/peers."""
    monkeypatch.setenv("PEERS_WORK", str(tmp_path))
    with pytest.raises(click.UsageError, match=r"benchmarks\.peers\.run setup"):
        checked_data(None, None, None)
    (tmp_path / "data").mkdir()
    for name in DATA:
        (tmp_path / "data" / name).touch()
    assert checked_data(None, None, None) == tmp_path / "data"


def test_the_cpu_of_each_thread_comes_from_the_kernel() -> None:
    """At least the first thread of this process has used some."""
    name, seconds = cpu_seconds(os.getpid())[os.getpid()]
    assert name
    assert seconds > 0
