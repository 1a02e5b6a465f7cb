"""
Parse the URL of a server: `localhost:12480`, `https://example.org/net`.

Imports the standard library alone, for commands that start fast.
"""

import re
from typing import NamedTuple
from urllib.parse import urlsplit


class ServerURL(NamedTuple):
    """The parts of the URL of a server."""

    secure: bool
    host: str
    port: int
    path: str  #: with the query


def split_url(url: str, *, instead: str) -> ServerURL:
    """
    Return the parts of *url*; raises ValueError.

    The scheme is ``http`` if *url* has none.  A user name is an error; its message names
    the option to give *instead*.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"expected an http or https URL, got {url!r}")
    if parts.username is not None:
        raise ValueError(f"a URL with a user name is not supported; give {instead}")
    if not parts.hostname:
        raise ValueError(f"expected a URL such as http://localhost:12480, got {url!r}")
    if re.fullmatch("[!-~]+", parts.hostname) is None:
        raise ValueError(f"expected a host name of ASCII characters, got {parts.hostname!r}")
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if re.fullmatch("[!-~]+", path) is None:
        raise ValueError(f"expected a path of ASCII characters, others as %XX, got {path!r}")
    port = parts.port if parts.port is not None else (443 if secure else 80)
    return ServerURL(secure, parts.hostname, port, path)
