"""Whether other programs disturbed a measurement: model/execution/disturbance.py."""

import os
import time
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from model.execution.disturbance import (
    OtherPrograms,
    cpu_seconds_of_others,
    disturbance,
    quartiles,
)

EVEN = [1.0, 1.02, 0.98, 1.0, 1.05]
STALLED = [1.0, 1.0, 1.0, 1.0, 9.0]
A_QUARTER = "a quarter of the runs took at least 1.6 times as long as usual"
UNEVEN = [1.0, 1.0, 1.0, 1.6, 1.7]


@pytest.mark.parametrize(
    ("times", "share", "reason"),
    [
        ([EVEN], 0.0, None),
        ([EVEN], None, None),
        ([[1.0]], None, None),
        ([EVEN], 0.15, None),
        ([EVEN], 0.16, "other programs used 16% of the cores"),
        ([EVEN, EVEN], 1.0, "other programs used 100% of the cores"),
        ([STALLED], 0.0, None),
        ([UNEVEN], 0.0, None),
        ([UNEVEN], None, A_QUARTER),
        ([STALLED], None, None),
        ([EVEN, UNEVEN, EVEN], None, None),
        ([UNEVEN, EVEN, UNEVEN], None, A_QUARTER),
    ],
)
def test_a_measurement_is_disturbed_if_cores_are_taken(
    times: list[list[float]], share: float | None, reason: str | None
) -> None:
    """If that is unknown, if the runs of most sizes are uneven; one stalled run does not count."""
    assert disturbance(times, share) == reason


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([3.0], (3.0, 3.0, 3.0)),
        ([3.0, 1.0], (1.5, 2.0, 2.5)),
        ([5.0, 1.0, 2.0, 4.0, 3.0], (2.0, 3.0, 4.0)),
    ],
)
def test_quartiles_are_those_of_the_runs_themselves(
    times: list[float], expected: tuple[float, float, float]
) -> None:
    """In any order, and of as little as one run."""
    assert quartiles(times) == expected


@pytest.mark.parametrize(
    ("readings", "seconds", "all_cores", "share"),
    [
        ((10.0, 14.0), 4.0, 2, 0.5),
        ((10.0, 14.0), 2.0, 3, 0.5),  # others use two cores, and one of them is not ours
        ((10.0, 14.0), 2.0, 64, 0.0),
        ((10.0, 14.0), 1.0, 2, 1.0),
        ((10.0, 9.98), 2.0, 2, 0.0),  # the kernel's count is coarser than that of the process
        ((10.0, 14.0), 0.05, 2, None),
        ((None, 14.0), 2.0, 2, None),
        ((10.0, None), 2.0, 2, None),
    ],
)
def test_others_take_a_share_if_they_use_more_than_the_spare_cores(
    readings: tuple[float | None, float | None],
    seconds: float,
    all_cores: int,
    share: float | None,
) -> None:
    """On average since the start; None if the time is short or the use is unknown."""
    clock, values = Clock(), iter(readings)
    others = OtherPrograms(clock.seconds, lambda: next(values), 2, all_cores)
    clock.advance(seconds)
    assert others.share() == share


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("cpu  100 20 30 9999 9999 4 5 6 7 8\ncpu0 1 1 1 1 1 1 1 1 0 0\n", 165),
        ("cpu  100 20 30 9999 9999 4 5 6\n", 165),
        ("cpu  100 20 30 9999\n", None),
        ("cpu  a b c d e f g h\n", None),
        ("", None),
        (None, None),
    ],
)
def test_the_time_of_others_is_the_busy_time_without_that_of_this_process(
    text: str | None, seconds: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In steps of the kernel's clock; neither idle time nor waits for a disk count."""
    monkeypatch.setattr(time, "process_time", lambda: 0.25)
    if text is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/stat").write_text(text)
    ticks = os.sysconf("SC_CLK_TCK")
    expected = None if seconds is None else seconds / ticks - 0.25
    assert cpu_seconds_of_others(tmp_path) == expected
