"""
The command `tensorferry` and its subcommands.

Imports only click and the table of settings until a command runs, so that --help is fast.
"""

import os
import sys
from contextlib import suppress
from typing import Any

import click

from scripts.classify import classify
from scripts.doctor import doctor
from scripts.haproxy_config import haproxy_config
from scripts.inspect_model import inspect_model
from scripts.loadtest import loadtest
from scripts.models import models
from scripts.registry import registry
from scripts.simulate import simulate
from scripts.standard_output import output_problem
from server.settings.click_options import SettingsCommand, click_options
from server.settings.groups import GROUPS
from server.settings.option import SettingsError
from server.settings.report import describe
from server.settings.sources import CommandLine, resolve
from tensorferry import __version__
from tensorferry.early_signals import interrupt_again


class OneLineErrors(click.Group):
    """
    A group of commands that reports an error about options in one line, without the usage text.

    So it does if standard output cannot be written.
    """

    def main(self, *args: Any, **parameters: Any) -> Any:  # Any: as in click
        """Run the command line, and end the process."""
        try:
            return super().main(*args, **parameters)
        except OSError as error:
            problem = output_problem(error)
            if not problem:
                raise
            with suppress(OSError):  # standard error may be on the same disk
                click.echo(f"Error: {problem}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:  # Any: the return value of a command, as in click
        """Run the subcommand; raises an error about its options without the usage text."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            error.ctx = None  # else click prints the usage before the error
            raise


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tensorferry")
def main() -> None:
    """Serve TensorFlow models in batches, or run them from the command line."""
    interrupt_again()


@main.command(cls=SettingsCommand)
@click_options(*GROUPS)
def serve(command_line: CommandLine, check_config: bool) -> None:
    """Serve a model over HTTP: `curl -F data=@photo.jpg localhost:12480`."""
    try:
        resolved = resolve(command_line, os.environ)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    if check_config:
        click.echo(describe(resolved), nl=False)
        return
    from server.process.run import run  # noqa: PLC0415 - imports the reactor and Klein

    sys.exit(run(resolved.settings, notes=resolved.notes))


main.add_command(classify)
main.add_command(doctor)
main.add_command(haproxy_config)
main.add_command(inspect_model)
main.add_command(loadtest)
main.add_command(models)
main.add_command(registry)
main.add_command(simulate)

if __name__ == "__main__":
    main()
