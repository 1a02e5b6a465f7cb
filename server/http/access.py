"""
The entry of a request in the log: the request, its answer, and where its time went.

Pure.  An entry is made on the reactor thread, for an answer or an early refusal; it may be
formatted on any thread.  Times are seconds.

An entry refers to the `Timing` of its request, which may change until the entry is formatted, up to
0.5 s later: if a request has expired while it was decoded or run, the end of that adds a phase.  So
the phases of such a request may exceed its whole time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress

from server.call import Timing
from server.http.trace_context import TraceContext
from server.statistics import run_span

#: Written for a field that is not known.
UNKNOWN = "-"


@dataclass(slots=True)
class Access:
    """One request and its answer; a field that was not received is `UNKNOWN` or None."""

    client: str  #: an IP address, or "unix" for a client of a Unix socket
    method: str
    uri: str
    status: int
    sent: int  #: bytes of the answer's body
    request_id: str
    server_timing: str = ""  #: the answer's Server-Timing, if it has one
    model: str = ""  #: the model and version that the answer names: NAME/VERSION
    trace: TraceContext | None = None
    timing: Timing | None = None  #: of a request for inference
    #: From its complete head until its body is complete, the answer is ready, and the answer is
    #: passed to the transport.
    received: float | None = None
    ready: float | None = None
    whole: float | None = None


#: Writes the entry of one request to the log.
AccessLog = Callable[[Access], object]


def client_name(address: IAddress) -> str:
    """
    Return the IP address in *address*, "unix" for a Unix socket, else `UNKNOWN`.

    The path of a Unix socket is not returned, because it may contain any bytes.
    """
    host = getattr(address, "host", None)
    if isinstance(host, str):
        return host
    return "unix" if isinstance(address, UNIXAddress) else UNKNOWN


def ascii_text(sent: bytes) -> str:
    """Return *sent*, a part of a request line, as text; a byte that is not ASCII is replaced."""
    return sent.decode("ascii", "replace")


def access_line(access: Access) -> str:
    """Return the entry as a line without its end; the whole time is the last of the timing."""
    timing = access.server_timing
    if access.whole is not None:
        timing = f"{timing}{', ' if timing else ''}whole;dur={access.whole * 1e3:.3f}"
    trace = "" if access.trace is None else f" trace={access.trace.trace_id}"
    return (
        f"{access.client} {access.method} {access.uri} {access.status} {access.sent} "
        f"{access.request_id} {timing}{trace}"
    )


def access_fields(access: Access) -> dict[str, object]:
    """Return the fields of the entry in a JSON line; those that are not known are left out."""
    fields: dict[str, object] = {
        **trace_fields(access.request_id, access.trace, access.model),
        "client": access.client,
        "method": access.method,
        "path": access.uri,
        "status": access.status,
        "bytes": access.sent,
    }
    if access.whole is not None:
        fields["ms"] = _ms(access.whole)
    timing = access.timing
    if timing is None:
        return fields
    fields |= {f"{phase}_ms": _ms(seconds) for phase, seconds in phases(access).items()}
    if access.ready is not None:
        fields["whole_ms"] = _ms(access.ready)
    if timing.rows:
        fields |= {"rows": timing.rows, "rows_before": timing.rows_before}
    if timing.trace.runs:
        last = timing.trace.runs[-1]
        fields |= {"batch_rows": last.rows, "batch_reason": last.reason}
        fields["batches"] = len(timing.trace.runs)
    return fields


def trace_fields(request_id: str, trace: TraceContext | None, model: str) -> dict[str, str]:
    """Return what identifies a request in a JSON line; *model* is NAME/VERSION, or empty."""
    fields = {"request_id": request_id}
    if trace is not None:
        fields |= {"trace_id": trace.trace_id, "span_id": trace.span_id}
    if model:
        fields["model"], _, fields["version"] = model.rpartition("/")
    return fields


def phases(access: Access) -> Mapping[str, float]:
    """
    Return the seconds of each phase of a request for inference that has ended, in their order.

    ``other`` is what remains of the whole time: waiting for the reactor, and for a thread that
    writes a large answer.  It is a part of ``run`` if the last run has not ended: then the request
    was answered before, because it was late or the run was given up.  The times of a request with
    several images, or that expired, may exceed the whole.
    """
    timing = access.timing
    if timing is None:
        return {}
    runs = timing.trace.runs
    known = {
        "receive": access.received,
        "decode_wait": timing.decode_wait,
        "decode": timing.decode,
        "queue": timing.trace.queued,
        "run": run_span(runs) if runs else None,
        "encode": timing.encode,
    }
    if access.whole is not None and access.ready is not None:
        known["write"] = access.whole - access.ready
    times = {phase: seconds for phase, seconds in known.items() if seconds is not None}
    if access.whole is not None:
        rest = max(0.0, access.whole - sum(times.values()))
        if runs and runs[-1].seconds is None:
            times["run"] += rest
        else:
            times["other"] = rest
    return times


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
