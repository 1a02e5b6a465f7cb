"""
The times that simulated runs take: built in, or read from a file.

Pure, except `read_service`.  Durations are seconds.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The largest batch, in rows.
MAX_ROWS = 65_536

#: The shortest and the longest run: other times are probably in another unit.
MIN_SECONDS, MAX_SECONDS = 1e-6, 3600.0

#: Rates that differ by no more, relative to each other, are equal.
RATE_TOLERANCE = 1e-9

#: The largest file of latencies, in bytes.
MAX_FILE_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Service:
    """The time of a run on one lane, for each number of rows."""

    name: str
    seconds: tuple[float, ...]  #: of a run by its rows; index 0 is 0.0
    sizes: tuple[int, ...]  #: the rows of the batches that a warm-up measures, ascending

    @property
    def cap(self) -> int:
        """The largest number of rows of a run."""
        return len(self.seconds) - 1

    @property
    def knee(self) -> int:
        """The fewest rows whose runs reach the most rows per second, within `RATE_TOLERANCE`."""
        rates = [self.rate(rows) for rows in range(1, self.cap + 1)]
        enough = max(rates) * (1 - RATE_TOLERANCE)
        return 1 + next(at for at, rate in enumerate(rates) if rate >= enough)

    @property
    def best_rate(self) -> float:
        """The most rows per second of one lane: those of runs at the knee."""
        return self.rate(self.knee)

    def rate(self, rows: int) -> float:
        """Return the rows per second of a lane whose runs all have *rows* rows."""
        return rows / self.seconds[rows]


def _gpu(rows: int) -> float:
    """
    Return the milliseconds of a run on a GPU.

    Beyond 64 rows, every 32 rows or part of them add a wave of equal length.
    """
    return 4.0 + 0.1 * rows if rows <= 64 else 10.4 + 5.2 * -(-(rows - 64) // 32)


def _padded(rows: int) -> float:
    """Return the milliseconds of a run that pads its batch to the next power of two."""
    return 4.0 + 0.1 * (1 << (rows - 1).bit_length())


def _cpu(rows: int) -> float:
    """Return the milliseconds of a run on a CPU: a small overhead, and equal time for each row."""
    return 2.0 + 12.0 * rows


#: Milliseconds of a run by its rows, and the most rows.
BUILT_IN: dict[str, tuple[Callable[[int], float], int]] = {
    "gpu": (_gpu, 128),
    "pad": (_padded, 64),
    "cpu": (_cpu, 32),
}


def built_in(name: str) -> Service:
    """
    Return the service *name*, a key of `BUILT_IN`; its warm-up measures batches of 1, 2, 4... rows.
    """
    milliseconds, cap = BUILT_IN[name]
    return Service(
        name,
        (0.0, *(milliseconds(rows) * 1e-3 for rows in range(1, cap + 1))),
        tuple(1 << power for power in range(cap.bit_length())),
    )


def measured(name: str, points: Mapping[int, float]) -> Service:
    """
    Return a service whose runs take the times *points*: seconds by number of rows, at least one.

    Between two points the time is interpolated linearly.
    """
    sizes = sorted(points)
    return Service(
        name, (0.0, *(_between(points, sizes, rows) for rows in range(1, sizes[-1] + 1))),
        tuple(sizes),
    )  # fmt: skip


def _between(points: Mapping[int, float], sizes: list[int], rows: int) -> float:
    """
    Return the seconds of a run of *rows* rows; *sizes* has the keys of *points*, ascending.

    Below the smallest size, the seconds are those of that size.
    """
    above = bisect_left(sizes, rows)
    if above == 0 or sizes[above] == rows:
        return points[sizes[above]]
    low, high = sizes[above - 1], sizes[above]
    share = (rows - low) / (high - low)
    return points[low] + share * (points[high] - points[low])


def read_service(path: Path) -> Service:
    """
    Return the service in the JSON file at *path*: ``{"1": 0.0041, "2": 0.0042}``, seconds by rows.

    Raises OSError if the file cannot be read, and ValueError, with a message of one line, for other
    content.
    """
    with path.open("rb") as file:
        text = file.read(MAX_FILE_BYTES + 1)
    if len(text) > MAX_FILE_BYTES:
        raise ValueError(f"expected at most {MAX_FILE_BYTES:,} bytes")
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(pairs, list) or not pairs or not all(isinstance(at, tuple) for at in pairs):
        raise ValueError('expected seconds by rows, such as {"1": 0.004, "8": 0.006}')
    points: dict[int, float] = {}
    for rows, seconds in pairs:
        if not re.fullmatch("[1-9][0-9]{0,9}", rows, re.ASCII) or int(rows) > MAX_ROWS:
            raise ValueError(f"expected rows from 1 to {MAX_ROWS:,}, got {rows[:40]!r}")
        if int(rows) in points:
            raise ValueError(f"{rows} rows are given twice")
        if not _are_seconds(seconds):
            raise ValueError(
                f"expected from a microsecond to an hour for {rows} rows, in seconds; "
                f"got {str(seconds)[:40]}"
            )
        points[int(rows)] = float(seconds)
    return measured(path.name, points)


def _are_seconds(value: Any) -> bool:
    """
    Return whether *value*, from JSON, is a number from `MIN_SECONDS` to `MAX_SECONDS`; NaN is not.
    """
    return type(value) in (int, float) and MIN_SECONDS <= value <= MAX_SECONDS
