"""
What a connection needs of the protocol that parses its requests.

May import neither twisted.web nor Klein; runs on the reactor thread.
"""

from typing import Any, Protocol

from server.http.trace_context import TraceContext


class Receiver(Protocol):
    """What a `Connection` needs of the protocol that parses its requests."""

    transport: Any  # Any: TCP can close one direction, TLS cannot

    def has_request(self) -> bool:
        """Whether a request is being received or answered; a refused one does not count."""

    def has_refused_body(self) -> bool:
        """Whether the rest of the body of a refused request is being discarded."""

    def request_line(self) -> tuple[str, str]:
        """Return method and target of the request that is being received, or `UNKNOWN`."""

    def head_facts(self) -> tuple[float | None, TraceContext | None]:
        """Return when the head of that request was complete, None before, and its trace."""

    def origin(self) -> str | None:
        """Return the Origin header of the request that is being received, if it has one."""

    def refuse(self, error: Exception) -> None:
        """Answer the request that is being received with *error*, by `Connection.refuse`."""

    def drop_requests(self) -> None:
        """Drop all requests and their bodies: the connection discards what it receives."""

    def resume_receiving(self) -> None:
        """Receive and parse again, after `Connection.pause`."""
