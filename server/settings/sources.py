"""
Resolve settings: the command line overrides the environment, which overrides the TOML file.

Each source is first reduced to texts with an origin.  Then the kind of each option converts the
text that overrides the other texts of this option, so that values are written alike in all sources,
and an error names value and origin.  A text that is overridden is not checked.  Imports no
TensorFlow, Klein or reactor.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from server.settings.option import VARIABLE_PREFIX, Option, SettingsError
from server.settings.place_kinds import EndpointOrPath, ReadableFile, ReadableFolder, is_socket_path
from server.settings.table import (
    CONFIG,
    OPTION_NAMED,
    OPTIONS,
    Settings,
)
from server.settings.tf_serving import CONFIG_NOTE, FLAG_NAMED, PORT_NOTE

T = TypeVar("T")

#: The options given on a command line: the name of each, with underscores, and its text.
CommandLine: TypeAlias = Mapping[str, str | Sequence[str] | bool]
#: The origin of each setting, by the option's name.
Origins: TypeAlias = Mapping[str, str]

COMMAND_LINE = "command line"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings, and the origin of each."""

    settings: Settings
    #: a key for each option: "command line", "TENSORFERRY_PORT", "FILE: port" or "default"
    origins: Origins
    notes: tuple[str, ...] = ()  #: what flags of TensorFlow Serving set, or why they are ignored


@dataclass(frozen=True, slots=True)
class _Given:
    """The texts of one option in one source; more than one only if the option is repeatable."""

    texts: tuple[str, ...]
    origin: str


def resolve(command_line: CommandLine, environ: Mapping[str, str]) -> Resolved:
    """
    Return the settings from *command_line*, *environ* and the TOML file that one of them names.

    *command_line* holds only the options that were given.  Reads the TOML file; opens, as a check,
    the files that options name; has no other effect.  Raises `SettingsError` for the first error.
    """
    options, notes = _read_flags(command_line)
    given = _from_environment(environ) | _from_command_line(options)
    config = given.pop(CONFIG.name, None)
    if config is not None:
        given = _from_file(_read(CONFIG, config)[-1]) | given
    if "model_config_file" in given:
        for name in sorted({"model_base_path", "model_name"} & given.keys()):
            notes.append(CONFIG_NOTE.format(name, given.pop(name).origin))
    _check_addresses_of_workers(given)
    values: dict[str, Any] = {}  # Any: each option has its own type
    for option in OPTIONS:
        if option.name in given:
            items = _read(option, given[option.name])
            values[option.field] = items if option.repeatable else items[-1]
    _check_together(given)
    origins = {o.name: given[o.name].origin if o.name in given else DEFAULT for o in OPTIONS}
    return Resolved(Settings(**values), origins, tuple(notes))


def _read_flags(command_line: CommandLine) -> tuple[CommandLine, list[str]]:
    """
    Return *command_line* with options in the place of flags of TensorFlow Serving, and notes.

    Raises `SettingsError` for a wrong value, and for an option that is given beside a flag for it.
    """
    options = {name: raw for name, raw in command_line.items() if name not in FLAG_NAMED}
    notes = []
    if "rest_api_port" in command_line and "port" in options:
        notes.append(PORT_NOTE.format(options.pop("port")))
    for name, raw in command_line.items():
        if name not in FLAG_NAMED:
            continue
        flag, text = FLAG_NAMED[name], str(raw)
        try:
            meaning = flag.read(text)
        except (OSError, ValueError) as error:
            reason = f": {error.strerror}" if isinstance(error, OSError) else ""
            expected = f"expected {flag.kind.expected}, got {text!r}"
            raise SettingsError(f"--{name}: {expected} ({COMMAND_LINE}){reason}") from None
        for option, value in meaning.texts.items():
            if option in options:
                raise SettingsError(f"--{name} and {OPTION_NAMED[option].spelling}: give one")
            options[option] = (value,) if OPTION_NAMED[option].repeatable else value
        notes += meaning.notes
    return options, notes


def _from_command_line(command_line: CommandLine) -> dict[str, _Given]:
    """Return the texts of each option on *command_line*, by the name of the option."""
    known = {option.name: option for option in (*OPTIONS, CONFIG)}
    given = {}
    for name, raw in command_line.items():
        if name not in known:
            raise _no_such_setting(f"--{name.replace('_', '-')}", name, known, "spelling")
        texts = (raw,) if isinstance(raw, str | bool) else raw
        given[name] = _Given(tuple(map(_text, texts)), COMMAND_LINE)
    return given


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    """
    Return the texts of each option in *environ*, by the name of the option.

    An empty variable counts as not set.
    """
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
    Return whether Kubernetes made *variable*, for a Service called tensorferry.

    Kubernetes sets variables such as TENSORFERRY_SERVICE_HOST in every container of the namespace,
    and one with the name of a setting: TENSORFERRY_PORT=tcp://10.0.0.1:12480.
    """
    service = VARIABLE_PREFIX + r"(\w+_)?"
    parts = r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
    if re.fullmatch(service + parts, variable):
        return True
    return bool(re.fullmatch(service + "PORT", variable) and re.match("(tcp|udp|sctp)://", text))


def _from_file(path: Path) -> dict[str, _Given]:
    """
    Return the texts of each option in the TOML file *path*, by the name of the option.

    Relative paths in the file start from the folder of the file.
    """
    try:
        with path.open("rb") as file:
            # Decimal keeps every digit of the file.
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
    """
    Return the texts of *raw*, the TOML value of *option*: one for each element of an array.

    Raises `SettingsError` for a wrong TOML type.  Relative paths of files start from *folder*.
    """
    items = raw if option.repeatable and isinstance(raw, list) else [raw]
    for item in items:
        if type(item) not in option.kind.toml_types:
            shown = _text(item) if isinstance(item, bool | Decimal) else repr(item)
            raise _refused(option, shown, origin)
    texts = tuple(map(_text, items))
    if isinstance(option.kind, ReadableFile | ReadableFolder):
        return tuple(str(folder / text) for text in texts)
    if isinstance(option.kind, EndpointOrPath) and is_socket_path(texts[0]):
        return (str(folder / texts[0]),)
    return texts


def _text(raw: object) -> str:
    """Return *raw* as text for a kind; True is ``true``, as in TOML and the environment."""
    return str(raw).lower() if isinstance(raw, bool) else str(raw)


def _read(option: Option[T], given: _Given) -> tuple[T, ...]:
    """
    Return the values of *option*, one for each of its texts in *given*.

    Raises `SettingsError` if a text cannot be converted, or if there is no text.
    """
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


def _check_addresses_of_workers(given: Mapping[str, _Given]) -> None:
    """Raise `SettingsError` for an address that several workers cannot accept from."""
    if "workers" not in given or _read(OPTION_NAMED["workers"], given["workers"])[-1] == 1:
        return
    for name in {"listen", "admin_listen"} & given.keys():
        for text in given[name].texts:
            kind, colon, _ = text.partition(":")
            if colon and not is_socket_path(text) and kind not in ("tcp", "tcp6", "unix"):
                raise SettingsError(
                    f"{OPTION_NAMED[name].spelling}: with --workers only tcp, tcp6 and unix, "
                    f"got {text!r} ({given[name].origin})"
                )


def _check_together(given: Mapping[str, _Given]) -> None:
    """
    Raise `SettingsError` if the *given* options do not fit together.

    That is, if one excludes another, or if one needs other options of which none is given.
    """
    for option in OPTIONS:
        if option.name not in given:
            continue
        this = f"{option.name} ({given[option.name].origin})"
        for other in option.excludes:
            if other in given:
                that = f"{other} ({given[other].origin})"
                raise SettingsError(f"{this} and {that} exclude each other: give one")
        if option.needs and given.keys().isdisjoint(option.needs):
            raise SettingsError(f"{this} needs {' or '.join(option.needs)}, which is not given")


def _refused(option: Option[Any], shown: str, origin: str, reason: str = "") -> SettingsError:
    """Return the error for *shown*, a value that *option* does not accept."""
    expected = option.kind.expected
    return SettingsError(f"{option.spelling}: expected {expected}, got {shown} ({origin}){reason}")


def _no_such_setting(
    shown: str,
    name: str,
    known: Mapping[str, Option[Any]],
    spelled: Literal["spelling", "variable", "name"],
) -> SettingsError:
    """
    Return the error for *name*, which is not in *known*; it suggests the closest name in *known*.

    *shown* is the unknown name as the user wrote it.  *spelled* names the attribute of `Option` to
    show in the suggestion: the one spelled as the user would write it.
    """
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {getattr(known[close[0]], spelled)}?" if close else ""
    return SettingsError(f"{shown}: no such setting{hint}")
