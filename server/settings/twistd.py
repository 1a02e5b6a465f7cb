"""
The settings as options of ``twistd tensorferry``.

Imports of Twisted only the option parser: twistd has yet to choose the reactor.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from getopt import GetoptError
from typing import Any

from twisted.python import usage

from server.settings.kinds import Switch
from server.settings.sources import Resolved, no_such_setting, resolve
from server.settings.table import CHECK_CONFIG, CONFIG, OPTIONS, Option, SettingsError

_ALL = (*OPTIONS, CONFIG, CHECK_CONFIG)


class TwistdOptions(usage.Options):
    """
    What ``twistd tensorferry`` takes: one ``opt_`` method for each row of the table.

    After `parseOptions`, ``resolved`` holds the settings and where each came from, and
    ``self["check-config"]`` is true if they are only to be checked and shown.  What
    `server.settings.sources.resolve` refuses is raised as `usage.UsageError`.
    """

    synopsis = "[options]"
    longdesc = (
        "Serve a TensorFlow model over HTTP, with the requests of many clients in one batch. "
        "Every option may also be set by a variable, TENSORFERRY_MAX_BATCH_SIZE for "
        "--max-batch-size, and by a key of the TOML file, max_batch_size."
    )
    resolved: Resolved

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__()
        self.environ = environ
        self.command_line: dict[str, list[str]] = {}
        self["check-config"] = False

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse as Twisted does, with underscores as good as dashes, and a hint if misspelled."""
        arguments = [self._with_dashes(it) for it in (sys.argv[1:] if options is None else options)]
        try:
            super().parseOptions(arguments)
        except usage.UsageError as error:
            cause = error.__context__
            if isinstance(cause, GetoptError) and self._is_unknown(cause.opt):
                known = {option.name: option for option in _ALL}
                name = cause.opt.replace("-", "_")
                hint = no_such_setting(f"--{cause.opt}", name, known, "spelling")
                raise usage.UsageError(str(hint)) from None
            raise

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is no option: everything is one."""
        if arguments:
            raise usage.UsageError(f"{arguments[0]}: expected an option, such as --port 8000")

    def postOptions(self) -> None:
        """Resolve what was collected with the environment and the file."""
        try:
            self.resolved = resolve(self.command_line, self.environ)
        except SettingsError as error:
            raise usage.UsageError(str(error)) from error

    def take(self, option: Option[Any], text: str) -> None:
        """Collect what was given; of an option that is given twice, the last counts."""
        if option is CHECK_CONFIG:
            self["check-config"] = True
        elif option.repeatable:
            self.command_line.setdefault(option.name, []).append(text)
        else:
            self.command_line[option.name] = [text]

    def _with_dashes(self, argument: str) -> str:
        """Spell the name in *argument* canonically; its value, and all else, stay as they are."""
        name, equals, value = argument.partition("=")
        dashed = name[2:].replace("_", "-")
        known = dashed in self.longOpt or f"{dashed}=" in self.longOpt
        return f"--{dashed}{equals}{value}" if known and name.startswith("--") else argument

    def _is_unknown(self, name: str) -> bool:
        """Tell an option that is not there from one that is, and was not given rightly."""
        return len(name) > 1 and not any(known.startswith(name) for known in self.longOpt)


def _value_method(option: Option[Any]) -> Callable[[TwistdOptions, str], None]:
    """Return what usage.Options calls with the value of *option*."""

    def take(self: TwistdOptions, text: str) -> None:
        self.take(option, text)

    return take


def _switch_method(option: Option[Any], text: str) -> Callable[[TwistdOptions], None]:
    """Return what usage.Options calls for a switch: it sees by the arguments that there is none."""

    def take(self: TwistdOptions) -> None:
        self.take(option, text)

    return take


def _methods() -> Iterator[tuple[str, Callable[..., None], str]]:
    """Yield the name, the function and the help of each method that the table asks for."""
    for option in _ALL:
        default = f" [default: {option.default}]" if option.default else ""
        doc = f"{option.explanation}{default}"
        if not isinstance(option.kind, Switch):
            yield option.name, _value_method(option), doc
            continue
        yield option.name, _switch_method(option, "true"), doc
        if option.field:
            yield f"no_{option.name}", _switch_method(option, "false"), f"Undo {option.spelling}."


for _name, _method, _doc in _methods():
    _method.__doc__ = _doc  # usage.Options prints it
    setattr(TwistdOptions, f"opt_{_name}", _method)
