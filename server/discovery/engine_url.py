"""
The URL of a registry of workers.

``SCHEME://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][/PATH][?OPTION=VALUE&...]``

Pure.  Imports nothing of ours, so that the settings can check a URL.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

#: The port of each scheme, if its URL has none.
DEFAULT_PORTS: Mapping[str, int] = {"zk": 2181, "etcd": 2379, "registry": 12480, "srv": 53}

#: The schemes of registries that workers can announce themselves to.
ANNOUNCED = ("zk", "etcd", "registry")

#: Those of registries that authenticate users.
WITH_USERS = ("zk", "etcd")

#: How long a worker that no longer renews its lease is still listed, in seconds.
DEFAULT_LEASE = 10.0
MIN_LEASE, MAX_LEASE = 1.0, 3600.0


@dataclass(frozen=True, slots=True)
class EngineURL:
    """The parts of the URL of a registry."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]  #: name or address, without brackets, and port
    path: str = ""  #: without the slash at its begin and end
    lease: float = DEFAULT_LEASE  #: seconds
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Return the URL without user and password, for logs and reports."""
        hosts = ",".join(join_host_port(host, port) for host, port in self.hosts)
        return f"{self.scheme}://{hosts}" + (f"/{self.path}" if self.path else "")


def join_host_port(host: str, port: int) -> str:
    """Return ``HOST:PORT``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_engine_url(text: str, schemes: tuple[str, ...] = tuple(DEFAULT_PORTS)) -> EngineURL:
    """Return the parts of *text*; raises ValueError with the reason if it is no such URL."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in schemes:
        raise ValueError(f"it does not begin with {' or '.join(f'{it}://' for it in schemes)}")
    if "#" in rest:
        raise ValueError("it has a #, which begins no part of it; in a password it is %23")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    credentials, at, places = authority.rpartition("@")
    user, colon, password = credentials.partition(":")
    if at and not (user and colon):
        raise ValueError("what precedes @ is not USER:PASSWORD")
    _check_used(scheme, has_user=bool(at), has_query=bool(query))
    hosts = tuple(_host(place, DEFAULT_PORTS[scheme]) for place in places.split(","))
    return EngineURL(
        scheme, hosts, path.strip("/"), _lease(query), unquote(user), unquote(password)
    )


def name_and_port(url: EngineURL) -> tuple[str, int]:
    """Return NAME and PORT in the path of an ``srv://`` URL, 0 without PORT; raises ValueError."""
    found = re.fullmatch(r"([^:]+)(?::([0-9]{1,5}))?", url.path)
    if found is None or (found[2] and not 0 < int(found[2]) < 65536):
        raise ValueError(f"{url} has no name of the DNS: expected srv://RESOLVER/NAME[:PORT]")
    return found[1], int(found[2] or 0)


def _check_used(scheme: str, *, has_user: bool, has_query: bool) -> None:
    """Raise ValueError with the reason if a part of the URL would have no effect."""
    if has_user and scheme not in WITH_USERS:
        reason = f"{scheme}:// takes no user and password"
        if scheme == "registry":
            reason += "; a server gives its token with --announce-token-file FILE"
        raise ValueError(reason)
    if has_query and scheme not in ANNOUNCED:
        raise ValueError(f"{scheme}:// takes no lease")


def _host(place: str, default_port: int) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?", place)
    if found is None:
        raise ValueError(f"{place!r} is not HOST or HOST:PORT")
    port = int(found[3] or default_port)
    if not 0 < port < 65536:
        raise ValueError(f"the port {port} is not from 1 to 65535")
    return found[1] or found[2], port


def _lease(query: str) -> float:
    lease = DEFAULT_LEASE
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "lease":
            raise ValueError(f"it has no option {name!r}; the only one is lease=SECONDS")
        try:
            lease = float(value)
        except ValueError:
            lease = 0.0
        if not MIN_LEASE <= lease <= MAX_LEASE:
            raise ValueError(f"lease: expected {MIN_LEASE:g} to {MAX_LEASE:g} seconds, got {value}")
    return lease
