"""The waits before a registry is tried again: server/discovery/backoff.py."""

import pytest

from server.discovery.backoff import Backoff

WAITS = {
    0.0: [0.25, 0.5, 1.0, 2.0, 4.0, 7.5, 7.5],
    1.0: [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0],
}


@pytest.mark.parametrize(("random", "waits"), WAITS.items(), ids=str)
def test_waits_double_up_to_a_bound(random: float, waits: list[float]) -> None:
    """After a success they begin anew."""
    backoff = Backoff(lambda: random)
    assert [backoff.next() for _ in waits] == waits
    backoff.reset()
    assert backoff.next() == waits[0]
