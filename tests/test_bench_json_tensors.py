"""The benchmark of JSON tensors: benchmarks/json_tensors.py."""

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import json_tensors
from benchmarks.json_tensors import Case, main, ratio_of, reading, report, writing


def test_both_ways_have_the_same_result() -> None:
    """The array, and the text."""
    array = np.random.default_rng(0).random((40, 30), dtype=np.float32)
    read, written = reading("x", array), writing("x", array)
    for way in (read.plain, read.ours):
        np.testing.assert_array_equal(way(), array)
    assert written.plain() == written.ours()
    assert read.size == written.size > 10_000


def test_a_ratio_is_taken_within_a_round() -> None:
    """With its standard error."""
    alike = {"plain_ms": [10.0, 20.0, 40.0], "ours_ms": [5.0, 10.0, 20.0]}
    assert ratio_of(alike) == pytest.approx([0.5, 0.0])
    uneven = {"plain_ms": [1.0, 1.0], "ours_ms": [0.5, 2.0]}
    assert ratio_of(uneven) == pytest.approx([1.0, np.log(2)])
    assert ratio_of({"plain_ms": [1.0], "ours_ms": [2.0]})[1] == 0.0


@pytest.mark.full
def test_each_way_is_measured_in_each_round_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As JSON, where a file is named."""
    calls = {"plain": count(), "ours": count()}
    case = Case("read", 7, lambda: next(calls["plain"]), lambda: next(calls["ours"]))
    monkeypatch.setattr(json_tensors, "cases", lambda: [case])
    monkeypatch.setattr(json_tensors, "LEAST", 0.0)
    file = tmp_path / "json.json"
    result = CliRunner().invoke(
        main, ["--rounds", "3", "--json", str(file)], catch_exceptions=False
    )
    kept = json.loads(file.read_text())
    assert result.output.rstrip() == report(kept)
    figures = kept["cases"]["read"]
    assert figures.pop("bytes") == 7
    assert list(figures) == ["plain_ms", "ours_ms", "plain_delay_ms", "ours_delay_ms"]
    assert {len(each) for each in figures.values()} == {3}
    assert (next(calls["plain"]), next(calls["ours"])) == (7, 6)
