"""
Write how decoding on threads compares with decoding in processes.

Pure: a measurement in, Markdown out.
"""

from collections.abc import Sequence
from statistics import median

from scripts.bench.kept import Kept
from scripts.bench.markdown import figure, number, paragraphs, table


def section(decode: Kept) -> str:
    """Return the section on decoding."""
    rows: list[Kept] = decode["rows"]
    first = {_kind(row): row for row in reversed(rows)}
    lines = [
        [
            row["size"],
            row["arrangement"] + (" + model" if row.get("model") else ""),
            figure(median(row["images_per_second"])),
            figure(_ratio(row["images_per_second"], first[_kind(row)]["images_per_second"])),
            figure(median(row["cpu_seconds_per_1000"])),
            figure(row["late_p50_ms"]),
            figure(row["late_p99_ms"]),
        ]
        for row in rows
    ]
    head = ["images/s", "ratio", "CPU s per 1000", "late p50 ms", "late p99 ms"]
    return paragraphs(
        "## Decoding: threads against processes",
        f"Without HTTP, {decode['rounds']} rounds of {number(decode['seconds'], 1)} s, turn about;"
        " `python -m scripts.bench.decode`. The ratio is to the first line of the same size, alone"
        " or with the model, within a round. *Late* is how long a thread waits for the interpreter"
        " lock that wants it every millisecond: a reactor would be as late.",
        table(["size", "arrangement", *head], lines, words=2),
    )


def _kind(row: Kept) -> tuple[str, bool]:
    return row["size"], bool(row.get("model"))


def _ratio(rates: Sequence[float], bases: Sequence[float]) -> float | None:
    ratios = [rate / base for rate, base in zip(rates, bases, strict=False) if base]
    return median(ratios) if ratios else None
