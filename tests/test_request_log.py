"""Slow requests, and what a log line has of a request: server/http/request_log.py, faults.py."""

from math import inf

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from batcher.trace import Run, Trace
from server.call import Timing
from server.http.access import Access, phases
from server.http.error_statuses import error_response
from server.http.messages import HTTPRequest, HTTPResponse, Route
from server.http.request_log import MAX_SLOW_PER_MINUTE, MINUTE, RequestLog
from server.http.trace_context import TraceContext
from server.settings.table import Settings
from tests.fakes.http import request
from tests.fakes.server import Log
from tests.fakes.service import ServiceHarness
from tests.fakes.wire import WireServer
from tests.images import coloured, encoded

TRACE = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
HEADERS = {"X-Request-Id": "mine", "traceparent": f"00-{TRACE.trace_id}-{TRACE.span_id}-01"}
IMAGE = encoded(coloured(16, 16), "PNG")


def entry(whole: float | None, timing: Timing | None = None) -> Access:
    """Return the entry of a request that took *whole* seconds."""
    return Access("unix", "POST", "/", 200, 2, "mine", timing=timing, ready=whole, whole=whole)


def test_a_slow_request_is_logged_with_its_phases(log: Log) -> None:
    """With its batch, and the rows that waited before it; only inference, and only if slower."""
    requests = RequestLog(None, 0.5, Clock())
    assert requests.access_log is not None
    trace = Trace(0.25, [Run(8, 8, "full", 0.5), Run(2, 8, "retry", 0.125, started=0.5)])
    slow = entry(1.0, Timing(0.0625, 0.0, 3, trace, decode_wait=0.0, rows_before=40))
    slow.model, slow.trace, slow.received = "pets/7", TRACE, 0.03125
    for each in (entry(9.0), entry(None), entry(0.5, Timing()), slow):
        requests.access_log(each)
    phases = "receive 31.2, decode wait 0.0, decode 62.5, queue 250.0, run 625.0, encode 0.0"
    (line,) = log.lines()
    assert line == (
        f"slow request mine: POST / 200 took 1000.0 ms ({phases}, write 0.0, other 31.2); "
        "model pets/7; 2 batches, the last 2/8 retry; rows 3, 40 waited before; "
        f"trace {TRACE.trace_id}"
    )


def test_a_run_that_has_not_ended_has_the_rest_of_the_time() -> None:
    """The request was answered before, because it was late or its run was given up."""
    trace = Trace(0.25, [Run(8, 8, "full", None)])
    times = phases(entry(8.0, Timing(0.5, None, 1, trace, decode_wait=0.0)))
    assert times == {"decode_wait": 0.0, "decode": 0.5, "queue": 0.25, "run": 7.25, "write": 0.0}


def test_many_slow_requests_are_counted(log: Log) -> None:
    """After the first of a minute; also at the stop."""
    clock = Clock()
    requests = RequestLog(None, 0.5, clock)
    assert requests.access_log is not None
    more = "+{} more slow requests in the last minute, over 500 ms"
    for extra in (17, 0, 3):
        for _ in range(MAX_SLOW_PER_MINUTE + extra):
            requests.access_log(entry(1.0, Timing()))
        assert len(log.lines()) == MAX_SLOW_PER_MINUTE
        if extra == 3:
            requests.stop()
        else:
            clock.advance(MINUTE)
        assert log.lines()[MAX_SLOW_PER_MINUTE:] == ([more.format(extra)] if extra else [])
        log.events.clear()
    assert clock.getDelayedCalls() == []


def test_without_either_log_no_entry_is_made() -> None:
    """Because it takes time."""
    assert RequestLog(None, 0.0, Clock()).access_log is None


def test_the_phases_of_a_request_are_those_of_its_clock(
    monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """From the head to the answer, through the whole server; they add up to the whole time."""
    settings = Settings(slow_request=0.1, max_batch_size=1, default_timeout=inf)
    harness = ServiceHarness(monkeypatch, settings).started()
    client = harness.connect()
    data = request(body=IMAGE, headers=HEADERS)
    client.send(data[:-10])
    harness.reactor.advance(0.25)
    client.send(data[-10:])
    harness.reactor.advance(0.5)  # no decode thread is free
    harness.turn()
    assert client.answer.status == 200
    (line,) = [it for it in log.lines() if it.startswith("slow request")]
    assert line.startswith("slow request mine: POST / 200 took 765.6 ms (receive 250.0, ")
    assert "decode wait 500.0, decode 0.0, queue 0.0, run 15.6, encode 0.0, write 0.0," in line
    assert "other 0.0); model pets/7; batch 1/1 " in line
    assert line.endswith(f"; rows 1, 0 waited before; trace {TRACE.trace_id}")
    harness.stop()


@pytest.mark.parametrize("stage", ["endpoint", "preflight", "unwritable"])
def test_a_failed_request_is_logged_with_its_ids(stage: str, log: Log) -> None:
    """Whether it fails at its head, in its endpoint, or when its answer is written."""
    error = ZeroDivisionError("the secret")

    def endpoint(_: HTTPRequest) -> Deferred[HTTPResponse]:
        if stage == "endpoint":
            return fail(error)
        answer: Deferred[HTTPResponse] = Deferred()
        answer.callback(HTTPResponse(200, b"", {"X-Extra": "\udc80"}))
        return answer

    broken = Route(
        "POST",
        "/broken",
        endpoint,
        operations=(),
        preflight=lambda head: error_response(error, head.request_id),
    )
    server = WireServer(endpoint=endpoint, more=(broken,))
    client = server.connect()
    client.send(request("POST", "/broken" if stage == "preflight" else "/", headers=HEADERS))
    assert client.answer.status == 500
    assert client.answer.headers["x-request-id"] == client.answer.json()["request_id"] == "mine"
    (event,) = [it for it in log.events if "log_failure" in it]
    shown = {key: event[key] for key in ("request_id", "trace_id", "span_id")}
    assert shown == {"request_id": "mine", "trace_id": TRACE.trace_id, "span_id": TRACE.span_id}
    assert [entry.trace for entry in server.entries] == [TRACE]
    log.flush_errors()


def test_a_failed_run_is_logged_with_its_model(harness: ServiceHarness, log: Log) -> None:
    """As two fields, for the filters of a log collector."""
    client = harness.started().connect()
    harness.runner.errors.append(ValueError("bad op"))
    client.send(request(body=IMAGE, headers=HEADERS))
    harness.turn()
    assert client.answer.status == 500
    (event,) = [it for it in log.events if "log_failure" in it]
    assert (event["model"], event["version"], event["trace_id"]) == ("pets", "7", TRACE.trace_id)
    (line,) = log.flush_errors()
    assert line.startswith(f"request mine failed; model pets/7; trace {TRACE.trace_id}\n")


def test_a_trace_changes_no_answer() -> None:
    """The request id stays the client's, or is made as always."""
    for headers in ({"traceparent": HEADERS["traceparent"]}, {"traceparent": "00-zero"}, {}):
        server = WireServer()
        client = server.connect()
        client.send(request(headers=headers))
        assert "traceparent" not in client.answer.headers
        assert len(client.answer.headers["x-request-id"]) == 32
        expected = TRACE if headers.get("traceparent") == HEADERS["traceparent"] else None
        assert [entry.trace for entry in server.entries] == [expected]
