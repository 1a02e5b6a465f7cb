"""The benchmark of decoding, without its threads, processes and model: benchmarks/decode.py."""

import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock, deferLater

from benchmarks.decode import IN_FLIGHT, Arrangement, Pixels, conditions, measure, table
from benchmarks.machine import this_machine
from benchmarks.photos import large_photos, small_photos

PIXELS = np.zeros((2, 2, 3), np.uint8)


class FakeTicks:
    """A ticker that was late by 1 ms and by 3 ms."""

    def taken(self) -> Sequence[float]:
        """Return both."""
        return [0.003, 0.001]


def measured(clock: Clock, seen: list[float]) -> Deferred[list[dict[str, Any]]]:
    """Measure decoding that takes a quarter of a second, with a model that takes none."""

    def decode(_: bytes) -> Deferred[Pixels]:
        return deferLater(clock, 0.25, lambda: PIXELS)

    def run(_: Pixels) -> Deferred[None]:
        seen.append(sys.getswitchinterval())
        return succeed(None)

    arranged = [("2x2", Arrangement("fake", 1, decode, switch_interval=0.25))]
    photos = {"2x2": [b"a", b"b"]}
    return ensureDeferred(measure(clock, FakeTicks(), arranged, run, photos, 2, 1.0))


def test_each_round_counts_what_was_decoded_in_its_time() -> None:
    """Alone and with the model, which runs whatever was decoded."""
    clock, usual = Clock(), sys.getswitchinterval()
    seen: list[float] = []
    rows: list[dict[str, Any]] = []
    measured(clock, seen).addCallback(rows.extend)
    clock.pump([0.25] * 40)
    alone, both = rows
    assert [alone["model"], both["model"]] == [False, True]
    for row in (alone, both):
        assert (row["size"], row["arrangement"]) == ("2x2", "fake")
        assert row["images_per_second"] == [4 * IN_FLIGHT] * 2
        assert len(row["cpu_seconds_per_1000"]) == len(row["others_cores"]) == 2
        assert (row["late_p50_ms"], row["late_p99_ms"], row["late_max_ms"]) == (1, 3, 3)
    assert set(seen) == {0.25}
    assert sys.getswitchinterval() == usual


def row(
    arrangement: str, workers: int, rates: list[float], others: list[float], *, model: bool = False
) -> dict[str, Any]:
    """Return a row as it is written into a file."""
    late = dict.fromkeys(("late_p50_ms", "late_p99_ms", "late_max_ms"), 1.0)
    return {
        "size": "2x2",
        "arrangement": arrangement,
        "workers": workers,
        "model": model,
        "images_per_second": rates,
        "cpu_seconds_per_1000": [2.0] * len(rates),
        "others_cores": others,
        **late,
    }


def test_the_table_compares_by_the_cores_that_others_left() -> None:
    """A round in which one of two cores was taken counts as much as one in which none was."""
    rows = [
        row("1 thread", 1, [100.0, 90.0, 100.0], [0.0, 1.0, 0.0]),
        row("2 threads", 2, [180.0, 90.0, 190.0], [0.0, 1.0, 0.0]),
        row("1 thread", 1, [30.0], [0.0], model=True),
    ]
    _, first, second, third, *_ = table(rows, cores=2).splitlines()
    assert first.split()[:6] == ["2x2", "1", "thread", "100.00", "100.00", "1.00"]
    assert second.split()[:6] == ["2x2", "2", "threads", "180.00", "90.00", "0.95"]
    assert third.split()[:8] == ["2x2", "1", "thread", "+", "model", "30.00", "15.00", "1.00"]


def test_the_machine_is_told_as_by_every_other_measurement() -> None:
    """So that the page names it once."""
    assert conditions(5, 3.0, None)["machine"] == this_machine()


@pytest.mark.parametrize("make", [small_photos, large_photos])
def test_the_photographs_have_the_size_that_was_asked_for(
    make: Callable[[int, int], list[bytes]],
) -> None:
    """Five JPEG files, no two of them alike."""
    files = make(96, 54)
    assert len(set(files)) == len(files) == 5
    for file in files:
        with Image.open(BytesIO(file)) as image:
            assert (image.format, image.size) == ("JPEG", (96, 54))
