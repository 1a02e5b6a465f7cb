"""
The parts of ``twistd tensorferry-registry``: its options, and the service made from them.

Imported before twistd has chosen its reactor, so `makeService` imports Klein and the service.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

import click
from twisted.application.service import IService, IServiceCollection
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized

from server.lifecycle import StartError
from server.process.descriptors import log_refused_connections
from server.process.tap import check_writable
from server.registry.click_options import registry_options
from server.registry.settings import RegistrySettings
from twisted import __version__

_log = Logger()


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

    from server.process.twistd_log import twistd_log  # noqa: PLC0415 - imports numpy
    from server.registry.registry_service import (  # noqa: PLC0415 - Klein needs the reactor
        RegistryService,
    )

    twistd: Any = options.parent or {}  # Any: Twisted's own options are untyped
    log = twistd_log(twistd, options.settings.log_format)

    class TwistdRegistry(RegistryService):
        """A registry that reports a failed start in one line, without twistd's traceback."""

        def setServiceParent(self, parent: IServiceCollection) -> None:
            """Called with the application, before twistd begins its log: set its observer."""
            if log is not None and isinstance(parent, Componentized):
                parent.setComponent(ILogObserver, log.observer)
            super().setServiceParent(parent)

        def privilegedStartService(self) -> None:
            """Listen; if that fails, report it and exit, or raise an error in a daemon."""
            try:
                super().privilegedStartService()
            except StartError as error:
                if not twistd.get("nodaemon", False):
                    # The parent process prints 100 bytes, which begin with the error's class.
                    raise OSError(str(error)) from None
                with suppress(OSError):
                    os.unlink(twistd.get("pidfile") or "")  # noqa: PTH108 - as twistd names it
                _log.critical("{reason}", reason=str(error))
                if sys.__stderr__ is not None:
                    sys.__stderr__.write(f"{error}\n")
                raise SystemExit(1) from None

    service = TwistdRegistry(options.settings, reactor)
    if log is not None:
        reactor.callWhenRunning(log.start, reactor)
    reactor.callWhenRunning(log_refused_connections, service.clock.seconds)
    return service
