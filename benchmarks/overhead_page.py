"""
Write what the batcher costs of each request, beside a Deferred.

Pure: a measurement in, Markdown out.
"""

from statistics import median

from benchmarks.kept import Kept
from benchmarks.markdown import figure, number, paragraphs, table


def section(overhead: Kept) -> str:
    """Return the section on the batcher's own cost."""
    costs: dict[str, list[float]] = overhead["microseconds"]
    rows = []
    for name, each in costs.items():
        beside = ratios(overhead, name)
        figures = (median(each), median(beside), min(beside), max(beside))
        rows.append([name, *map(figure, figures)])
    return paragraphs(
        "## What the batcher costs",
        f"The CPU of one request from submit to answer, with a lane that runs nothing, in batches"
        f" of {overhead['batch']} that were submitted while the lane was busy;"
        f" `python -m benchmarks.overhead`. Medians of {len(next(iter(costs.values())))} rounds"
        f" of {number(overhead['requests'])} requests, turn about; a ratio is taken within a round."
        " What the server gives a request: a deadline, a priority, whose connection it came on,"
        " and a trace to be filled in.",
        table(["request", "CPU µs", "ratio", "least", "most"], rows),
    )


def ratios(overhead: Kept, name: str) -> list[float]:
    """Return what *name* costs beside what stands first, in each round."""
    costs: dict[str, list[float]] = overhead["microseconds"]
    first = next(iter(costs.values()))
    return [cost / base for cost, base in zip(costs[name], first, strict=True)]
