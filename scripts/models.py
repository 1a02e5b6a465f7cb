"""`tensorferry models`: list the models in the cache folder."""

import sys
from collections.abc import Sequence

import click

from model.repository.cache import (
    CachedModel,
    CacheFolder,
    CacheUnavailableError,
    DamagedCacheError,
    user_cache_folder,
)

_HEADINGS = ("MODEL", "SIZE", "CONVERTED", "LICENCE", "PATH")


@click.command()
def models() -> None:
    """
    List the models in the cache folder.

    Every file is read and checked. A damaged model is reported on standard error, and converted
    again when it is next needed.
    """
    try:
        cache = user_cache_folder()
        found = _undamaged_models(cache)
    except CacheUnavailableError as error:
        raise click.ClickException(str(error)) from error
    if not found:
        click.echo(f"no usable model in the cache folder {cache.root}")
        return
    rows = [_row(model) for model in found]
    if sys.stdout.isatty():
        _print_table(rows)
    else:
        click.echo(_aligned([_HEADINGS, *rows]))


def _undamaged_models(cache: CacheFolder) -> list[CachedModel]:
    found = []
    for name, version in cache.model_names():
        try:
            model = cache.find(name, version)
        except DamagedCacheError as damage:
            click.echo(str(damage), err=True)
            continue
        if model is not None:
            found.append(model)
    return found


def _row(model: CachedModel) -> tuple[str, ...]:
    return (
        f"{model.name}/{model.version}",
        f"{model.size / 1e6:.1f} MB",
        f"{model.created:%Y-%m-%d}",
        model.licence,
        str(model.path),
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Return *rows* as aligned lines, two spaces between columns, for a pipe or a file."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print *rows* as a table that fits the width of the terminal; long cells are folded."""
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.table import Table  # noqa: PLC0415 - the same

    table = Table(box=None, pad_edge=False)
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold", justify="right" if heading == "SIZE" else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
