"""
A worker's end of the reports: send its own to the supervisor, and ask for those of all workers.

Runs on the reactor thread of the worker.
"""

from collections.abc import Callable, Mapping
from math import inf
from os import getpid
from typing import Any

import orjson
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from batcher.error_kind import ErrorKind, RequestError
from server.discovery.worker_record import ModelLoad
from server.models import Models, NotServed
from server.workers.channel import Channel, ChannelError, Handler

_log = Logger()


class SupervisorSilent(RequestError):
    """The supervisor has not answered, so the values of the other workers are missing."""

    kind = ErrorKind.UNAVAILABLE
    retry_after = 0.0


class WorkerGroup:
    """All workers of a server, for the worker with this *index*: its calls of the supervisor."""

    def __init__(self, index: int, channel: Channel) -> None:
        """*channel* is the connection to the supervisor."""
        self.index = index
        self._channel = channel

    def readings(self) -> Deferred[Any]:  # Any: JSON
        """Return a Deferred of the readings of all workers; fails with `SupervisorSilent`."""
        return self._ask("readings")

    def status(self) -> Deferred[Any]:  # Any: JSON
        """Return a Deferred of the status of each worker; fails with `SupervisorSilent`."""
        return self._ask("status")

    def _ask(self, name: str) -> Deferred[Any]:
        return self._channel.call(name).addErrback(_silent)

    async def leave(self, readings: Callable[[], Deferred[bytes]]) -> None:
        """
        Send the last *readings*; called when all requests are answered, and the models in memory.

        Does not fail: without an answer, some counts of the last seconds are lost.
        """
        try:
            content = orjson.Fragment(await readings())
            argument = {"pid": getpid(), "readings": content}
            await self._channel.call("last_readings", argument)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - a stop must not fail because of its counts
            _log.failure("the last counts were not sent to the supervisor")


def _silent(failure: Failure) -> None:
    failure.trap(ChannelError)
    raise SupervisorSilent(f"the supervisor of the workers: {failure.getErrorMessage()}")


def worker_handlers(
    readings: Callable[[], Deferred[bytes]],
    models: Models,
    loads: Callable[[], Mapping[str, ModelLoad]],
) -> dict[str, Handler]:
    """
    Return the handlers for the channel to the supervisor.

    *readings* returns those of this process as JSON, *loads* those of its models.
    """
    return {
        "readings": lambda _: readings().addCallback(lambda text: orjson.Fragment(text)),
        "status": lambda _: worker_status(models),
        "load": lambda _: loads_to(loads()),
    }


def worker_status(models: Models) -> dict[str, object]:
    """Return what `GET /status` shows of this worker; None for values that it does not have yet."""
    try:
        inference = models.any()
    except NotServed:
        return {"lanes": None, "expected_wait_ms": None}
    wait = inference.admission.expected_wait()
    return {
        "lanes": inference.model.batcher.stats().lanes,
        "expected_wait_ms": round(wait * 1e3, 3) if wait < inf else None,
    }


def loads_to(loads: Mapping[str, ModelLoad]) -> dict[str, object]:
    """Return *loads* for JSON, in which an infinite wait becomes null."""
    return {name: (it.expected_wait, it.added_wait, it.versions) for name, it in loads.items()}
