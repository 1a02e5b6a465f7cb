"""The outcome of each exchange: scripts/load/record.py."""

from math import isnan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.trace import Run, Trace
from scripts.load.record import PARTS, REFUSALS
from server.api.inference_api import server_timing
from server.call import Timing
from tests.fakes.load import exchange, recorded

STATUSES = st.sampled_from([0, 100, 200, 204, 301, 400, 404, 408, 429, 500, 502, 503, 504, 999])


@given(st.lists(STATUSES))
@settings(derandomize=True, deadline=None)
def test_each_is_an_answer_a_refusal_or_an_error(statuses: list[int]) -> None:
    """Never two of them, never none."""
    record = recorded(*(exchange(status=status) for status in statuses))
    answered = sum(200 <= status < 300 for status in statuses)
    refused = sum(status in REFUSALS for status in statuses)
    assert (len(record.latencies), record.refused) == (answered, refused)
    assert sum(record.errors.values()) == len(statuses) - answered - refused
    assert record.sent == len(statuses)
    assert record.unanswered == statuses.count(0)
    assert record.statuses.total() == len(statuses) - statuses.count(0)


def test_columns_count_from_the_start() -> None:
    """Latencies from when it was due, also where it was sent late."""
    record = recorded(exchange(0.5, due=101.0, late=0.25), start=100.0)
    assert list(record.intended) == [1.0]
    assert list(record.ended) == [1.5]
    assert list(record.latencies) == [0.5]
    assert list(record.lags) == [0.25]


def test_the_first_body_of_each_status_is_kept() -> None:
    """And errors are counted by what they are."""
    record = recorded(
        exchange(status=503, detail="busy"),
        exchange(status=503, detail="still busy"),
        exchange(status=500, detail="oops"),
        exchange(status=0, detail="the connection broke"),
        exchange(status=0, detail="the connection broke"),
    )
    assert record.examples == {503: "busy", 500: "oops"}
    assert record.errors == {"status 500": 1, "the connection broke": 2}


def test_the_warm_up_leaves_no_trace() -> None:
    """What was due exactly at its end counts."""
    early = [exchange(due=1.999, status=status, detail="x") for status in (0, 200, 429, 500)]
    record = recorded(*early, exchange(due=2.0), warmup=2.0)
    assert record.sent == 1
    assert (record.unanswered, record.refused, record.examples) == (0, 0, {})


def parsed(timing: bytes) -> tuple[dict[str, float], dict[int, int]]:
    """Return the milliseconds of each part in *timing*, and the counts of batches by rows."""
    record = recorded(exchange(timing=timing))
    parts = {part: record.parts[part][0] * 1e3 for part in PARTS}
    return {part: round(ms, 6) for part, ms in parts.items() if not isnan(ms)}, dict(
        record.requests_by_rows
    )


@pytest.mark.parametrize(
    ("timing", "parts", "rows"),
    [
        (b"", {}, {}),
        (b"queue;dur=1.5, run;dur=20", {"queue": 1.5, "run": 20.0}, {}),
        (b'decode;dur=0.25,batch;desc="4/8 full"', {"decode": 0.25}, {4: 1}),
        (b'batch;desc="8/8 full", batch;desc="8/8 full", batch;desc="2/8 due"', {}, {8: 2, 2: 1}),
        (b"run ; dur=3 , queue; dur=4", {"run": 3.0, "queue": 4.0}, {}),
        (b"cache;desc=hit;dur=3, db;dur=9, total;dur=12", {}, {}),
        (b"pre-decode;dur=1, prerun;dur=2, run_all;dur=3, my.queue;dur=4", {}, {}),
        (b'db;desc="run;dur=5"', {}, {}),
        (b'mini-batch;desc="4/8"', {}, {}),
        (b"run;dur=1.2.3, queue;dur=., decode;dur=", {}, {}),
        (b"run;dur=1e3, queue;dur=-1, decode;dur=nan", {}, {}),
        (b'batch;desc="0/8 none", batch;desc="x/8", batch;desc=""', {}, {}),
        (b'batch;desc="' + b"9" * 5000 + b'/8 many"', {}, {}),
        (b"run;dur=" + b"9" * 5000, {}, {}),
        (b"\xff\x00;;,,=", {}, {}),
    ],
)
def test_only_entries_of_this_server_are_read(
    timing: bytes, parts: dict[str, float], rows: dict[int, int]
) -> None:
    """Headers of other servers and invalid ones are ignored."""
    assert parsed(timing) == (parts, rows)


@given(st.binary() | st.text('decoqueurnbatchs;=". ,0189/').map(str.encode))
@settings(derandomize=True, deadline=None)
def test_no_header_breaks_a_run(timing: bytes) -> None:
    """For any bytes, the times and the numbers of requests are valid."""
    parts, rows = parsed(timing)
    assert all(0 <= milliseconds < 1e12 for milliseconds in parts.values())
    assert all(count > 0 for count in rows)


def test_what_our_server_writes_is_understood() -> None:
    """The header as the server itself puts it together."""
    trace = Trace()
    runs = [Run(rows=4, cap=8, reason="full", seconds=0.02), Run(1, 8, "deadline", 0.001)]
    timing = Timing(trace=trace, decode=0.004)
    trace.runs.extend(runs)
    parts, rows = parsed(server_timing(timing)["Server-Timing"].encode())
    assert parts == {"decode": 4.0, "run": 21.0}
    assert rows == {4: 1, 1: 1}
