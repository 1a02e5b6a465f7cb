"""
Check the addresses to listen on, such as `tcp:12480`, and explain the error in a wrong one.

An address is an endpoint description of Twisted: parts separated by colons.  For a wrong part,
Twisted itself reports only the error of the Python function that it calls with this part.  Binds
nothing; opens the files that an address names.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from socket import gaierror

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins
from twisted.python.failure import Failure

#: Connections that may wait to be accepted, unless an address sets a backlog.  Twisted's 50 are too
#: few when some hundred clients connect at once: each further client retries a second later.
DEFAULT_BACKLOG = 1024

_HAPROXY = "haproxy"


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of address: its parts, in the order in which they may be given without a name."""

    parts: tuple[str, ...]  #: the first is required
    sample: str


_KINDS: Mapping[str, _Kind] = {
    "tcp": _Kind(("port", "interface", "backlog"), "tcp:12480"),
    "tcp6": _Kind(("port", "backlog", "interface"), "tcp6:12480"),
    "unix": _Kind(("address", "mode", "backlog", "lockfile"), "unix:/run/tensorferry.sock"),
    "ssl": _Kind(
        (
            *("port", "privateKey", "certKey", "sslmethod", "interface", "backlog"),
            *("extraCertChain", "dhParameters"),
        ),
        "ssl:443:privateKey=key.pem:certKey=cert.pem",
    ),
    "tls": _Kind(("path", "port", "backlog", "interface"), "tls:/etc/certificates:443"),
    "systemd": _Kind(("domain", "index", "name"), "systemd:domain=INET:index=0"),
}

_FILE_PARTS = ("privateKey", "certKey", "extraCertChain", "dhParameters")


class AddressError(ValueError):
    """An address that Twisted cannot listen on; the message gives the reason in one line."""


@dataclass(frozen=True, slots=True)
class Address:
    """The kind of an address, without haproxy, and the values of its parts by their names."""

    kind: str
    parts: Mapping[str, str]


def check_address(description: str) -> Address:
    """
    Return the parts of *description*; raise `AddressError` for one that is unknown or invalid.

    A part is invalid, too, if it is missing, or names a file that cannot be read.  The parts of a
    kind that only a plugin knows are not read.
    """
    kind, *parts = _split(description)
    if re.search(r"(?<!\\)(\\\\)*\\$", description):
        raise AddressError("the backslash at its end has no character to escape")
    if kind == _HAPROXY:
        if not parts:
            raise AddressError("haproxy needs an endpoint after it, such as haproxy:tcp:12480")
        return check_address(description.partition(":")[2])
    known = _KINDS.get(kind)
    if known is None:
        if kind == "stdio" or kind.lower() not in _plugin_kinds():
            kinds = ", ".join(_KINDS)
            raise AddressError(f"unknown kind {kind!r}: expected {kinds} or {_HAPROXY}")
        return Address(kind, {})
    values = _parse_parts(kind, known, parts)
    for name, value in values.items():
        expected, fits = _ACCEPTED_VALUES.get(name, ("", bool))
        if expected and not fits(value):
            raise AddressError(f"{name}: expected {expected}, got {value!r}")
    if kind == "systemd" and ("index" in values) == ("name" in values):
        raise AddressError("systemd takes an index or a name, and not both")
    if kind == "ssl":
        values.setdefault("privateKey", "server.pem")
    _check_files(values)
    return Address(kind, values)


def kind_of(description: str) -> str:
    """Return the kind of *description* without haproxy, such as `tcp`; checks nothing."""
    kind, *parts = _split(description)
    return kind_of(":".join(parts)) if kind == _HAPROXY and parts else kind


def takes_certificate(description: str) -> bool:
    """
    Return whether connections to *description* use TLS if the server has a certificate.

    That is, if they are of TCP, and the endpoint has no certificate of its own.
    """
    is_inet = re.search(r"[:=]INET6?(:|$)", description) is not None
    kind = kind_of(description)
    return kind in ("tcp", "tcp6") or (kind == "systemd" and is_inet)


def scheme_of(description: str, *, has_certificate: bool) -> str:
    """Return the scheme of a URL at *description*; the server may have a certificate."""
    is_secure = kind_of(description) in ("ssl", "tls")
    return "https" if is_secure or (has_certificate and takes_certificate(description)) else "http"


def is_wrapped(description: str) -> bool:
    """Return whether *description* has haproxy before its kind."""
    return _split(description)[0] == _HAPROXY


def with_backlog(description: str) -> str:
    """
    Return *description*, with `DEFAULT_BACKLOG` added if it sets no backlog.

    If its kind of address has no backlog, it is returned unchanged.
    """
    kind, *parts = _split(description)
    if kind == _HAPROXY:
        return f"{kind}:{with_backlog(':'.join(parts))}" if parts else description
    known = _KINDS.get(kind)
    if known is None or "backlog" not in known.parts:
        return description
    unnamed = [part for part in parts if not _is_named(part)]
    is_set = len(unnamed) > known.parts.index("backlog") or any(
        part.startswith("backlog=") for part in parts
    )
    return description if is_set else f"{description}:backlog={DEFAULT_BACKLOG}"


def listen_failure_reason(failure: Failure) -> str:
    """Return the reason, in one line, for *failure*, the result of an attempt to listen."""
    error = failure.value
    reason = error.socketError if isinstance(error, CannotListenError) else error
    for kind, words in _REASONS.items():
        if isinstance(reason, kind):
            return words
    if isinstance(reason, gaierror):
        return f"interface: {reason.strerror}"
    if type(reason).__module__.startswith("OpenSSL"):
        return "the files hold no certificate with its private key in PEM"
    words = getattr(reason, "strerror", None) or str(reason)
    return words.partition("\n")[0] or type(reason).__name__


#: Errors of Twisted's parsers for an address that passed `check_address`, and their meaning.
_REASONS: Mapping[type[Exception], str] = {
    LookupError: "systemd has passed no such socket to this process",
    AttributeError: "sslmethod: pyOpenSSL has none of this name; leave it out",
    ImportError: "TLS needs pyOpenSSL, which is not installed",
}


def _split(description: str) -> list[str]:
    """Return the parts of *description*, which are separated by unescaped colons."""
    return re.split(r"(?<!\\):", description)


def _is_named(part: str) -> bool:
    return re.search(r"(?<!\\)=", part) is not None


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _parse_parts(kind: str, known: _Kind, parts: list[str]) -> dict[str, str]:
    """
    Return the values of *parts* by their names.

    Raises `AddressError` for a part that is unknown, given twice or missing.
    """
    names = ", ".join(known.parts)
    unnamed = [_unescape(part) for part in parts if not _is_named(part)]
    if len(unnamed) > len(known.parts):
        raise AddressError(
            f"{len(unnamed)} parts without a name, but {kind} takes {names}; "
            r"a colon inside a part is written \:"
        )
    values = dict(zip(known.parts, unnamed, strict=False))
    for part in filter(_is_named, parts):
        name, value = map(_unescape, re.split(r"(?<!\\)=", part, maxsplit=1))
        if name not in known.parts:
            raise AddressError(f"{kind} has no part {name!r}: it takes {names}")
        if name in values:
            raise AddressError(
                rf"{name} is given twice: {kind} takes {names}; a colon inside a part is written \:"
            )
        values[name] = value
    if not values.get(known.parts[0]):
        raise AddressError(f"the {known.parts[0]} is missing, as in {known.sample}")
    return values


def _plugin_kinds() -> set[str]:
    """Return the kinds of addresses that plugins of Twisted and of other packages add."""
    return {plugin.prefix.lower() for plugin in getPlugins(IStreamServerEndpointStringParser)}


def _is_number(value: str, maximum: int, base: int = 10) -> bool:
    try:
        return 0 <= int(value, base) <= maximum
    except ValueError:
        return False


#: The values that a part accepts, in words and as a predicate.
_ACCEPTED_VALUES: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "port": ("a whole number from 0 to 65535", lambda value: _is_number(value, 65_535)),
    "backlog": ("a whole number", lambda value: _is_number(value, 2**31 - 1)),
    "index": ("a whole number", lambda value: _is_number(value, 2**31 - 1)),
    "mode": ("an octal number such as 660", lambda value: _is_number(value, 0o7777, 8)),
    "lockfile": ("0 or 1", {"0", "1"}.__contains__),
    "domain": ("INET, INET6 or UNIX", {"INET", "INET6", "UNIX"}.__contains__),
    "path": ("a folder of PEM files", lambda value: Path(value).is_dir()),
}


def _check_files(values: Mapping[str, str]) -> None:
    for name in _FILE_PARTS:
        if name not in values:
            continue
        try:
            Path(values[name]).open("rb").close()
        except OSError as error:
            raise AddressError(f"{name}: {error.strerror}: {values[name]!r}") from None
