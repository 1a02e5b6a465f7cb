"""
Where settings come from, and which source wins: command line, environment, TOML file, default.

Each source is reduced to texts with an origin; then every winner is read by the kind of its option,
so that all sources take the same spellings and an error always says who said what.  What a stronger
source replaces is not read.  Imports no TensorFlow, Klein or reactor.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from server.settings.kinds import ReadableFile
from server.settings.option import VARIABLE_PREFIX, Option, SettingsError
from server.settings.table import (
    CONFIG,
    OPTION_NAMED,
    OPTIONS,
    Settings,
)

T = TypeVar("T")

#: What was given on a command line: raw text by the name of the option, underscored.
CommandLine: TypeAlias = Mapping[str, str | Sequence[str] | bool]
#: Where each setting comes from, by the name of its option.
Origins: TypeAlias = Mapping[str, str]

COMMAND_LINE = "command line"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings, and where each came from."""

    settings: Settings
    #: a key for each option: "command line", "TENSORFERRY_PORT", "FILE: port" or "default"
    origins: Origins


@dataclass(frozen=True, slots=True)
class _Given:
    """What one source says of one option, unread."""

    texts: tuple[str, ...]
    origin: str


def resolve(command_line: CommandLine, environ: Mapping[str, str]) -> Resolved:
    """
    Return the settings that *command_line*, *environ* and the file that either names add up to.

    *command_line* holds only what was given.  Reads the TOML file, and looks whether the files that
    are named exist; nothing else is touched.  Raises `SettingsError` at the first problem.
    """
    given = _from_environment(environ) | _from_command_line(command_line)
    config = given.pop(CONFIG.name, None)
    if config is not None:
        given = _from_file(_read(CONFIG, config)[-1]) | given
    values: dict[str, Any] = {}  # Any: of as many types as the table has
    for option in OPTIONS:
        if option.name in given:
            items = _read(option, given[option.name])
            values[option.field] = items if option.repeatable else items[-1]
    _check_together(given)
    origins = {o.name: given[o.name].origin if o.name in given else DEFAULT for o in OPTIONS}
    return Resolved(Settings(**values), origins)


def _from_command_line(command_line: CommandLine) -> dict[str, _Given]:
    """Take what click or twistd collected."""
    known = {option.name: option for option in (*OPTIONS, CONFIG)}
    given = {}
    for name, raw in command_line.items():
        if name not in known:
            raise _no_such_setting(f"--{name.replace('_', '-')}", name, known, "spelling")
        texts = (raw,) if isinstance(raw, str | bool) else raw
        given[name] = _Given(tuple(map(_text, texts)), COMMAND_LINE)
    return given


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    """Take the variables that are ours; an empty one counts as not set."""
    known = {option.name: option for option in (*OPTIONS, CONFIG)}
    given = {}
    for variable, text in environ.items():
        if not variable.startswith(VARIABLE_PREFIX) or _is_service_link(variable, text):
            continue
        name = variable.removeprefix(VARIABLE_PREFIX).lower()
        if name not in known or known[name].variable != variable:
            raise _no_such_setting(variable, name, known, "variable")
        if text.strip():
            texts = tuple(text.split()) if known[name].repeatable else (text,)
            given[name] = _Given(texts, variable)
    return given


def _is_service_link(variable: str, text: str) -> bool:
    """
    Tell whether Kubernetes made *variable*, for a Service that is called tensorferry.

    It gives every container of the namespace variables such as TENSORFERRY_SERVICE_HOST, and one
    that has the name of a setting: TENSORFERRY_PORT=tcp://10.0.0.1:12480.
    """
    service = VARIABLE_PREFIX + r"(\w+_)?"
    parts = r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
    if re.fullmatch(service + parts, variable):
        return True
    return bool(re.fullmatch(service + "PORT", variable) and re.match("(tcp|udp|sctp)://", text))


def _from_file(path: Path) -> dict[str, _Given]:
    """Take the keys of a TOML file; the paths in it are relative to its folder."""
    try:
        with path.open("rb") as file:
            # Decimal keeps the digits as they were written.
            table = tomllib.load(file, parse_float=Decimal)
    except ValueError as error:  # not TOML, or not UTF-8
        raise SettingsError(f"{path}: expected a TOML file: {error}") from None
    given: dict[str, _Given] = {}
    for key, raw in table.items():
        name, origin = key.replace("-", "_"), f"{path}: {key}"
        if name not in OPTION_NAMED:
            raise _no_such_setting(origin, name, OPTION_NAMED, "name")
        if name in given:
            raise SettingsError(f"{origin}: the same setting as {given[name].origin}; give it once")
        given[name] = _Given(_toml_texts(OPTION_NAMED[name], raw, origin, path.parent), origin)
    return given


def _toml_texts(option: Option[Any], raw: object, origin: str, folder: Path) -> tuple[str, ...]:
    """Check the types in a file, which has some, and turn what has them into texts."""
    items = raw if option.repeatable and isinstance(raw, list) else [raw]
    for item in items:
        if type(item) not in option.kind.toml_types:
            shown = _text(item) if isinstance(item, bool | Decimal) else repr(item)
            raise _refused(option, shown, origin)
    texts = tuple(map(_text, items))
    if isinstance(option.kind, ReadableFile):
        return tuple(str(folder / text) for text in texts)
    return texts


def _text(raw: object) -> str:
    """Return what a kind can read; True is ``true``, as TOML and the environment have it."""
    return str(raw).lower() if isinstance(raw, bool) else str(raw)


def _read(option: Option[T], given: _Given) -> tuple[T, ...]:
    """Return the values of an option, at least one, or say what is wrong with them."""
    if not given.texts:
        raise _refused(option, "none", given.origin)
    values = []
    for text in given.texts:
        try:
            values.append(option.kind.parse(text))
        except OSError as error:
            raise _refused(option, repr(text), given.origin, f": {error.strerror}") from None
        except ValueError:
            raise _refused(option, repr(text), given.origin) from None
    return tuple(values)


def _check_together(given: Mapping[str, _Given]) -> None:
    """Refuse an option that makes no sense beside, or without, another."""
    for option in OPTIONS:
        if option.name not in given:
            continue
        this = f"{option.name} ({given[option.name].origin})"
        if option.excludes in given:
            that = f"{option.excludes} ({given[option.excludes].origin})"
            raise SettingsError(f"{this} and {that} say the same: give one")
        if option.needs and given.keys().isdisjoint(option.needs):
            raise SettingsError(f"{this} needs {' or '.join(option.needs)}, which is not given")


def _refused(option: Option[Any], shown: str, origin: str, reason: str = "") -> SettingsError:
    """Return the error of one bad value."""
    expected = option.kind.expected
    return SettingsError(f"{option.spelling}: expected {expected}, got {shown} ({origin}){reason}")


def _no_such_setting(
    shown: str,
    name: str,
    known: Mapping[str, Option[Any]],
    spelled: Literal["spelling", "variable", "name"],
) -> SettingsError:
    """Return the error of an unknown *name*, with the nearest of the *known* as it is *spelled*."""
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {getattr(known[close[0]], spelled)}?" if close else ""
    return SettingsError(f"{shown}: no such setting{hint}")
