"""What open connections cost: benchmarks/open_connections.py, without a socket."""

import pytest

from benchmarks.open_connections import COUNTS, summary, verdicts


@pytest.mark.parametrize(
    ("last_cpu", "memory", "passes"),
    [(150.0, 16_384, [True, True]), (151.0, 100, [False, True]), (100.0, 16_385, [True, False])],
)
def test_the_bounds_are_judged(last_cpu: float, memory: float, passes: list[bool]) -> None:
    """By the medians of the CPU, and the most memory of any round."""
    rounds = [
        {"open": count, "cpu_us": cpu, "rate": 5000.0, "bytes": each}
        for count in COUNTS
        for cpu, each in (
            (1.0, 0.0),
            (last_cpu if count == COUNTS[-1] else 100.0, memory),
            (999.0, 0.0),
        )
    ]
    rows = summary(rounds)
    assert [row["open"] for row in rows] == list(COUNTS)
    assert [row[""] == "pass" for row in verdicts(rows)] == passes
