"""
Find the server that a URL names, and build the requests to it.

The host name is resolved and one connection is tried before the load, so that a wrong address is
reported at once and no request waits for the resolver.
"""

import socket
from dataclasses import dataclass
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS

from scripts.load.payloads import Payload
from scripts.server_url import split_url
from tensorferry import __version__


class UnreachableError(Exception):
    """No address of the server accepts a connection; the message gives the reason, in one line."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server and path that requests are sent to."""

    url: str
    secure: bool
    host: str
    port: int
    path: str  #: with the query

    def request(self, payload: Payload, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
        """Return the bytes of a POST of *payload*; *headers* replace defaults of the same name."""
        fields = {
            "host": ("Host", self._host),
            "user-agent": ("User-Agent", f"tensorferry-loadtest/{__version__}"),
            "accept": ("Accept", "*/*"),
            "content-type": ("Content-Type", payload.content_type),
            "content-length": ("Content-Length", str(len(payload.body))),
        }
        given = {name.lower() for name, _ in headers}
        kept = [field for name, field in fields.items() if name not in given]
        lines = [
            f"POST {self.path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in (*kept, *headers)),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + payload.body

    @property
    def _host(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def endpoint(self, reactor: Any, timeout: float) -> IStreamClientEndpoint:
        """
        Return an endpoint for the first address of the host that accepts a connection.

        Tries the addresses now, and blocks meanwhile; each connection may take *timeout* seconds,
        now and later.  Raises `UnreachableError`.
        """
        family, address = _accepting(self.host, self.port, timeout)
        kind = TCP6ClientEndpoint if family == socket.AF_INET6 else TCP4ClientEndpoint
        endpoint: IStreamClientEndpoint = kind(reactor, address, self.port, timeout=timeout)
        if self.secure:
            return wrapClientTLS(optionsForClientTLS(self.host), endpoint)
        return endpoint


def parse_url(url: str) -> Target:
    """
    Return the target that *url* names; raises ValueError.

    The scheme is ``http`` if *url* has none.
    """
    return Target(url, *split_url(url, instead="--header 'Authorization: ...'"))


def _accepting(host: str, port: int, timeout: float) -> tuple[int, str]:
    """
    Return the family and the text of the first address of *host* that accepts a connection.

    Raises `UnreachableError`; each address may take *timeout* seconds.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (
        OSError,
        UnicodeError,
    ) as error:  # UnicodeError: a part of the name is empty or too long
        problem = getattr(error, "strerror", None) or "not a valid host name"
        raise UnreachableError(f"cannot resolve {host}: {problem}") from error
    reason = ""
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as tried:
            tried.settimeout(timeout)
            try:
                tried.connect(address)
            except OSError as error:
                reason = error.strerror or "no answer"
            else:
                return family, str(address[0])
    raise UnreachableError(f"cannot connect to {host} port {port}: {reason}")
