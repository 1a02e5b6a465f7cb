"""
Compose what ``--announce`` asks for: the registrar, the address of this server, the announcer.

Everything here runs on the reactor thread, except for the lookups of names.
"""

import ipaddress
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger

from server.discovery.announcer import Announcement, Announcer
from server.discovery.backoff import Backoff
from server.discovery.engine import CALL_TIMEOUT, EngineError
from server.discovery.engine_url import EngineURL, parse_engine_url
from server.discovery.engines.available import open_registrar
from server.discovery.lookups import Lookups, NameResolver
from server.discovery.own_address import address_towards
from server.discovery.worker_record import ModelLoad, WorkerRecord
from server.lifecycle import StartError
from server.settings.table import Settings

_log = Logger()


class NoTCPAddress(StartError):
    """The server has no address that a registry can list."""

    def __init__(self) -> None:
        super().__init__(
            "--announce needs an address of TCP, for example --port 0: a registry cannot list a "
            "unix socket"
        )


def check_announced(settings: Settings) -> None:
    """
    Raise `NoTCPAddress` if a registry is to list a server that has unix sockets alone.

    Called before they are bound: their files would stay when the start fails.
    """
    if settings.announce and all(it.startswith("unix:") for it in settings.endpoints):
        raise NoTCPAddress


class Announcing(Protocol):
    """Makes an announcer as `announcing` does, with its other arguments."""

    def __call__(
        self,
        addresses: Sequence[IAddress],
        *,
        loads: Callable[[], Awaitable[Mapping[str, ModelLoad]]],
        ready: Callable[[], bool],
        announcement: Announcement,
    ) -> Announcer | None:
        """Return the announcer, not started, or None."""


def announcing(
    settings: Settings,
    addresses: Sequence[IAddress],
    *,
    loads: Callable[[], Awaitable[Mapping[str, ModelLoad]]],
    ready: Callable[[], bool],
    announcement: Announcement,
    clock: IReactorTime,
    reactor: Any,
) -> Announcer | None:
    """
    Return the announcer that *settings* ask for, not started; None if they ask for none.

    *addresses* are those that take requests for inference; the first one of TCP is registered.
    Raises `NoTCPAddress` if there is none, as may be with sockets of systemd.  *loads* returns the
    models of the record, and *ready* whether the server takes requests.  *reactor* is Any for the
    same reason as in `InferenceService`; from now on it looks up names as `NameResolver` does.
    """
    if settings.announce is None:
        return None
    tcp = [it for it in addresses if isinstance(it, IPv4Address | IPv6Address)]
    if not tcp:
        raise NoTCPAddress
    url = parse_engine_url(settings.announce)
    reactor.installNameResolver(NameResolver(reactor.callFromThread))
    lookups = Lookups(address_towards, reactor.callFromThread)
    host = OwnHost(settings.announce_host or tcp[0].host, url, lookups, clock)
    worker_id = uuid4().hex

    async def record() -> WorkerRecord:
        return WorkerRecord(worker_id, await host.find(), tcp[0].port, await loads())

    token = TokenFile(settings.announce_token_file)
    return Announcer(
        open_registrar(url, reactor, token),
        record,
        ready=ready,
        registry=str(url),
        lease=url.lease,
        clock=clock,
        backoff=Backoff(random.random),
        announcement=announcement,
    )


class OwnHost:
    """
    The host under which other machines reach this server.

    It is the host that is configured or listened on.  If that means all interfaces, it is the
    address from which this machine reaches the registry.
    """

    def __init__(
        self, host: str, url: EngineURL, lookups: Lookups[str], clock: IReactorTime
    ) -> None:
        """*lookups* runs `address_towards`."""
        self._host = host
        self._url = url
        self._lookups = lookups
        self._clock = clock
        self._found = ""

    async def find(self) -> str:
        """Return the host; raises `EngineError` if the registry cannot be looked up."""
        if not self._found:
            self._found = await self._find()
            self._warn_if_local()
        return self._found

    async def _find(self) -> str:
        if self._host not in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            return self._host
        looking = self._lookups.find(self._host, self._url)
        try:
            return await looking.addTimeout(CALL_TIMEOUT, self._clock)
        except OSError as error:
            reason = error.strerror
        except DeferredTimeout:
            reason = f"the name of the registry is not resolved within {CALL_TIMEOUT:g} s"
        raise EngineError(f"the address of this machine is unknown: {reason}; set --announce-host")

    def _warn_if_local(self) -> None:
        if is_local(self._found) and not all(is_local(host) for host, _ in self._url.hosts):
            _log.warn(
                "{registry} gets the address {host}, which other machines cannot reach: "
                "set --announce-host, or another address with --listen",
                registry=str(self._url),
                host=self._found,
            )


def is_local(host: str) -> bool:
    """Return whether *host* is this machine for every machine, such as 127.0.0.1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class TokenFile:
    """The token in a file, which is read for each call: it may be replaced meanwhile."""

    def __init__(self, file: Path | None) -> None:
        """Without a *file* there is no token."""
        self._file = file

    def __call__(self) -> str | None:
        """Return the token; raises `EngineError` if the file cannot be read."""
        if self._file is None:
            return None
        try:
            return self._file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise EngineError(f"the file with the token cannot be read: {error}") from error
