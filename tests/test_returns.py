"""The clients that were just answered, and how soon they return: batcher/learning/returns.py."""

from math import inf

import pytest

from batcher.learning.returns import (
    MAX_RETURNS,
    MIN_RETURNS,
    NONE_RETURNING,
    Returning,
    Returns,
)


def learned(*seconds: float, clients: str = "ab") -> Returns:
    """Return the state after batches of a row for each client; the last returned after these."""
    returns = Returns()
    for turn, last in enumerate(seconds):
        answered(returns, 10.0 * turn, clients)
        if last < inf:
            for client in clients:
                returns.observe(client, 10.0 * turn + (last if client == clients[-1] else 0.0))
    return returns


def answered(returns: Returns, now: float, clients: str = "ab") -> None:
    """Answer all *clients*, a row each."""
    returns.answered([(client, 1) for client in clients], now)


@pytest.mark.parametrize(
    ("returns", "each"),
    [
        (learned(1.0, 1.0), inf),  # too few batches
        (learned(1.0, 1.0, 1.0), 0.5),  # seconds until both are back, for each of them
        (learned(0.5, 1.0, 1.5), 0.5),  # the mean
        (learned(1.0, 1.0, 1.0, clients="abcd"), 0.25),
        (learned(*[1.0] * 3, clients="abcdefgh"), 0.125),
        (learned(*[1.0] * 3, clients="abcdefghi"), inf),  # too many clients
        (learned(*[1.0] * 4, inf, inf), 0.5),
        (learned(*[1.0] * 4, *[inf] * 4), inf),  # clients often do not return
        (learned(*[9.0] * 3, *[1.0] * MAX_RETURNS), 0.5),  # only the last count
    ],
)
def test_the_time_until_all_return_is_learned(returns: Returns, each: float) -> None:
    """In proportion to their number, because they are answered one after the other."""
    found = returns.expect()
    assert found.each == pytest.approx(each)
    assert (found is NONE_RETURNING) == (each == inf)


def test_a_return_takes_no_less_than_no_time() -> None:
    """Although the clock was set back; in proportion to the rows of the clients."""
    returns = Returns()
    for taken in (4.0, 4.0, -100.0):
        returns.answered([("a", 1), ("b", 3)], 10.0)
        returns.observe("a", 10.0)
        returns.observe("b", 10.0 + taken)
    assert returns.expect().each == pytest.approx(2.0 / 3.0)


def test_missing_clients_are_expected() -> None:
    """With all their rows; other sources do not count, and requests may have no source."""
    returns = learned(*[1.0] * MIN_RETURNS)
    returns.answered([("a", 1), ("b", 3)], 100.0)
    assert returns.expect() == Returning(4, 100.0, 0.5)
    returns.observe("stranger", 100.5)
    assert returns.expect().rows == 4
    returns.observe("a", 100.5)
    assert returns.expect().rows == 3
    returns.observe("b", 100.5)
    assert returns.expect().rows == 0
    returns.answered([], 101.0)
    assert returns.expect().rows == 0


def test_a_launch_ends_a_hold() -> None:
    """Whether the clients have returned or not; the report of the launch names the hold."""
    returns = learned(*[1.0] * MIN_RETURNS)
    answered(returns, 0.0)
    returns.hold()
    assert returns.expect() == Returning(2, 0.0, 0.5, held=True)
    returns.launched()
    assert returns.expect() == Returning(2, 0.0, 0.5)
