"""List the models in the cache folder, for `tensorferry models cached`."""

import click

from model.repository.cache import (
    CachedModel,
    CacheFolder,
    CacheUnavailableError,
    DamagedCacheError,
    user_cache_folder,
)
from scripts.tables import print_table

_HEADINGS = ("MODEL", "SIZE", "CONVERTED", "LICENCE", "PATH")


def print_cached_models() -> None:
    """
    Print the models in the cache folder of the user as a table; read and check every file.

    A damaged model gets a line on standard error.  Raises `click.ClickException` if the folder
    cannot be read.
    """
    try:
        cache = user_cache_folder()
        found = _undamaged_models(cache)
    except CacheUnavailableError as error:
        raise click.ClickException(str(error)) from error
    if not found:
        click.echo(f"no usable model in the cache folder {cache.root}")
        return
    print_table(_HEADINGS, [_row(model) for model in found], numbers=["SIZE"])


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
