"""The clients that were just answered, and how soon they return."""

import pytest

from batcher.learning.returns import MAX_PAUSE_BATCHES, MIN_RETURNS, NONE_RETURNING, Returns


def learned(seconds: float = 1.0) -> Returns:
    """Return the state after enough batches whose two clients returned after *seconds*."""
    returns = Returns()
    for turn in range(MIN_RETURNS):
        answered(returns, 10.0 * turn)
        for client in "ab":
            returns.observe(client, 1, 10.0 * turn + seconds)
    return returns


def answered(returns: Returns, now: float) -> None:
    """Answer both clients, a row each."""
    returns.answered([("a", 1), ("b", 1)], now)


def test_nothing_is_expected_before_enough_returns() -> None:
    """Nor if requests have no source."""
    returns = Returns()
    answered(returns, 0.0)
    assert returns.expect() is NONE_RETURNING
    returns.answered([], 1.0)
    assert returns.expect() is NONE_RETURNING


def test_missing_clients_are_expected() -> None:
    """Fewer with each return; other sources do not count."""
    returns = learned()
    answered(returns, 100.0)
    assert returns.expect().rows == 2
    assert returns.expect().since == 100.0
    assert returns.expect().within(2) == pytest.approx(1.0)
    assert not returns.observe("stranger", 1, 100.5)
    assert returns.observe("a", 1, 100.5)
    assert returns.expect().rows == 1
    assert not returns.observe("b", 1, 100.5)
    assert returns.expect().rows == 0


def test_a_return_with_other_rows_is_unexpected() -> None:
    """The policy must be asked again: the awaited number of rows would never be complete."""
    returns = learned()
    answered(returns, 100.0)
    assert not returns.observe("a", 2, 100.5)
    assert returns.expect().rows == 1


@pytest.mark.parametrize(
    ("first", "last", "of_two", "of_six"),
    [
        (1.0, 1.0, 1.0, 1.0),  # a long time, then all at once
        (0.9, 1.0, 1.0, 1.8),  # one after the other, twice the time for each
        (0.5, 1.0, 1.0, 3.0),  # all of the time
        (0.0, 1.0, 1.0, 3.0),  # and never more
    ],
)
def test_each_further_row_adds_the_time_between_two_returns(
    first: float, last: float, of_two: float, of_six: float
) -> None:
    """The rest of the return time is the same for all batches."""
    returns = Returns()
    for turn in range(MIN_RETURNS):
        answered(returns, 10.0 * turn)
        returns.observe("a", 1, 10.0 * turn + first)
        returns.observe("b", 1, 10.0 * turn + last)
    assert returns.expect().within(2) == pytest.approx(of_two)
    assert returns.expect().within(6) == pytest.approx(of_six)


def test_after_batches_of_one_row_the_time_is_in_proportion() -> None:
    """To the number of rows."""
    returns = Returns()
    for turn in range(MIN_RETURNS):
        returns.answered([("a", 1)], 10.0 * turn)
        returns.observe("a", 1, 10.0 * turn + 1.0)
    assert returns.expect().within(1) == pytest.approx(1.0)
    assert returns.expect().within(3) == pytest.approx(3.0)


def test_a_client_with_many_rows_counts_once() -> None:
    """Its rows arrive together: the time between clients is not the time between rows."""
    alone, two = Returns(), Returns()
    for turn in range(MIN_RETURNS):
        alone.answered([("a", 4)], 10.0 * turn)
        alone.observe("a", 1, 10.0 * turn + 1.0)
        two.answered([("a", 4), ("b", 4)], 10.0 * turn)
        two.observe("a", 1, 10.0 * turn + 0.75)
        two.observe("b", 1, 10.0 * turn + 1.0)
    assert alone.expect().within(12) == pytest.approx(3.0)
    assert two.expect().within(12) == pytest.approx(1.0 + 4 * 2 * 0.25 / 4)


def test_no_return_is_expected_if_most_batches_did_not_return() -> None:
    """More than half of the remembered batches."""
    returns = learned()
    for turn in range(MIN_RETURNS + 1):
        answered(returns, 100.0 + turn)
    assert returns.expect() is NONE_RETURNING


def test_failed_holds_are_followed_by_longer_and_longer_pauses() -> None:
    """A hold that succeeds ends them."""
    returns = learned()
    for pause in (2, 4, 8, 16, 32, MAX_PAUSE_BATCHES, MAX_PAUSE_BATCHES):
        answered(returns, 0.0)
        returns.hold()
        returns.launched()
        for _ in range(pause):
            assert returns.expect() is NONE_RETURNING
            returns.launched()
        for client in "ab":
            returns.observe(client, 1, 1.0)
        assert returns.expect() is not NONE_RETURNING
    answered(returns, 0.0)
    returns.hold()
    for client in "ab":
        returns.observe(client, 1, 1.0)
    assert returns.expect().held
    returns.launched()
    assert returns.expect() is not NONE_RETURNING
