"""
Format rows of figures as a table.

Pure.  The table is aligned for a terminal, and is valid Markdown too.  The column heads are the
keys of the rows, as in the JSON files; a figure that was not measured is a dash.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

DASH = "-"


def number(value: float | None, digits: int = 0) -> str:
    """
    Return *value* as text with *digits* decimals and commas between thousands; None is a dash.
    """
    return DASH if value is None else f"{value:,.{digits}f}"


def figure(value: float | None) -> str:
    """Return *value* as text: an integer in full, any other number with at least three digits."""
    if value is None or isinstance(value, int):
        return number(value)
    return number(value, 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3)


def middle(values: Iterable[float | None]) -> float | None:
    """Return the median of the *values* that are not None; None if there are no such values."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """
    Return a table of *rows*; of a list of figures it has the median.

    A column that is empty in all rows is left out.
    """
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if _any(rows, key)]
    words = {key for key in keys if any(isinstance(row.get(key), str) for row in rows)}
    lines = [keys, *([_cell(row.get(key)) for key in keys] for row in rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    sides = [
        "-" * width if key in words else "-" * (width - 1) + ":"
        for key, width in zip(keys, widths, strict=True)
    ]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if key in words else cell.rjust(width)
            for key, cell, width in zip(keys, line, widths, strict=True)
        )
        + " |"
        for line in (lines[0], sides, *lines[1:])
    )


def _any(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    return any(_cell(row.get(key)) != DASH for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return figure(middle(value) if isinstance(value, list) else value)
