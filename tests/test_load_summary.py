"""The figures of a load: scripts/load/summary.py."""

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.load.exchange import Exchange
from scripts.load.summary import PERCENTILES, ClientStats, Summary, percentile, summarise
from tests.fakes.load import CLIENT, exchange, recorded

#: Enough for a p99 that there is no warning about.
MANY = 500


def summary(
    exchanges: Sequence[Exchange], client: ClientStats = CLIENT, warmup: float = 0.0
) -> Summary:
    """Return the figures of *exchanges*."""
    return summarise(recorded(*exchanges, warmup=warmup), client)


def naive(values: Sequence[float], share: str) -> float:
    """Return the least of *values* that *share* per cent of them do not exceed."""
    least = Fraction(share) / 100 * len(values)
    return min(one for one in values if sum(other <= one for other in values) >= least)


@given(
    st.lists(st.sampled_from([0.001, 0.002, 0.004, 0.008, 1.0, inf]), min_size=1, max_size=60),
    st.sampled_from(["0", "50", "90", "95", "99", "99.9", "100"]),
)
@settings(derandomize=True, deadline=None)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    values: list[float], share: str
) -> None:
    """It is one of the values; an infinite one is None."""
    expected = naive(values, share) * 1e3
    found = percentile(np.sort(np.array(values)), float(share))
    assert found == (None if expected == inf else expected)


@pytest.mark.parametrize("share", PERCENTILES.values())
def test_percentiles_fall_on_the_value_itself_at_every_count(share: float) -> None:
    """Where the share of the count is whole, no rounding moves it to the next."""
    for count in (10, 20, 100, 1000, 2000, 3000, 7000, 10_000):
        ordered = np.arange(1, count + 1) / 1e3
        place = -(-Fraction(str(share)) * count // 100)
        assert percentile(ordered, share) == place


def test_there_is_no_percentile_of_nothing() -> None:
    """None, as where it is infinite."""
    assert percentile(np.array([]), 50.0) is None
    assert percentile(np.array([1.0, inf]), 50.0) == 1000.0
    assert percentile(np.array([1.0, inf]), 51.0) is None


def test_what_had_no_answer_counts_as_infinite() -> None:
    """Refusals and error answers stand apart."""
    answers = [exchange(0.1) for _ in range(98)]
    others = [exchange(status=0, detail="broke"), exchange(0.3, 503), exchange(0.2, 500)]
    found = summary([*answers, *others])
    assert (found.p50_ms, found.p90_ms, found.p95_ms) == (100.0, 100.0, 100.0)
    assert (found.p999_ms, found.max_ms, found.mean_ms) == (None, None, None)
    assert (found.sent, found.answered, found.refused, found.errors) == (101, 98, 1, 2)
    assert found.refused_p99_ms == 300.0
    assert found.refusals == {"503": {"p50_ms": 300.0, "p99_ms": 300.0, "max_ms": 300.0}}
    assert found.error_kinds == {"broke": 1, "status 500": 1}
    assert found.good_share == pytest.approx(98 / 101, abs=1e-4)


STATUSES = st.sampled_from([0, 200, 204, 301, 404, 408, 429, 500, 503])


@given(
    st.lists(st.tuples(STATUSES, st.floats(0, 12), st.floats(0, 40))),
    st.booleans(),
    st.sampled_from([0.0, 1.0, 30.0]),
)
@settings(derandomize=True, deadline=None)
def test_figures_add_up_and_are_json(
    events: list[tuple[int, float, float]], closed: bool, warmup: float
) -> None:
    """Neither NaN nor Infinity, of whatever load."""
    events.sort(key=lambda event: event[1] + event[2])
    exchanges = [exchange(took, status, due=due) for status, due, took in events]
    found = summary(exchanges, replace(CLIENT, closed=closed), warmup)
    assert found.sent == found.answered + found.refused + found.errors
    assert found.sent == sum(due >= warmup for _, due, _ in events)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["sent"] == found.sent
    assert found.goodput <= found.rate or not closed
    assert 0 <= found.good_share <= 1


CLOSED = replace(CLIENT, closed=True)
SECONDS = [exchange(1.0, due=float(due)) for due in range(12)]
STALLED = [exchange(0.1, due=number / 10) for number in range(10)]


SPREAD = [(1.0, 0.4), (2.0, 0.6), (9.8, 0.4), (9.9, 0.6)]
EXACT = 1e-4


@pytest.mark.parametrize(
    ("exchanges", "client", "warmup", "expected", "tolerance"),
    [
        # an open loop: goodput is of what was due, whenever its answer came
        ([exchange(took, due=due) for due, took in SPREAD], CLIENT, 0.0,
            {"rate": 0.2, "offered": 0.4, "goodput": 0.2, "good_share": 0.5}, 0.0),
        # seconds count from the end of the warm-up
        ([exchange(0.1, due=float(due)) for due in range(12)], CLIENT, 2.0,
            {"rate": 1.0, "offered": 1.0, "sent": 10}, 0.0),
        # four clients whose batch takes 3 s have three batches in 9 s, not in 10
        ([exchange(3.0, due=3.0 * batch) for batch in range(4) for _ in range(4)],
            replace(CLOSED, slo=5.0), 0.0, {"rate": 12 / 9, "goodput": 12 / 9, "sent": 16}, EXACT),
        # the time does not end with the last answer before a stall
        (STALLED, CLOSED, 0.0, {"rate": 1.0, "goodput": 1.0}, 0.02),
        ([*STALLED, exchange(9.5, due=1.0)], CLOSED, 0.0, {"rate": 1.0, "goodput": 1.0}, 0.02),
        ([*STALLED, exchange(status=0, due=1.0)], CLOSED, 0.0, {"rate": 1.0, "goodput": 1.0}, 0.02),
        ([exchange(11.0)], CLOSED, 0.0, {"rate": 0.0, "goodput": 0.0, "answered": 1}, 0.0),
        # an answer a second is one a second, whenever counting begins
        (SECONDS, CLOSED, 1.5, {"rate": 1.0, "sent": 10, "goodput": 0.0}, 0.06),
    ],
)  # fmt: skip
def test_rates_are_over_the_time_in_which_requests_were_due_or_answered(
    exchanges: list[Exchange],
    client: ClientStats,
    warmup: float,
    expected: dict[str, float],
    tolerance: float,
) -> None:
    """Of an open loop the whole time, of a closed one until its last answer in time."""
    found = summary(exchanges, client, warmup)
    figures = {name: getattr(found, name) for name in expected}
    assert figures == pytest.approx(expected, abs=tolerance)
    assert found.rate == found.goodput or found.sent == 10


def batch_entry(rows: int) -> bytes:
    """Return the Server-Timing entry of a batch of *rows* rows."""
    return f'batch;desc="{rows}/32 full"'.encode()


def test_the_mean_of_the_rows_is_over_batches() -> None:
    """Ten in a batch of 10 and one alone: two batches, of 5.5 rows."""
    found = summary(
        [*(exchange(timing=batch_entry(10)) for _ in range(10)), exchange(timing=batch_entry(1))]
    )
    assert found.mean_rows == 5.5
    assert found.requests_by_rows == found.as_json()["rides"] == {"1": 1, "10": 10}
    assert summary([exchange()]).mean_rows is None


def test_parts_are_of_the_answers_that_tell_them() -> None:
    """None where none does."""
    timings = [b"queue;dur=1", b"queue;dur=3, run;dur=7", b"", b"queue;dur=2"]
    found = summary([exchange(timing=timing) for timing in timings])
    assert (found.queue_p50_ms, found.queue_p99_ms) == (2.0, 3.0)
    assert (found.run_p50_ms, found.run_p99_ms) == (7.0, 7.0)
    assert (found.decode_p50_ms, found.decode_p99_ms) == (None, None)


@pytest.mark.parametrize(
    ("changes", "late", "count", "starts"),
    [
        ({}, 0.0, MANY, []),
        ({"cores": 0.9}, 0.01, MANY, []),
        ({"cores": 0.91}, 0.0, MANY, ["this client used 91% of a core and waited for one 0% "]),
        ({"starved": 0.95}, 0.0, MANY, ["this client used 10% of a core and waited for one 95% "]),
        ({}, 0.011, MANY, ["1 in 100 requests was sent at least 11.0 ms late"]),
        ({"retried": 6}, 0.0, MANY, ["6 requests were sent again"]),
        ({"retried": 5}, 0.0, MANY, []),
        ({"waited": 7, "limit": 2}, 0.0, MANY, ["7 requests waited for one of the 2 connections"]),
        ({}, 0.0, MANY - 1, ["p99 rests on 499 requests"]),
        ({}, 0.0, 0, []),
    ],
)
def test_what_makes_figures_doubtful_is_a_warning(
    changes: dict[str, float], late: float, count: int, starts: list[str]
) -> None:
    """Each warning where it should be, and nowhere else."""
    client = replace(CLIENT, **changes)  # type: ignore[arg-type]
    found = summary([exchange(late=late) for _ in range(count)], client)
    assert [line.startswith(start) for line, start in zip(found.warnings, starts, strict=True)] == [
        True
    ] * len(starts)


@pytest.mark.parametrize(
    ("late", "start"), [(0, ""), (1, "1 in 1000 "), (5, "1 in 1000 "), (6, "1 in 100 ")]
)
def test_a_few_late_requests_are_reported_by_the_percentile_they_spoil(
    late: int, start: str
) -> None:
    """Of five hundred; the first percentile is enough."""
    exchanges = [exchange(late=1.0 if number < late else 0.0) for number in range(MANY)]
    (warning,) = summary(exchanges).warnings or ("",)
    assert warning.startswith(start)


def test_the_client_s_own_figures_are_kept() -> None:
    """For readers of the JSON."""
    found = summary([exchange()], replace(CLIENT, connections=3, retried=2)).as_json()
    names = ("connections", "retried", "duration", "slo_ms", "client_cores", "client_starved")
    assert [found[name] for name in names] == [3, 2, 10.0, 500.0, 0.1, 0.0]
