"""
Register a worker with the registry processes of a ``registry://`` URL, over HTTP.

Each registry process has leases of its own and does not share them.  So the record is written to
all processes of the URL, and a call succeeds if at least one has taken it.  Everything here runs on
the reactor thread.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred, fail
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from server.discovery.cancelling import ended_when_cancelled
from server.discovery.engine import CALL_TIMEOUT, EngineError
from server.discovery.engine_url import EngineURL, join_host_port
from server.discovery.engines.http_requests import NO_ANSWER, body_of, read_content
from server.discovery.worker_record import WorkerRecord

_log = Logger()

#: The most characters of an answer that an error quotes.
MAX_QUOTED_CHARACTERS = 200


class RegistryRegistrar:
    """A `server.discovery.engine.Registrar`; inert until the first call."""

    def __init__(self, url: EngineURL, reactor: Any, token: Callable[[], str | None]) -> None:
        """
        *token* returns the token that the registry asks for, None if there is none; it may raise
        `EngineError`, and is called for each request.

        *reactor* is Any because Twisted has no type with timers and connections.
        """
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        client = HTTPClient(Agent(reactor, connectTimeout=CALL_TIMEOUT, pool=self._pool))
        self._processes = [
            _Process(client, reactor, url, host, logs=len(url.hosts) > 1) for host in url.hosts
        ]
        self._token = token
        self._lease = url.lease
        self._id: str | None = None

    def put(self, record: WorkerRecord) -> Deferred[None]:
        """
        Write *record* to each process; the Deferred fires when the first has taken it.

        A process that does not answer must not delay the renewals of the others: its call continues
        until its timeout, and it gets no other one meanwhile.
        """
        self._id = record.id
        headers = {"Content-Type": "application/json", "X-Lease-Seconds": f"{self._lease:g}"}
        headers.update(self._authorization())
        body = record.to_json()
        calls: list[Deferred[Any]] = [
            it.call("PUT", record.id, headers, body) for it in self._processes if not it.is_busy
        ]
        if not calls:
            return fail(EngineError("the last call has not ended"))
        ended = DeferredList(calls, fireOnOneCallback=True, consumeErrors=True)
        return ended.addCallback(
            lambda result: _check(result) if isinstance(result, list) else None
        )

    async def withdraw(self) -> None:
        """Remove the record from each process, after ending the calls that would write it."""
        for process in self._processes:
            process.end_call()
        if self._id is not None:
            headers = self._authorization()
            calls = [it.call("DELETE", self._id, headers) for it in self._processes]
            await DeferredList(calls, consumeErrors=True).addCallback(_check)

    async def close(self) -> None:
        """End all calls and close the connections."""
        for process in self._processes:
            process.end_call()
        await self._pool.closeCachedConnections()

    def _authorization(self) -> dict[str, str]:
        token = self._token()
        return {} if token is None else {"Authorization": f"Bearer {token}"}


class _Process:
    """One registry process, with at most one call under way."""

    def __init__(
        self, client: HTTPClient, reactor: Any, url: EngineURL, host: tuple[str, int], *, logs: bool
    ) -> None:
        """If *logs*, log when calls begin to fail and when they succeed again."""
        self._name = join_host_port(*host)
        self._workers = f"http://{self._name}{url.path and '/'}{url.path}/workers"
        self._client = client
        self._reactor = reactor
        self._logs = logs
        self._is_away = False
        self._calling: Deferred[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return self._calling is not None

    def end_call(self) -> None:
        """Cancel the call under way, if there is one."""
        if self._calling is not None:
            self._calling.cancel()

    def call(
        self, method: str, worker_id: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Deferred[None]:
        """Make the request; the Deferred fails with `EngineError` within `CALL_TIMEOUT`."""
        request = ensureDeferred(self._request(method, worker_id, headers, body))
        self._calling = call = ended_when_cancelled(request)
        return call.addTimeout(CALL_TIMEOUT, self._reactor).addBoth(self._ended)

    async def _request(
        self, method: str, worker_id: str, headers: Mapping[str, str], body: bytes | None
    ) -> None:
        answer = await self._client.request(
            method,
            f"{self._workers}/{worker_id}",
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=None if body is None else body_of(body, self._reactor),
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        content = await read_content(answer)
        if not 200 <= answer.code < 300:
            raise EngineError(f"{self._name} answers {answer.code}: {_quoted(content)}")

    def _ended(self, result: Failure | None) -> None:
        """Note that the call has ended; raise its error in words."""
        self._calling = None
        if not isinstance(result, Failure):
            if self._is_away and self._logs:
                _log.info("the registry {name} takes the record again", name=self._name)
            self._is_away = False
            return
        if result.check(*NO_ANSWER):
            result = Failure(EngineError(f"{self._name}: {_reason(result)}"))
        if not self._is_away and self._logs and not result.check(CancelledError):
            self._is_away = True
            _log.warn("a registry does not take the record: {error}", error=str(result.value))
        result.raiseException()


def _check(outcome: Any) -> None:  # Any: a list, or one result, as DeferredList has it
    """Raise the first error of a `DeferredList`, unless a call has succeeded."""
    if isinstance(outcome, list) and not any(succeeded for succeeded, _ in outcome):
        outcome[0][1].raiseException()


def _reason(failure: Failure) -> str:
    """Return why the process could not be reached, in one line."""
    error = failure.value
    if isinstance(error, DeferredTimeout):
        return f"no answer within {CALL_TIMEOUT:g} s"
    if isinstance(error, Refused):
        return "connection refused"
    causes = getattr(error, "reasons", None)
    if causes:  # of twisted.web: the errors that have ended the request
        return _reason(causes[0])
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__


def _quoted(content: bytes) -> str:
    """Return the reason in the body of an answer: its member "error" if it is a JSON object."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        document = content.decode(errors="replace")
    if isinstance(document, dict):
        document = document.get("error", "")
    return " ".join(str(document).split())[:MAX_QUOTED_CHARACTERS] or "no reason is given"
