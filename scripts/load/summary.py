"""
Compute the figures of a load from its record.

Pure.  A request without an answer counts as an infinite latency in the percentiles, so that a
server does not look fast by dropping requests; the percentiles leave out refusals and error
answers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import ceil, inf, isfinite
from typing import Any

import numpy as np

from scripts.load.record import Record

PERCENTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p95_ms": 95.0, "p99_ms": 99.0, "p999_ms": 99.9}

#: The percentiles that are given for refusals.
REFUSAL_FIGURES = {"p50_ms": 50.0, "p99_ms": 99.0, "max_ms": 100.0}

#: The client was too slow if a percentile of the send lags exceeds this share of the same
#: percentile of the latencies; a lag below `MIN_LAG_SECONDS` is noise.
MAX_LAG_SHARE, MIN_LAG_SECONDS = 0.1, 0.001

#: The client was too slow if it ran, or waited for a core, for more than this share of the time.
MAX_CPU_SHARE = 0.9

#: The largest share of requests sent again that the closing of idle connections explains.
MAX_RETRY_SHARE = 0.01

#: A percentile is unreliable if fewer requests than this lie beyond it.
MIN_TAIL_REQUESTS = 5


@dataclass(frozen=True, slots=True)
class ClientStats:
    """
    What the load test measured of itself, and the settings that the figures need beside the record.
    """

    seconds: float  #: how long requests were due, without the warm-up
    closed: bool  #: whether the load was a closed loop
    cores: float  #: CPU seconds per second that the load test used
    starved: float  #: seconds per second that it waited for a core
    connections: int  #: connections opened
    waited: int  #: requests that waited because all connections were busy
    limit: int  #: connections allowed
    retried: int
    slo: float  #: seconds within which an answer is in time


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one load; None: the figure is unknown, or a percentile is infinite."""

    rate: float  #: answers/s while requests were due
    offered: float  #: requests/s that were due
    sent: int  #: answered + refused + errors
    answered: int
    refused: int
    errors: int
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None
    slo_ms: float
    goodput: float  #: answers/s within the SLO
    good_share: float  #: the share of the requests sent that were answered within the SLO
    refused_p99_ms: float | None
    #: The latencies of refusals by status: a 429 is sent at once, a 504 after the deadline.
    refusals: Mapping[str, Mapping[str, float | None]]
    mean_rows: float | None  #: rows of a batch, mean over the batches; None if not reported
    requests_by_rows: Mapping[str, int]  #: by rows of a batch, the requests in such batches
    decode_p50_ms: float | None
    decode_p99_ms: float | None
    queue_p50_ms: float | None
    queue_p99_ms: float | None
    run_p50_ms: float | None
    run_p99_ms: float | None
    statuses: Mapping[str, int]
    error_kinds: Mapping[str, int]
    examples: Mapping[str, str]  #: the first body of each unsuccessful status
    duration: float  #: seconds
    connections: int
    retried: int
    send_lag_p99_ms: float | None
    client_cores: float  #: CPU seconds per second that the load test used
    client_starved: float  #: seconds per second that it waited for a core
    warnings: tuple[str, ...]  #: why the figures may be wrong

    def as_json(self) -> dict[str, Any]:
        """
        Return the figures by name.

        The figure ``requests_by_rows`` also has its former name, ``rides``.
        """
        return {**asdict(self), "rides": dict(self.requests_by_rows)}


def summarise(record: Record, client: ClientStats) -> Summary:
    """Return the figures of the load that *record* and *client* describe."""
    latencies = np.frombuffer(record.latencies)
    waits = np.sort(np.concatenate([latencies, np.full(record.unanswered, inf)]))
    good = latencies <= client.slo
    carried = np.frombuffer(record.carried)
    here, span = _answers_in_time_span(record, client)
    # A client of a closed loop waits for its last answer, which may come after the end.
    in_time = (good & here).sum() + (carried <= client.slo).sum() if client.closed else good.sum()
    refusals = {
        status: np.sort(np.frombuffer(each)) for status, each in sorted(record.refusals.items())
    }
    sent, lags = record.sent, np.sort(np.frombuffer(record.lags))
    return Summary(
        rate=_rounded((int(here.sum()) + len(carried)) / span),
        offered=_rounded(sent / client.seconds),
        sent=sent,
        answered=len(latencies),
        refused=record.refused,
        errors=sum(record.errors.values()),
        mean_ms=_milliseconds(float(waits.mean())) if len(waits) else None,
        **{name: percentile(waits, share) for name, share in PERCENTILES.items()},
        max_ms=percentile(waits, 100.0),
        slo_ms=client.slo * 1e3,
        goodput=_rounded(int(in_time) / span),
        good_share=_rounded(int(good.sum()) / sent) if sent else 0.0,
        refused_p99_ms=percentile(np.sort(np.concatenate([*refusals.values(), []])), 99.0),
        refusals={
            str(status): {name: percentile(each, share) for name, share in REFUSAL_FIGURES.items()}
            for status, each in refusals.items()
        },
        mean_rows=_mean_rows(record),
        requests_by_rows={
            str(rows): count for rows, count in sorted(record.requests_by_rows.items())
        },
        **_parts(record),
        statuses={str(status): count for status, count in sorted(record.statuses.items())},
        error_kinds=dict(record.errors.most_common()),
        examples={str(status): body for status, body in sorted(record.examples.items())},
        duration=_rounded(client.seconds),
        connections=client.connections,
        retried=client.retried,
        send_lag_p99_ms=percentile(lags, 99.0),
        client_cores=_rounded(client.cores),
        client_starved=_rounded(client.starved),
        warnings=tuple(_warnings(record, client, lags)),
    )


def percentile(ordered: np.ndarray, share: float) -> float | None:
    """
    Return the percentile *share* (0 to 100) of *ordered*, ascending seconds, in milliseconds.

    The result is one of the values, without interpolation; None if *ordered* is empty or the value
    is infinite.
    """
    if not len(ordered):
        return None
    return _milliseconds(float(ordered[max(0, ceil(share * len(ordered) / 100) - 1)]))


def _milliseconds(seconds: float) -> float | None:
    return round(seconds * 1e3, 3) if isfinite(seconds) else None


def _rounded(number: float) -> float:
    return round(number, 4)


def _answers_in_time_span(record: Record, client: ClientStats) -> tuple[np.ndarray, float]:
    """
    Return a mask of the answers that count for the rate, and the seconds to divide their number by.

    Answers count that came before the end of the load.  The answers of a closed loop come in
    batches. So its time span ends with the last answer that counts, and no part of a batch is
    counted.  But the span ends at most a median latency before the end of the load, so that a
    server that stalls at the end does not look fast.
    """
    ended = np.frombuffer(record.ended) - (record.counted_from - record.start)
    here = ended <= client.seconds
    if client.closed and here.any():
        typical = float(np.median(np.frombuffer(record.latencies)))
        return here, max(float(ended[here].max()), client.seconds - typical)
    return here, client.seconds


def _mean_rows(record: Record) -> float | None:
    """
    Return the mean number of rows of a batch; None if no answer states its batch.

    Each of the n requests in a batch of n rows reports that batch, so it counts as 1/n of a batch.
    """
    total = sum(record.requests_by_rows.values())
    batches = sum(count / rows for rows, count in record.requests_by_rows.items() if rows)
    return _rounded(total / batches) if batches else None


def _parts(record: Record) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    for part, column in record.parts.items():
        times = np.frombuffer(column)
        known = np.sort(times[~np.isnan(times)])
        figures[f"{part}_p50_ms"] = percentile(known, 50.0)
        figures[f"{part}_p99_ms"] = percentile(known, 99.0)
    return figures


def _warnings(record: Record, client: ClientStats, lags: np.ndarray) -> Iterator[str]:
    if client.cores + client.starved > MAX_CPU_SHARE:
        yield (
            f"this client used {client.cores:.0%} of a core and waited for one "
            f"{client.starved:.0%} of the time: it may be the bottleneck, "
            "and the server may do better than this"
        )
    waits = np.sort(np.frombuffer(record.latencies))
    for share, one_in in ((99.0, 100), (99.9, 1000)):
        lag, wait = percentile(lags, share), percentile(waits, share)
        if lag is not None and lag > max(MIN_LAG_SECONDS * 1e3, MAX_LAG_SHARE * (wait or 0.0)):
            yield (
                f"1 in {one_in} requests was sent at least {lag:.1f} ms late: "
                "this client or machine was too busy; the latencies include this delay"
            )
            break
    if client.waited:
        yield (
            f"{client.waited} requests waited for one of the {client.limit} connections; "
            "allow more with --connections"
        )
    if client.retried > MAX_RETRY_SHARE * record.sent:
        yield (
            f"{client.retried} requests were sent again, because the server had closed a "
            "connection that was kept open"
        )
    beyond = len(record.latencies) + record.unanswered
    if 0 < beyond / 100 < MIN_TAIL_REQUESTS:
        yield f"p99 rests on {beyond} requests: measure for longer to rely on it"
