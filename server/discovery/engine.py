"""
What a registry of workers must do, whatever stores its records: ZooKeeper, etcd, our own process.

Everything here runs on the reactor thread.
"""

from collections.abc import Awaitable
from typing import Protocol

from server.discovery.members import Members
from server.discovery.worker_record import WorkerRecord


class EngineError(Exception):
    """The registry could not be reached or refused; the message gives the reason in one line."""


class Registrar(Protocol):
    """Holds the record of one worker in a registry."""

    def put(self, record: WorkerRecord) -> Awaitable[None]:
        """
        Write *record* under a lease, in the place of the former one, and renew the lease.

        Called again at least once in a third of the lease, also if nothing has changed.  A lease
        that was lost meanwhile is made anew.  Raises `EngineError` within `CALL_TIMEOUT`; the
        caller tries again.
        """

    def withdraw(self) -> Awaitable[None]:
        """
        Remove the record; nothing happens if there is none.

        Raises `EngineError` within `CALL_TIMEOUT`.  `put` may be called again.
        """

    def close(self) -> Awaitable[None]:
        """End connections and threads; the record ends then, or when its lease ends."""


class Watch(Protocol):
    """Keeps `Members` equal to what a registry has."""

    members: Members

    def start(self) -> None:
        """Begin; from then on it retries by itself, and states in `members` if it fails."""

    def stop(self) -> Awaitable[None]:
        """End connections, timers and threads."""


#: How long a call of a `Registrar` may take, in seconds: an engine that is stopped answers nothing.
CALL_TIMEOUT = 3.0
