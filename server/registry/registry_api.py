"""
The routes of the registry: which worker takes the next request, registrations, and reports.

Runs on the reactor thread.
"""

from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred, succeed

from server.discovery.engine_url import DEFAULT_LEASE, MAX_LEASE, MIN_LEASE, join_host_port
from server.discovery.members import Members
from server.discovery.worker_record import MAX_RECORD_BYTES, RecordError, WorkerRecord, from_json
from server.http.access import client_name
from server.http.connection import Connection
from server.http.content_encoding import coding_of, decoded
from server.http.error_statuses import HTTPError, error_response
from server.http.messages import Head, HTTPRequest, HTTPResponse, Route, json_response
from server.lifecycle import Lifecycle, State
from server.metrics.scrape import form_of
from server.registry.directory import Directory, Listed
from server.registry.leases import Leases
from server.registry.own_addresses import is_loopback, is_own
from server.registry.permit import RegistrationPermit
from server.registry.registry_metrics import RegistryMetrics

_TEXT = "text/plain; charset=utf-8"
_NOT_STORED = {"Cache-Control": "no-store"}


class RegistryAPI:
    """The routes of a registry."""

    def __init__(
        self,
        directory: Directory,
        leases: Leases,
        permit: RegistrationPermit,
        lifecycle: Lifecycle,
        *,
        seconds: Callable[[], float],
        own: Callable[[str], bool] = is_own,
    ) -> None:
        """*seconds* is the monotonic time; *own* returns whether a host is this machine."""
        self.metrics = RegistryMetrics(directory, leases)
        self._directory = directory
        self._leases = leases
        self._permit = permit
        self._lifecycle = lifecycle
        self._seconds = seconds
        self._own = own

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        return (
            Route("GET", "/", self.next_place, operations=()),
            Route("GET", "/worker", self.next_worker, operations=()),
            Route("GET", "/workers", self.workers, operations=()),
            Route(
                "PUT", "/workers/*", self.register, operations=(), preflight=self.check_registration
            ),
            Route(
                "DELETE",
                "/workers/*",
                self.withdraw,
                operations=(),
                preflight=self.check_registration,
            ),
            Route("GET", "/healthz", self.healthz, operations=()),
            Route("GET", "/readyz", self.readyz, operations=()),
            Route("GET", "/metrics", self.scrape, operations=()),
        )

    # --- the next worker

    def next_place(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """
        Answer with the port of the next worker, for ``curl localhost:$(curl -sf localhost:12480)``.

        With HOST:PORT if the worker or the client is on another machine.
        """
        worker = self._choose(request)
        if _is_here(cast("Connection", request.connection)) and self._own(worker.host):
            return _text(str(worker.port))
        return _text(join_host_port(worker.host, worker.port))

    def next_worker(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer with the HOST:PORT of the next worker."""
        worker = self._choose(request)
        return _text(join_host_port(worker.host, worker.port))

    def _choose(self, request: HTTPRequest) -> WorkerRecord:
        """Return the next worker; raises the errors of `Directory.choose`, and a 400."""
        values = request.query.get("model", ())
        if request.query.keys() - {"model"} or len(values) > 1:
            raise HTTPError(400, "the query takes one model=NAME, and nothing else")
        if "" in values:
            raise HTTPError(400, "the model in the query has no name: leave out ?model= for any")
        try:
            return self._directory.choose(values[0] if values else None)
        except Exception:
            self.metrics.not_found += 1
            raise

    # --- registrations

    def check_registration(self, head: Head) -> object:
        """Admit the request if it may register workers; else return the refusal."""
        try:
            self._check(head)
        except Exception as error:  # noqa: BLE001 - any error is the answer to this request
            return error_response(error, head.request_id)
        return True

    def _check(self, head: Head) -> None:
        peer = client_name(cast("Connection", head.connection).peer)
        try:
            self._permit.check(head, peer)
        except HTTPError:
            self.metrics.refused += 1
            raise

    def register(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Write the record in the body, and renew its lease; answer 204."""
        if not request.preflighted:  # Klein alone has matched its path
            self._check(request)
        try:
            record = _record(request)
            lease = _lease(request.headers.get("x-lease-seconds"))
        except RecordError as error:
            self.metrics.refused += 1
            raise HTTPError(400, str(error)) from None
        self._leases.put(record, lease)
        return succeed(HTTPResponse(204, b""))

    def withdraw(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Remove the worker; answer 204, also if there is none of this id."""
        if not request.preflighted:
            self._check(request)
        self._leases.remove(request.rest)
        return succeed(HTTPResponse(204, b""))

    # --- reports

    def workers(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer with all workers and all sources."""
        now = self._seconds()
        listed = sorted(self._directory.listed(), key=lambda it: it.id)
        return succeed(
            json_response(
                {
                    "workers": [_worker(it, now) for it in listed],
                    "sources": [_source(it, now) for it in self._directory.sources],
                }
            )
        )

    def healthz(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer 200."""
        return succeed(json_response({"alive": True}))

    def readyz(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """
        Answer 200 until the registry stops, then 503.

        It is ready without a worker, and while a source is away, because it can do nothing about
        either.
        """
        ready = self._lifecycle.state is State.READY
        content = {
            "ready": ready,
            "state": self._lifecycle.state.value,
            "workers": len(self._directory.listed()),
            "away": [it.source for it in self._directory.sources if it.away],
        }
        return succeed(HTTPResponse(200 if ready else 503, json_response(content).body))

    def scrape(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer with the metrics, in the format that the headers name."""
        headers = request.headers
        form = form_of(headers.get("accept", ""), headers.get("accept-encoding", ""))
        text = form.encode(self.metrics)
        return succeed(HTTPResponse(200, text, form.fields, content_type=form.content_type))


def _is_here(connection: Connection) -> bool:
    """Return whether the client is on this machine."""
    peer = client_name(connection.peer)
    return is_loopback(peer) or peer == client_name(connection.host)


def _text(line: str) -> Deferred[HTTPResponse]:
    return succeed(HTTPResponse(200, f"{line}\n".encode(), _NOT_STORED, content_type=_TEXT))


def _record(request: HTTPRequest) -> WorkerRecord:
    """Return the record in the body, whose id must be that of the path; raises `RecordError`."""
    body = decoded(request.body, coding_of(request.headers), MAX_RECORD_BYTES)
    record = from_json(body)
    if record.id != request.rest:
        raise RecordError(f"the path has the id {request.rest[:128]!r}, the record {record.id!r}")
    return record


def _lease(header: str | None) -> float:
    """Return the lease in *header*, in seconds; raises `RecordError`."""
    try:
        lease = DEFAULT_LEASE if header is None else float(header)
    except ValueError:
        lease = 0.0
    if not MIN_LEASE <= lease <= MAX_LEASE:
        bounds = f"{MIN_LEASE:g} to {MAX_LEASE:g}"
        raise RecordError(f"X-Lease-Seconds: expected {bounds}, got {header!r}")
    return lease


def _worker(listed: Listed, now: float) -> dict[str, object]:
    return {
        **listed.record.content(),
        "source": listed.members.source,
        "age_s": round(now - listed.written, 3),
        "state": _state(listed.members),
    }


def _source(members: Members, now: float) -> dict[str, object]:
    content: dict[str, object] = {
        "name": members.source,
        "state": _state(members),
        "workers": len(members.workers),
    }
    if members.away_since is not None:
        content |= {"reason": members.away, "for_s": round(now - members.away_since, 3)}
    return content


def _state(members: Members) -> str:
    """Return whether the workers of the source are up to date."""
    return "away" if members.away else "current"
