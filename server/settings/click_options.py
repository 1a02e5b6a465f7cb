"""
The settings as options of a click command.

click splits the arguments and writes the help page; `server.settings.sources.resolve` reads the
values.  Imports click, and no TensorFlow, Klein or reactor.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from server.settings.groups import CONFIGURATION, GROUPS
from server.settings.kinds import Switch
from server.settings.option import Option
from server.settings.table import CHECK_CONFIG, CONFIG, OPTIONS
from server.settings.tf_serving import FLAGS, Flag

#: The heading of the flags on help pages.
FLAGS_HEADING = (
    "Flags of TensorFlow Serving; the others of its flags are ignored, with a line in the log"
)

R = TypeVar("R")


def click_options(
    *groups: str, checks: bool = True
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """
    Decorate the function of a click command so that the command takes the settings of *groups*.

    The function gets ``command_line``, the options that were given, for `resolve`.  If *groups*
    contain `CONFIGURATION`, the function also gets ``check_config``: True if the command must only
    check and show the settings; and the command takes the flags of TensorFlow Serving.  Without
    *checks* there is no ``check_config``.  Use it under ``@click.command(cls=SettingsCommand)``.
    """
    flags = FLAGS if CONFIGURATION in groups else ()
    all_options = (*OPTIONS, CONFIG, CHECK_CONFIG) if checks else (*OPTIONS, CONFIG)
    chosen = [option for option in all_options if option.group in groups]

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @wraps(command)
        def with_command_line(*args: object, **parameters: object) -> R:
            context = click.get_current_context()
            names = [option.name for option in chosen if option is not CHECK_CONFIG]
            names += [flag.name for flag in flags]
            values = {name: parameters.pop(name) for name in names}
            given = {
                name: value
                for name, value in values.items()
                if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
            }
            return command(*args, command_line=given, **parameters)

        for flag in reversed(flags):
            click.option(cls=_FlagOption, flag=flag)(with_command_line)
        for option in reversed(chosen):
            click.option(cls=_SettingOption, setting=option)(with_command_line)
        return with_command_line

    return decorate


class SettingsCommand(click.Command):
    """A command whose help page has a section for each group of settings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups in the order of the table, then the options without a group."""
        groups = (*GROUPS, FLAGS_HEADING, "Other")
        records: dict[str, list[tuple[str, str]]] = {group: [] for group in groups}
        for parameter in self.get_params(ctx):
            group = FLAGS_HEADING if isinstance(parameter, _FlagOption) else "Other"
            if isinstance(parameter, _SettingOption):
                group = parameter.setting.group
            record = parameter.get_help_record(ctx)
            if record is not None:
                records[group].append(record)
        for group, lines in records.items():
            if lines:
                with formatter.section(group):
                    formatter.write_dl(lines)


class _FlagOption(click.Option):
    """A flag of TensorFlow Serving as an option of click; without effect, it is on no help page."""

    def __init__(self, _declarations: Sequence[str], flag: Flag) -> None:
        """Declare the flag to click; its value is text."""
        # Any: arguments of several types.  With any flag_value, also None, a value is optional.
        optional: dict[str, Any] = {"is_flag": False, "flag_value": "true"}
        if not flag.takes_no_value:
            optional = {}
        super().__init__(
            (f"--{flag.name}", f"--{flag.name.replace('_', '-')}", flag.name),
            type=str,
            **optional,
            metavar=flag.kind.metavar or None,
            help=flag.effect,
            hidden=flag.meaning is None,
        )

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Show the spelling of TensorFlow Serving."""
        return None if self.hidden else (f"{self.opts[0]} {self.metavar}", str(self.help))


class _SettingOption(click.Option):
    """One setting as an option of click; help pages show no spelling with underscores."""

    def __init__(self, _declarations: Sequence[str], setting: Option[Any]) -> None:
        """
        Declare the option to click.

        click does not convert the values: the value of a switch is a bool, any other value is text.
        """
        self.setting = setting
        switch = isinstance(setting.kind, Switch)
        declarations = []
        for joint in "-_":  # label_image spells its options with underscores
            name = setting.name.replace("_", joint)
            # A file may turn a switch on, so the command line needs a spelling that turns it off.
            off = f"/--no{joint}{name}" if switch and setting.field else ""
            declarations.append(f"--{name}{off}")
        super().__init__(
            (*dict.fromkeys(declarations), setting.name),
            type=bool if switch else str,
            is_flag=switch,
            default=None if setting.field else False,
            multiple=setting.repeatable,
            metavar=setting.metavar or None,
            help=setting.explanation,
            allow_from_autoenv=False,
        )

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Show the canonical spelling, the meaning and the default."""
        names = " / ".join([self.opts[0], *self.secondary_opts[:1]])
        default = f"  [default: {self.setting.default}]" if self.setting.default else ""
        return f"{names} {self.setting.metavar}".rstrip(), f"{self.help}{default}"
