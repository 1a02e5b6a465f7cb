"""
`tensorferry models`: list and change the models of a server, or list those in the cache folder.

Imports only click until a command runs, so that --help is fast.
"""

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scripts.load.units import Duration, seconds_in_words
from scripts.model_changes import (
    FAILED,
    INCOMPLETE,
    NOT_SERVED,
    in_states,
    not_labelled,
    not_loaded,
    not_unloaded,
    wait_for,
)
from scripts.tables import print_table
from server.settings.option import printable

if TYPE_CHECKING:
    from scripts.model_client import Model, ModelServer

DEFAULT_URL = "http://127.0.0.1:12480"

_HEADINGS = ("MODEL", "VERSION", "STATE", "LABELS", "REASON")


class _Name(click.ParamType[str]):
    """A name that is not empty, as that of an unset shell variable is."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        if not value:
            self.fail("the name is empty", param, ctx)
        return str(value)


#: Up to the greatest version of a repository; its module takes long to import.
_VERSION = click.IntRange(min=0, max=10**18 - 1)


@click.group()
def models() -> None:
    """
    List and change the models of a server with a model repository.

    load, unload and label change serving.toml of the model, and wait until the server has loaded
    or unloaded the versions that they name. They need the server's --admin-listen socket as URL, or
    its token.
    """


def _with_server(command: Callable[..., None]) -> Callable[..., None]:
    """
    Decorate *command* so that it takes a server and a form of output.

    It gets ``server``, a `ModelServer`, and ``as_json``; an error of the server is reported in one
    line, with exit code 1.
    """

    @click.option(
        "--server",
        "address",
        metavar="URL",
        default=DEFAULT_URL,
        show_default=True,
        help="The server; unix:PATH, /PATH or ./PATH is a unix socket.",
    )
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        help="A file with the token of the server's --admin-token-file.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
    @wraps(command)
    def with_server(address: str, token_file: Path | None, **parameters: object) -> None:
        from scripts.model_client import (  # noqa: PLC0415 - http.client takes 40 ms to import
            ModelServer,
            ModelServerError,
            read_token,
        )

        try:
            token = read_token(token_file) if token_file is not None else ""
            server = ModelServer(address, token)
        except ModelServerError as error:
            raise click.ClickException(str(error)) from error
        except ValueError as error:
            raise click.BadParameter(printable(str(error)), param_hint="--server") from error
        try:
            command(server=server, **parameters)
        except ModelServerError as error:
            raise click.ClickException(str(error)) from error

    return with_server


def _with_wait(command: Callable[..., None]) -> Callable[..., None]:
    """
    Decorate *command* so that it takes options for the wait.

    It gets ``limit``, the longest wait in seconds, or None if it must not wait.
    """

    @click.option(
        "--timeout",
        type=Duration(),
        default="60s",
        show_default=True,
        help="The longest wait until the change has taken effect.",
    )
    @click.option("--no-wait", is_flag=True, help="End when the change is written.")
    @wraps(command)
    def with_limit(timeout: float, no_wait: bool, **parameters: object) -> None:
        command(limit=None if no_wait else timeout, **parameters)

    return with_limit


_version_option = click.option("--version", type=_VERSION, help="This version alone.")


@models.command("list")
@_with_server
def list_models(server: "ModelServer", as_json: bool) -> None:
    """List the versions of all models."""
    found = server.repository()
    if as_json:
        _print_json(found.data)
        return
    if found.models:
        _print_versions(found.models)
    else:
        click.echo(f"no model in the repository of {server.address}")
    for model in found.models:
        if model.problem:
            click.echo(printable(f"{model.name}: {model.problem}"), err=True)


@models.command("show")
@click.argument("name", type=_Name())
@_with_server
def show_model(server: "ModelServer", as_json: bool, name: str) -> None:
    """Show the model NAME, and the state of each version."""
    _print_model(server.model(name), as_json)


@models.command("load")
@click.argument("name", type=_Name())
@_version_option
@_with_wait
@_with_server
def load_model(
    server: "ModelServer", name: str, version: int | None, limit: float | None, as_json: bool
) -> None:
    """
    Serve the model NAME.

    With --version this one is served in addition. Otherwise the versions that serving.toml states
    are served, or the newest if it states none or an empty list. Versions that failed are tried
    again. The exit code is 1 if a version fails, or is not loaded in time.
    """
    awaited = partial(not_loaded, version=version)
    model = _await(server, server.load(name, version), limit, awaited)
    _print_model(model, as_json)
    _check(in_states(model, {FAILED}, version), awaited(model), limit)


@models.command("unload")
@click.argument("name", type=_Name())
@_version_option
@_with_wait
@_with_server
def unload_model(
    server: "ModelServer", name: str, version: int | None, limit: float | None, as_json: bool
) -> None:
    """
    Stop serving the model NAME.

    With --version this one is unloaded, and otherwise all. Accepted requests are answered first.
    The exit code is 1 if a version is not unloaded in time.
    """
    awaited = partial(not_unloaded, version=version)
    model = _await(server, server.unload(name, version), limit, awaited)
    _print_model(model, as_json)
    _check([], awaited(model), limit)


@models.command("label")
@click.argument("name", type=_Name())
@click.argument("label", type=_Name())
@click.argument("version", type=_VERSION, required=False)
@click.option("--remove", is_flag=True, help="Remove the label.")
@_with_wait
@_with_server
def label_version(
    server: "ModelServer",
    name: str,
    label: str,
    version: int | None,
    remove: bool,
    limit: float | None,
    as_json: bool,
) -> None:
    """
    Set or remove a label of the model NAME.

    The label LABEL is set to VERSION, which is then served, unless serving.toml has an empty list
    of versions. The exit code is 1 if the version fails, is incomplete or not served, or is not
    loaded in time.
    """
    if remove == (version is not None):
        raise click.UsageError("give VERSION or --remove, and not both")
    awaited = partial(not_labelled, version=version)
    model = _await(server, server.label(name, label, version), limit, awaited)
    _print_model(model, as_json)
    states = {FAILED, INCOMPLETE, NOT_SERVED}
    wrong = [] if version is None else in_states(model, states, version)
    _check(wrong, awaited(model), limit)


@models.command("cached")
def cached_models() -> None:
    """
    List the models in the cache folder.

    Every file is read and checked. A damaged model is reported on standard error, and converted
    again when it is next needed.
    """
    from scripts.cached_models import print_cached_models  # noqa: PLC0415 - for this command alone

    print_cached_models()


def _await(
    server: "ModelServer",
    model: "Model",
    limit: float | None,
    awaited: "Callable[[Model], list[str]]",
) -> "Model":
    """Return *model* when nothing of it is *awaited*, or after *limit* seconds; None: at once."""
    if limit is None:
        return model
    return wait_for(
        model,
        partial(server.model, model.name),
        awaited,
        timeout=limit,
        seconds=time.monotonic,
        sleep=time.sleep,
    )


def _check(wrong: Sequence[str], late: Sequence[str], limit: float | None) -> None:
    """Raise `click.ClickException` if a version is *wrong* or *late*; not without a wait."""
    if limit is None or not (wrong or late):
        return
    after = [f"after {seconds_in_words(limit)} {line}" for line in late]
    raise click.ClickException(printable("; ".join([*wrong, *after])))


def _print_model(model: "Model", as_json: bool) -> None:
    if as_json:
        _print_json(model.data)
        return
    default = "none" if model.default_version is None else model.default_version
    click.echo(f"weight: {model.weight:g}")
    click.echo(f"default version: {default}")
    if model.problem:
        click.echo(printable(f"problem: {model.problem}"))
    for note in model.notes:
        click.echo(printable(f"note: {note}"))
    click.echo()
    _print_versions([model])


def _print_versions(found: "Collection[Model]") -> None:
    """Print a row for each version; a model without one has a row as well."""
    rows = []
    for model in found:
        rows += [
            (model.name, str(it.version), it.state, ", ".join(it.labels), it.reason)
            for it in model.versions
        ] or [(model.name, "-", "no version", "", "")]
    print_table(_HEADINGS, rows, numbers=["VERSION"])


def _print_json(data: object) -> None:
    import orjson  # noqa: PLC0415 - for this form of output alone

    click.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2))
