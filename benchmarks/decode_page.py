"""
Write how decoding on threads compares with decoding in processes.

Pure: a measurement in, Markdown out.
"""

from collections.abc import Sequence
from statistics import median

from benchmarks.kept import Kept
from benchmarks.markdown import figure, number, paragraphs, table


def section(decode: Kept) -> str:
    """Return the section on decoding."""
    rows: list[Kept] = decode["rows"]
    lines = [
        [
            row["size"],
            row["arrangement"] + (" + model" if row["model"] else ""),
            figure(median(row["images_per_second"])),
            figure(median(per_free_core(row, decode["cores"]))),
            figure(ratio),
            figure(median(row["cpu_seconds_per_1000"])),
            figure(row["late_p50_ms"]),
            figure(row["late_p99_ms"]),
            figure(median(row["others_cores"])),
        ]
        for row, ratio in zip(rows, ratios(rows, decode["cores"]), strict=True)
    ]
    head = ["images/s", "per free core", "ratio", "CPU s per 1000", "late p50 ms", "late p99 ms"]
    return paragraphs(
        "## Decoding: threads against processes",
        f"Without HTTP, {decode['rounds']} rounds of {number(decode['seconds'], 1)} s, turn about;"
        " `python -m benchmarks.decode`. Medians of the rounds. A *free core* is one that other"
        " programs left; without the model no more of them count than there are workers. The ratio"
        " is of that, to the first line of the same size, alone or with the model, within a round."
        " *Late* is how long a thread waits for the interpreter lock that wants it every"
        " millisecond: a reactor would be as late. *Others* are the cores that other programs"
        " used. *0.5 ms* is the interpreter's switch interval, else of 5 ms; *scaled decode* is"
        " `scaled_jpeg_decode`.",
        table(["size", "arrangement", *head, "others"], lines, words=2),
        _costs(decode),
    )


def _costs(decode: Kept) -> str:
    """Say how large the files are, and what a process and each way to copy pixels cost."""
    process, copies = decode["process"], decode["copy_microseconds"]
    told = [f"{name} {figure(each)} µs" for name, each in copies.items()]
    files = [f"{size} {number(each / 1000)} kB" for size, each in decode["file_bytes"].items()]
    return (
        f"The JPEG files, median size: {'; '.join(files)}. A worker process starts in"
        f" {number(process['start_seconds'], 2)} s and holds {number(process['memory_mb'])} MB."
        f" The pixels of an image are copied in: {'; '.join(told)}."
    )


def per_free_core(row: Kept, cores: int) -> list[float]:
    """
    Return the images a second of each round, for each core that other programs left.

    So rounds can be compared in which they left more or less.  Workers that decode and nothing
    else take no more cores than they are.
    """
    most = cores if row["model"] else row["workers"]
    rates = zip(row["images_per_second"], row["others_cores"], strict=True)
    return [rate / max(0.1, min(most, cores - others)) for rate, others in rates]


def ratios(rows: Sequence[Kept], cores: int) -> list[float | None]:
    """
    Return for each row its rate for a free core to that of the first row of its kind.

    Of the ratios within a round the median; None where the first row decoded nothing.
    """
    first: dict[tuple[str, bool], list[float]] = {}
    found: list[float | None] = []
    for row in rows:
        rates = per_free_core(row, cores)
        bases = first.setdefault((row["size"], row["model"]), rates)
        each = [rate / base for rate, base in zip(rates, bases, strict=True) if base]
        found.append(median(each) if each else None)
    return found
