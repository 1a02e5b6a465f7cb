"""
Decide whether a request may change what is served.

By where it was received and by its token, never by the address of the peer: behind a proxy every
client has the address of the proxy.  A request of a browser's page has an Origin, and is refused.
"""

import hmac
from pathlib import Path

from server.http.error_statuses import HTTPError
from server.http.messages import Head


def permit_none(_: Head) -> None:
    """Raise a 404: this server takes no changes."""
    raise HTTPError(
        404, "changes of models are taken only with --admin-token-file, or on --admin-listen"
    )


def permit_any(head: Head) -> None:
    """Permit every request that no browser's page has made."""
    if "origin" in head.headers:
        raise HTTPError(403, "a request with an Origin header may not change what is served")


class PermitToken:
    """Permits requests with the token in *file*, which is read for each request with a token."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, head: Head) -> None:
        """Raise a 401 unless the header ``Authorization: Bearer TOKEN`` has the token."""
        permit_any(head)
        scheme, _, given = head.headers.get("authorization", "").partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given or not self._is_token(given):
            raise HTTPError(
                401,
                "expected the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )

    def _is_token(self, given: str) -> bool:
        try:
            token = self._file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise HTTPError(503, "the file with the token cannot be read") from error
        return hmac.compare_digest(given.encode(), token.encode())
