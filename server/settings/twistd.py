"""
The settings as options of ``twistd tensorferry``: click parses them, as for ``tensorferry serve``.

Imports only the option parser of Twisted, because twistd has not chosen the reactor yet.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import ClassVar

import click
from twisted.python import usage

from server.settings.click_options import SettingsCommand, click_options
from server.settings.groups import GROUPS
from server.settings.option import SettingsError
from server.settings.sources import CommandLine, Resolved, resolve
from twisted import __version__


@click.command(cls=SettingsCommand)
@click_options(*GROUPS)
@click.version_option(__version__, message="Twisted version: %(version)s")
def _command(command_line: CommandLine, check_config: bool) -> tuple[CommandLine, bool]:
    """
    Serve a TensorFlow model over HTTP, with the requests of many clients in one batch.

    Every option may also be set by a variable, TENSORFERRY_MAX_BATCH_SIZE for --max-batch-size, and
    by a key of the TOML file, max_batch_size.
    """
    return command_line, check_config


_OPTIONS = [it for it in _command.params if isinstance(it, click.Option)]


class TwistdOptions(usage.Options):
    """The options of ``twistd tensorferry``, read by `parseOptions`."""

    #: Only for Twisted's shell completion; click parses the options.
    optParameters: ClassVar = [
        [it.opts[0][2:], None, None, it.help] for it in _OPTIONS if not it.is_flag
    ]
    optFlags: ClassVar = [
        [name[2:], None, it.help]
        for it in _OPTIONS
        if it.is_flag
        for name in (it.opts[0], *it.secondary_opts[:1])
    ]
    resolved: Resolved  #: the settings and their origins
    arguments: Sequence[str]  #: as they were given
    check_config: bool  #: whether the settings are only to be checked and shown

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__()
        self.environ = environ

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read *options*, by default those of the process; ``--help`` and ``--version`` exit.

        Raises `usage.UsageError` with one line if an option or a value is wrong.
        """
        arguments = list(sys.argv[1:] if options is None else options)
        self.arguments = tuple(arguments)
        try:
            with _command.make_context("twistd tensorferry", arguments) as context:
                command_line, self.check_config = _command.invoke(context)
            self.resolved = resolve(command_line, self.environ)
        except click.exceptions.Exit as end:
            raise SystemExit(end.exit_code) from None
        except click.ClickException as error:
            raise usage.UsageError(error.format_message()) from None
        except SettingsError as error:
            raise usage.UsageError(str(error)) from None
