"""
Sum up what a load has shown.

Pure: a record in, figures out.  A request that no answer came to counts as endless in the
percentiles, so that a server does not look quick by dropping requests; refusals and error answers
stand apart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import ceil, inf, isfinite
from typing import Any

import numpy as np

from scripts.load.record import Record

PERCENTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p95_ms": 95.0, "p99_ms": 99.0, "p999_ms": 99.9}

#: What is told of refusals.
REFUSAL_FIGURES = {"p50_ms": 50.0, "p99_ms": 99.0, "max_ms": 100.0}

#: A client was too slow that sent requests later than they were due by more than this share of the
#: latencies, at the same percentile; less than a time that no one can tell from chance counts not.
LATE, LEAST_LATE = 0.1, 0.001

#: And so was one that used, or waited for a core, for more than this share of the time.
BUSY = 0.9

#: A client that had to send more than this share again has met more than idle connections' ends.
RETRIED = 0.01

#: A percentile that fewer answers than this lie beyond says little.
TAIL = 5


@dataclass(frozen=True, slots=True)
class Client:
    """What is to be known of the client beside its record."""

    seconds: float  #: how long requests were due, without the warm-up
    closed: bool  #: whether each client waited for its answer
    cores: float  #: CPU seconds a second that the client used
    starved: float  #: seconds a second that it waited for a core
    connections: int  #: how many were opened
    waited: int  #: requests that waited for one of the connections allowed
    limit: int  #: connections allowed
    retried: int
    slo: float  #: seconds in which an answer is good


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one load; None is what cannot be told, endless for a percentile."""

    rate: float  #: answers a second while requests were due
    offered: float  #: requests a second that were due
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
    goodput: float  #: answers a second that came within the SLO
    good_share: float  #: of the requests sent
    refused_p99_ms: float | None
    #: How soon refusals of each status came: those at once, and those that the time ran out for.
    refusals: Mapping[str, Mapping[str, float | None]]
    mean_rows: float | None  #: rows of a batch, mean over the batches; None if the server told none
    rides: Mapping[str, int]  #: rows of a batch: requests that rode in such a batch
    decode_p50_ms: float | None
    decode_p99_ms: float | None
    queue_p50_ms: float | None
    queue_p99_ms: float | None
    run_p50_ms: float | None
    run_p99_ms: float | None
    statuses: Mapping[str, int]
    error_kinds: Mapping[str, int]
    examples: Mapping[str, str]  #: the first body of each status that is no success
    duration: float  #: seconds
    connections: int
    retried: int
    send_lag_p99_ms: float | None
    client_cores: float  #: CPU seconds a second that the client used
    client_starved: float  #: seconds a second that it waited for a core
    warnings: tuple[str, ...]  #: why the figures may not be what they seem

    def as_json(self) -> dict[str, Any]:
        """Return the figures under their names."""
        return asdict(self)


def summed_up(record: Record, client: Client) -> Summary:
    """Return the figures of *record*."""
    latencies = np.frombuffer(record.latencies)
    waits = np.sort(np.concatenate([latencies, np.full(record.unanswered, inf)]))
    good = latencies <= client.slo
    carried = np.frombuffer(record.carried)
    here, span = _while_it_lasted(record, client)
    # Each client of a closed loop waits for its last answer, after the end.
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
        rides={str(rows): count for rows, count in sorted(record.rides.items())},
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
    Return the milliseconds that *share* per cent of the *ordered* seconds do not exceed.

    It is one of the values.  None where there are none, or where it is endless.
    """
    if not len(ordered):
        return None
    return _milliseconds(float(ordered[max(0, ceil(share * len(ordered) / 100) - 1)]))


def _milliseconds(seconds: float) -> float | None:
    return round(seconds * 1e3, 3) if isfinite(seconds) else None


def _rounded(number: float) -> float:
    return round(number, 4)


def _while_it_lasted(record: Record, client: Client) -> tuple[np.ndarray, float]:
    """
    Return which answers came while requests were due, and the seconds to divide them by.

    A closed loop's answers come in batches: its time ends with the last of them that counts, so
    that no part of a batch is counted; but no sooner than a typical latency before the end, for a
    server that stalls then must not look quick.
    """
    ended = np.frombuffer(record.ended) - (record.counted_from - record.start)
    here = ended <= client.seconds
    if client.closed and here.any():
        typical = float(np.median(np.frombuffer(record.latencies)))
        return here, max(float(ended[here].max()), client.seconds - typical)
    return here, client.seconds


def _mean_rows(record: Record) -> float | None:
    """Return the rows of a batch: one of n rows was told by each of the n that rode in it."""
    told = sum(record.rides.values())
    batches = sum(count / rows for rows, count in record.rides.items() if rows)
    return _rounded(told / batches) if batches else None


def _parts(record: Record) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    for part, column in record.parts.items():
        times = np.frombuffer(column)
        told = np.sort(times[~np.isnan(times)])
        figures[f"{part}_p50_ms"] = percentile(told, 50.0)
        figures[f"{part}_p99_ms"] = percentile(told, 99.0)
    return figures


def _warnings(record: Record, client: Client, lags: np.ndarray) -> Iterator[str]:
    if client.cores + client.starved > BUSY:
        yield (
            f"this client used {client.cores:.0%} of a core and waited for one "
            f"{client.starved:.0%} of the time: it may be the bottleneck, "
            "and the server may do better than this"
        )
    waits = np.sort(np.frombuffer(record.latencies))
    for share, one_in in ((99.0, 100), (99.9, 1000)):
        lag, wait = percentile(lags, share), percentile(waits, share)
        if lag is not None and lag > max(LEAST_LATE * 1e3, LATE * (wait or 0.0)):
            yield (
                f"1 request in {one_in} was sent {lag:.1f} ms after it was due or later: "
                "this client or its machine was too busy, and the latencies are too high by that"
            )
            break
    if client.waited:
        yield (
            f"{client.waited} requests waited for one of the {client.limit} connections; "
            "allow more with --connections"
        )
    if client.retried > RETRIED * record.sent:
        yield (
            f"{client.retried} requests were sent once more, for the server had closed the "
            "connection that it kept open until then"
        )
    beyond = len(record.latencies) + record.unanswered
    if 0 < beyond / 100 < TAIL:
        yield f"p99 rests on {beyond} requests: measure for longer to rely on it"
