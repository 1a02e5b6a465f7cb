"""
The settings of the registry as options of a click command.

Imports click, and no Klein or reactor.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from server.registry.settings import REGISTRY_OPTIONS, RegistrySettings, read_settings
from server.settings.option import Option, SettingsError

R = TypeVar("R")


def registry_options(command: Callable[[RegistrySettings], R]) -> Callable[..., R]:
    """Decorate the function of a click command, which gets the settings of the registry."""

    @wraps(command)
    def with_settings(**texts: Any) -> R:  # Any: as in click
        source = click.get_current_context().get_parameter_source
        given = {it: texts[it] for it in texts if source(it) is ParameterSource.COMMANDLINE}
        try:
            settings = read_settings(given)
        except SettingsError as error:
            raise click.UsageError(str(error)) from error
        return command(settings)

    for option in reversed(REGISTRY_OPTIONS):
        _click_option(option)(with_settings)
    return with_settings


def _click_option(option: Option[Any]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    return click.option(
        option.spelling,
        option.name,
        multiple=option.repeatable,
        metavar=option.metavar,
        help=f"{option.meaning}  [default: {option.default}]",
    )
