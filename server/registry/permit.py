"""
Decide whether a request may register or remove a worker.

By the address of the peer and by its token.  What a header such as X-Forwarded-For states of the
client is not read, because any client can write it.  Pure, except that the file of the token is
read for each request.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TypeAlias

from server.api.permit import PermitToken, permit_any
from server.discovery.addresses import plain_address
from server.http.error_statuses import HTTPError
from server.http.messages import Head

Network: TypeAlias = IPv4Network | IPv6Network

#: What `server.http.access.client_name` returns for a client of a unix socket.
_UNIX = "unix"


class RegistrationPermit:
    """
    Permits registrations.

    With a token every request needs it, and without one only those from other machines are refused;
    a peer in one of the *trusted* networks is permitted in both cases.
    """

    def __init__(self, token_file: Path | None = None, trusted: Sequence[Network] = ()) -> None:
        self._token = None if token_file is None else PermitToken(token_file)
        self._trusted = tuple(trusted)

    def check(self, head: Head, peer: str) -> None:
        """
        Raise `HTTPError` unless the request with this head, from *peer*, may register a worker.

        401 without the token, 403 from an address that is not trusted, or from a browser's page.
        """
        permit_any(head)
        if self.needs_no_token(peer):
            return
        if self._token is None:
            raise HTTPError(
                403,
                f"registration from {peer} needs the registry's option --token-file or --trusted",
            )
        self._token(head)

    def needs_no_token(self, peer: str) -> bool:
        """Return whether a client at the address *peer* may register workers without a token."""
        try:
            address = plain_address(peer)
        except ValueError:
            return peer == _UNIX and self._token is None
        if any(address in network for network in self._trusted):
            return True
        return self._token is None and address.is_loopback
