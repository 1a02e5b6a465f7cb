"""
The parts of ``twistd tensorferry-registry``: its options, and the service made from them.

Imported before twistd has chosen its reactor, so `makeService` imports Klein and the service.
"""

import sys
from collections.abc import Sequence
from typing import ClassVar

import click
from twisted.application.service import IService
from twisted.python import usage

from server.process.tap import check_writable
from server.registry.click_options import registry_options
from server.registry.settings import RegistrySettings
from twisted import __version__


@click.command()
@registry_options
@click.version_option(__version__, message="Twisted version: %(version)s")
def _command(settings: RegistrySettings) -> RegistrySettings:
    """List workers, and choose one for each request: `curl localhost:12480` prints its port."""
    return settings


class Options(usage.Options):
    """The options of ``twistd tensorferry-registry``, which click parses."""

    #: Only for Twisted's shell completion.
    optParameters: ClassVar = [
        [it.opts[0][2:], None, None, it.help]
        for it in _command.params
        if isinstance(it, click.Option) and not it.is_flag
    ]
    settings: RegistrySettings

    def __init__(self) -> None:
        super().__init__()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read *options*; an error is one line on stderr, without Twisted's help page."""
        arguments = list(sys.argv[1:] if options is None else options)
        try:
            with _command.make_context("twistd tensorferry-registry", arguments) as context:
                self.settings = _command.invoke(context)
            check_writable(self.parent or {})
        except click.exceptions.Exit as end:
            raise SystemExit(end.exit_code) from None
        except (click.ClickException, usage.UsageError) as error:
            line = error.format_message() if isinstance(error, click.ClickException) else error
            sys.stderr.write(f"twistd tensorferry-registry: {line}\n")
            raise SystemExit(1) from None


def makeService(options: Options) -> IService:
    """Return the registry, not started, because twistd may fork before it starts the service."""
    from twisted.internet import reactor  # noqa: PLC0415, TID251 - twistd has chosen it

    from server.process.twistd_registry import make_registry  # noqa: PLC0415 - Klein needs it

    return make_registry(options.settings, options.parent or {}, reactor)
