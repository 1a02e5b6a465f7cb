"""
The settings of the registry, in one table.

The options of ``tensorferry registry`` and of ``twistd tensorferry-registry``, and the table of
docs/registry.md, are made from the fields of `RegistrySettings`.  They are given on the command
line alone: variables named TENSORFERRY_* and TOML files are those of the server.  Pure; imports no
Klein and no reactor, so that ``--help`` is instant.
"""

# ruff: noqa: RUF009 - `setting` returns a dataclass field, not a shared default

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from server.discovery.engine_url import join_host_port, name_and_port, parse_engine_url
from server.settings.kinds import OrWord, TextKind
from server.settings.option import Option, SettingsError, setting, several
from server.settings.place_kinds import Endpoint, ReadableFile
from server.settings.table import LOG_FORMATS, LogFormat

#: The schemes of the sources that the registry can follow.
FOLLOWED = ("zk", "etcd", "srv")

DEFAULT_LISTEN = "tcp:12480:interface=127.0.0.1"
DEFAULT_SEAPORT_LISTEN = "tcp:12481:interface=127.0.0.1"
DEFAULT_ZONE = "tensorferry.internal"  # the domain "internal" is reserved for private use

#: The most bytes of the name of a zone: that of a model has room before it, and an answer without
#: records fits into the shortest answer over UDP.
MAX_ZONE_BYTES = 110


class Place(NamedTuple):
    """An address and a port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``HOST:PORT``."""
        return join_host_port(*self)


DEFAULT_DNS_LISTEN = Place("127.0.0.1", 12482)


@dataclass(frozen=True, slots=True)
class EngineText(TextKind):
    """The URL of a source of workers, as text."""

    metavar: str = "URL"
    expected: ClassVar[str] = (
        "the URL of a source, such as zk://localhost:2181/tensorferry, "
        "etcd://localhost:2379/tensorferry or srv://localhost:8600/web.service.consul"
    )

    def parse(self, text: str) -> str:
        """Return *text* unchanged; raises OSError with the reason if it is no such URL."""
        try:
            url = parse_engine_url(text, FOLLOWED)
            if url.scheme == "srv":
                name_and_port(url)
        except ValueError as error:
            raise OSError(None, str(error)) from error
        return text


@dataclass(frozen=True, slots=True)
class HostPort(TextKind):
    """An address and a port to listen on."""

    metavar: str = "HOST:PORT"
    expected: ClassVar[str] = "HOST:PORT, such as 127.0.0.1:12482 or [::1]:12482"

    def parse(self, text: str) -> Place:
        """Return the host, without brackets, and the port."""
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})", text)
        if found is None or int(found[3]) > 65_535:
            raise ValueError
        return Place(found[1] or found[2], int(found[3]))


@dataclass(frozen=True, slots=True)
class NetworkKind(TextKind):
    """The addresses of a network."""

    metavar: str = "CIDR"
    expected: ClassVar[str] = "a network or an address, such as 10.0.0.0/8, 192.0.2.7 or fd00::/8"

    def parse(self, text: str) -> IPv4Network | IPv6Network:
        """Return the network; raises ValueError, also if bits of its hosts are set."""
        return ip_network(text)


@dataclass(frozen=True, slots=True)
class Zone(TextKind):
    """The name of a zone of the DNS."""

    metavar: str = "NAME"
    expected: ClassVar[str] = f"a domain name, such as {DEFAULT_ZONE}"

    def parse(self, text: str) -> str:
        """Return the name in lower case, without a dot at its end."""
        name = text.lower().removesuffix(".")
        label = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
        if len(name) > MAX_ZONE_BYTES or re.fullmatch(rf"{label}(\.{label})*", name) is None:
            raise ValueError
        return name


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """The settings of one registry."""

    listen: tuple[str, ...] = several(
        Endpoint(),
        "",
        "A Twisted server endpoint for HTTP; repeat it to listen on several.",
        default=(DEFAULT_LISTEN,),
    )
    #: None: the registry does not listen for it
    seaport_listen: str | None = setting(
        OrWord("none", None, Endpoint()),
        "",
        "A Twisted server endpoint for registrations by seaport; with none there are none.",
        default=DEFAULT_SEAPORT_LISTEN,
    )
    #: None: the registry does not answer the DNS
    dns_listen: Place | None = setting(
        OrWord("none", None, HostPort()),
        "",
        "Where the DNS is answered, by UDP and TCP; with none it is not.",
        default=DEFAULT_DNS_LISTEN,
    )
    zone: str = setting(
        Zone(),
        "",
        "The zone of the DNS: the workers are _tensorferry._tcp.NAME.",
        default=DEFAULT_ZONE,
    )
    engine: tuple[str, ...] = several(
        EngineText(),
        "",
        "Where workers are listed besides those that register here: zk://, etcd:// or srv://; "
        "repeat it for several.",
        default=(),
        unset="none",
    )
    token_file: Path | None = setting(
        ReadableFile(),
        "",
        "A file with the token that every registration needs; it is read for each of them.",
        unset="none, workers on this machine may register",
    )
    trusted: tuple[IPv4Network | IPv6Network, ...] = several(
        NetworkKind(),
        "",
        "A network from which workers may register without a token; repeat it for several.",
        default=(),
        unset="none",
    )
    log_format: LogFormat = setting(
        LOG_FORMATS,
        "",
        "How a line of the log is written: as text, or as a JSON object.",
        default="plain",
    )


#: The settings, in the order of the table.  Any: each option has its own type.
REGISTRY_OPTIONS: tuple[Option[Any], ...] = tuple(
    Option(field=f.name, **{"name": f.name, **f.metadata}) for f in fields(RegistrySettings)
)


def read_settings(given: Mapping[str, str | Sequence[str]]) -> RegistrySettings:
    """
    Return the settings with the texts *given*, by the name of the option.

    A repeatable option has several texts.  Raises `SettingsError` for the first wrong value.
    """
    values: dict[str, Any] = {}  # Any: each option has its own type
    for option in REGISTRY_OPTIONS:
        if option.name in given:
            given_texts = given[option.name]
            texts = (given_texts,) if isinstance(given_texts, str) else given_texts
            items = tuple(_value(option, it) for it in texts)
            values[option.field] = items if option.repeatable else items[-1]
    return RegistrySettings(**values)


def _value(option: Option[Any], text: str) -> Any:  # Any: as above
    try:
        return option.kind.parse(text)
    except (OSError, ValueError) as error:
        reason = f": {error.strerror}" if isinstance(error, OSError) else ""
        expected = f"expected {option.kind.expected}, got {text!r}"
        raise SettingsError(f"{option.spelling}: {expected}{reason}") from None
