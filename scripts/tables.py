"""
Print a table: fitted to the width of a terminal, aligned plain text in a pipe or a file.

The text of a cell may come from a server or a file: control characters in it are escaped.
"""

import sys
from collections.abc import Sequence

import click

from server.settings.option import printable


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()
) -> None:
    """
    Print *rows* below *headings* on standard output.

    On a terminal, long cells are folded, and the columns whose headings are in *numbers* are
    aligned to the right.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_folded(headings, cells, numbers)
    else:
        click.echo(_aligned([headings, *cells]))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* as aligned lines, two spaces between columns, for a pipe or a file."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _print_folded(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]
) -> None:
    """Print *rows* as a table that fits the width of the terminal; long cells are folded."""
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(
            heading, overflow="fold", justify="right" if heading in numbers else "left"
        )
    for row in rows:
        table.add_row(*map(Text, row))  # Text: brackets in a cell are no markup
    Console().print(table)
